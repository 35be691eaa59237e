"""Finding messages by id: queued, remembered, or dead letters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final

import apsw
from msgspec.structs import replace

from relay.core.limits import LETTERS_BYTES
from relay.core.model import Letter, Past, Standing
from relay.store import timeline
from relay.store.rows import GET_COLUMNS, PAST_COLUMNS, Row, as_it_is, is_whole, past_of, text

LETTER_PAST: Final = PAST_COLUMNS.replace("reply", "NULL")
PAST_WIDTH: Final = PAST_COLUMNS.count(",") + 1

QUEUED: Final = (
    f"SELECT CAST(agent AS BLOB), CAST(timeline AS BLOB), {GET_COLUMNS} FROM messages"
    " WHERE id IN (SELECT value FROM json_each(?)) AND status = 'queued'"
)
ENDED: Final = f"SELECT {PAST_COLUMNS} FROM past WHERE id IN (SELECT value FROM json_each(?))"
DEAD: Final = f"SELECT {LETTER_PAST} FROM messages WHERE id IN (SELECT value FROM json_each(?)) AND status <> 'queued'"
LETTER: Final = f"SELECT {LETTER_PAST}, {GET_COLUMNS} FROM messages WHERE id = ? AND status <> 'queued'"
LETTERS: Final = (
    f"SELECT {LETTER_PAST}, {GET_COLUMNS} FROM messages"
    " WHERE ended_at IS NOT NULL AND (ended_at, place) > (?, ?) ORDER BY ended_at, place LIMIT ?"
)
WHERE: Final = (
    "SELECT ended_at, place FROM messages WHERE id = ?1 AND status <> 'queued'"
    " UNION ALL SELECT ended_at, 0 FROM past WHERE id = ?1 LIMIT 1"
)


def find(connection: apsw.Connection, ids: Sequence[str]) -> dict[str, Standing | Past]:
    """The messages of these ids that are queued or remembered, whether or not their rows are whole."""
    asked = (json.dumps(list(ids)),)
    found: dict[str, Standing | Past] = {}
    ended: list[Any] = [*connection.execute(DEAD, asked), *connection.execute(ENDED, asked)]
    for row in ended:
        if (past := readable(row)) is not None:
            found[past.id] = past
    queued: list[Any] = connection.execute(QUEUED, asked).fetchall()
    for agent, lines, *rest in queued:
        try:
            record = as_it_is(text(agent), tuple(rest))
        except (TypeError, ValueError):
            continue
        found[record.message.id] = Standing(record, timeline.decode(lines))
    return found


def letters(connection: apsw.Connection, after: str, limit: int) -> list[Letter]:
    """As ``MessageStore.letters``."""
    start: list[Any] = connection.execute(WHERE, (after,)).fetchall() if after else []
    ended_at, place = start[0] if start else (float("-inf"), 0)
    found: list[Letter] = []
    left = LETTERS_BYTES
    with closing(connection.execute(LETTERS, (ended_at, place, limit))) as rows:
        for row in rows:
            if (letter := letter_of(row)) is None:
                continue
            left -= len(letter.record.message.payload)
            found.append(letter)
            if left < 0 and len(found) > 1:
                break
    return found


def find_letter(connection: apsw.Connection, id: str) -> Letter | None:
    """One dead letter."""
    rows: list[Any] = connection.execute(LETTER, (id,)).fetchall()
    return letter_of(rows[0]) if rows else None


def letter_of(row: Sequence[Any]) -> Letter | None:
    """A dead letter; one whose row is not what was put has the reason ``corrupt``. None: it cannot be read at all."""
    past = readable(tuple(row[:PAST_WIDTH]))
    if past is None:
        return None
    rest = tuple(row[PAST_WIDTH:])
    try:
        record = as_it_is(past.agent, rest)
    except (TypeError, ValueError):
        return None
    return Letter(record, past if is_whole(past.agent, rest) else replace(past, reason="corrupt"))


def readable(row: Row) -> Past | None:
    """The end in the row, unless it cannot be read."""
    try:
        return past_of(row)
    except (TypeError, ValueError):
        return None
