"""Finding messages by id: queued, remembered, or dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from relay.core.limits import LETTERS_BYTES
from relay.core.model import Letter, Past, Standing
from relay.store import timeline
from relay.store.finding import letter_of, readable
from relay.store.rows import as_it_is, text
from relay_postgres.link import Connection

#: What ``relay.store.rows`` takes as a record and as an end, in its order.
GET_COLUMNS: Final = (
    "place, id, content_type, form, created_at, expires_at, attempts, failures, nacks, first_failure_at, not_before,"
    " checksum, topic, headers, publisher, callback, payload"
)
PAST_COLUMNS: Final = (
    "id, agent, publisher, status, reason, attempts, created_at, expires_at, ended_at, reply, timeline, callback"
)
LETTER_PAST: Final = PAST_COLUMNS.replace("reply", "NULL::bytea")

QUEUED: Final = f"SELECT agent, timeline, {GET_COLUMNS} FROM messages WHERE id = ANY(%s::text[]) AND status = 'queued'"
ENDED: Final = f"SELECT {PAST_COLUMNS} FROM past WHERE id = ANY(%s::text[])"
DEAD: Final = f"SELECT {LETTER_PAST} FROM messages WHERE id = ANY(%s::text[]) AND status <> 'queued'"
LETTER: Final = f"SELECT {LETTER_PAST}, {GET_COLUMNS} FROM messages WHERE id = %s AND status <> 'queued'"
LETTERS: Final = (
    f"SELECT {LETTER_PAST}, {GET_COLUMNS} FROM"
    " (SELECT *, sum(size) OVER way AS total, row_number() OVER way AS number FROM messages"
    "  WHERE ended_at IS NOT NULL AND (ended_at, place) > (%s::float8, %s)"
    "  WINDOW way AS (ORDER BY ended_at, place ROWS UNBOUNDED PRECEDING) ORDER BY ended_at, place LIMIT %s) AS near"
    " WHERE total - size <= %s OR number <= 2 ORDER BY ended_at, place"
)
WHERE: Final = (
    "SELECT ended_at, place FROM messages WHERE id = %(id)s AND status <> 'queued'"
    " UNION ALL SELECT ended_at, 0 FROM past WHERE id = %(id)s LIMIT 1"
)


def find(connection: Connection, ids: Sequence[str]) -> dict[str, Standing | Past]:
    """The messages of these ids that are queued or remembered, whether or not their rows are whole."""

    def ask(sql: str) -> list[Any]:
        return connection.execute(sql, (list(ids),), binary=True).fetchall()

    found: dict[str, Standing | Past] = {}
    for row in (*ask(DEAD), *ask(ENDED)):
        if (past := readable(row)) is not None:
            found[past.id] = past
    for agent, lines, *rest in ask(QUEUED):
        try:
            record = as_it_is(text(agent), tuple(rest))
        except (TypeError, ValueError):
            continue
        found[record.message.id] = Standing(record, timeline.decode(lines))
    return found


def letters(connection: Connection, after: str, limit: int) -> list[Letter]:
    """As ``MessageStore.letters``."""
    start = connection.execute(WHERE, {"id": after}).fetchall() if after else []
    ended_at, place = start[0] if start else (float("-inf"), 0)
    rows = connection.execute(LETTERS, (ended_at, place, limit, LETTERS_BYTES), binary=True)
    return [letter for row in rows if (letter := letter_of(row)) is not None]


def find_letter(connection: Connection, id: str) -> Letter | None:
    """One dead letter."""
    rows = connection.execute(LETTER, (id,), binary=True).fetchall()
    return letter_of(rows[0]) if rows else None
