"""The ends that are to be told to a URL: noted in the same commit as the end itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from relay.core.model import End, PutOff, Told
from relay.core.webhooks import make_callback
from relay.store.rows import text
from relay_postgres.work import Many, Work

OWED: Final = "SELECT place, attempts, callback FROM messages WHERE place = ANY(%s::bigint[]) AND callback IS NOT NULL"
OWED_ANEW: Final = (
    "SELECT number, attempts, callback FROM past WHERE number = ANY(%s::bigint[]) AND callback IS NOT NULL"
)
THERE: Final = "SELECT count(*) FROM callbacks WHERE id = ANY(%s::text[])"
CALLBACK: Final = Many(
    "INSERT INTO callbacks (id, url, body, tries, due_at) SELECT * FROM {} ON CONFLICT (id) DO UPDATE SET"
    " url = excluded.url, body = excluded.body, tries = excluded.tries, due_at = excluded.due_at,"
    " number = callbacks.number + 1",
    "text", "text", "bytea", "integer", "float8",
)  # fmt: skip  # the types belong to one row
PUT_OFF: Final = Many(
    "UPDATE callbacks AS old SET tries = new.tries, due_at = new.due_at FROM {} AS new(id, number, tries, due_at)"
    " WHERE old.id = new.id AND old.number = new.number",
    "text", "integer", "integer", "float8",
)  # fmt: skip  # the types belong to one row
TOLD: Final = Many(
    "DELETE FROM callbacks AS old USING {} AS new(id, number) WHERE old.id = new.id AND old.number = new.number"
    " RETURNING 1",
    "text",
    "integer",
)


def owe(work: Work, ends: Iterable[tuple[int, End]]) -> None:
    """Note which of these ends, each with the place of its message, are to be told. Their rows must still be there."""
    promised = _note(work, OWED, ends)
    work.tally.callbacks -= promised  # they are owed now


def owe_anew(work: Work, ends: Iterable[tuple[int, End]]) -> None:
    """The same for messages that have ended, each with the number of its row."""
    _note(work, OWED_ANEW, ends)


def _note(work: Work, sql: str, ends: Iterable[tuple[int, End]]) -> int:
    """Keep each in place of an earlier one of its message that was not told yet. Returns how many there were."""
    by_row = dict(ends)
    if not by_row:
        return 0
    callbacks = []
    for row, sends, url in work.ask(sql, list(by_row)):
        end = by_row[row]
        most = max(sends, end.attempts)
        callbacks.append(
            make_callback(
                text(url), end.id, end.agent, end.status, attempts=most, reply=end.reply, reason=end.reason, at=end.at
            )
        )
    if callbacks:
        [(there,)] = work.ask(THERE, [each.id for each in callbacks])
        work.do_many(CALLBACK, [(each.id, each.url, each.body, each.tries, each.due_at) for each in callbacks])
        work.tally.callbacks += len(callbacks) - there
    return len(callbacks)


def hear(work: Work, words: Collection[PutOff | Told]) -> None:
    """Note what came of telling."""
    gone = work.ask_many(TOLD, [(op.id, op.number) for op in words if isinstance(op, Told)])
    work.tally.callbacks -= len(gone)
    work.do_many(PUT_OFF, [(op.id, op.number, op.tries, op.due_at) for op in words if isinstance(op, PutOff)])
