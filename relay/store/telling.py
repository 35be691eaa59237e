"""The ends that are to be told to a URL: noted in the same commit as the end itself, the same for every store."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from relay.core.model import Callback, End, Past, PutOff, Record, Told
from relay.core.webhooks import make_callback
from relay.store.work import Work

OWED: Final = (
    "SELECT found.place, found.attempts, CAST(found.callback AS BLOB)"
    " FROM json_each(?) AS asked CROSS JOIN messages AS found ON found.place = asked.value"
    " WHERE found.callback IS NOT NULL"
)
OWED_ANEW: Final = (
    "SELECT found.number, found.attempts, CAST(found.callback AS BLOB)"
    " FROM json_each(?) AS asked CROSS JOIN past AS found ON found.number = asked.value"
    " WHERE found.callback IS NOT NULL"
)
CALLBACK: Final = (
    "INSERT INTO callbacks (id, url, body, tries, due_at) VALUES {} ON CONFLICT (id) DO UPDATE SET url = excluded.url,"
    " body = excluded.body, tries = excluded.tries, due_at = excluded.due_at, number = callbacks.number + 1"
)
THERE: Final = "SELECT count(*) FROM callbacks WHERE id IN (SELECT value FROM json_each(?))"
PUT_OFF: Final = (
    "UPDATE callbacks SET tries = new.column3, due_at = new.column4 FROM (VALUES {}) AS new"
    " WHERE id = new.column1 AND number = new.column2"
)
TOLD: Final = (
    "DELETE FROM callbacks WHERE (id, number) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?)) RETURNING 1"
)


def owed(record: Record, end: End) -> Callback | None:
    """What the end of this message leaves to be told."""
    url = record.message.callback
    return None if url is None else _callback(url, end, record.trials.attempts)


def owed_anew(past: Past, end: End) -> Callback | None:
    """What another end of a message that has ended leaves to be told."""
    return None if past.callback is None else _callback(past.callback, end, past.attempts)


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
    found: list[Any] = work.connection.execute(sql, (json.dumps(list(by_row)),)).fetchall()
    callbacks = [_callback(url.decode(errors="replace"), by_row[row], sends) for row, sends, url in found]
    if callbacks:
        there: int = work.connection.execute(THERE, (json.dumps([each.id for each in callbacks]),)).get
        work.execute(CALLBACK, [(each.id, each.url, each.body, each.tries, each.due_at) for each in callbacks])
        work.tally.callbacks += len(callbacks) - there
    return len(callbacks)


def hear(work: Work, words: Collection[PutOff | Told]) -> None:
    """Note what came of telling."""
    told: Sequence[tuple[str, int]] = [(op.id, op.number) for op in words if isinstance(op, Told)]
    if told:
        gone: list[Any] = work.connection.execute(TOLD, (json.dumps(told),)).fetchall()
        work.tally.callbacks -= len(gone)
    work.execute(PUT_OFF, [(op.id, op.number, op.tries, op.due_at) for op in words if isinstance(op, PutOff)])


def _callback(url: str, end: End, attempts: int) -> Callback:
    most = max(attempts, end.attempts)
    return make_callback(
        url, end.id, end.agent, end.status, attempts=most, reply=end.reply, reason=end.reason, at=end.at
    )
