"""The ends that are to be told to a URL: noted in the same commit as the end itself, the same for every store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from relay.core.model import Callback, End, Message
from relay.core.webhooks import make_callback
from relay.store.work import Work

OWED: Final = (
    "SELECT found.place, found.attempts, CAST(found.callback AS BLOB)"
    " FROM json_each(?) AS asked CROSS JOIN messages AS found ON found.place = asked.value"
    " WHERE found.callback IS NOT NULL"
)
CALLBACK: Final = (
    "INSERT INTO callbacks (id, url, body, tries, due_at) VALUES {} ON CONFLICT (id) DO UPDATE SET"
    " url = excluded.url, body = excluded.body, tries = excluded.tries, due_at = excluded.due_at"
)


def owed(message: Message, end: End, attempts: int) -> Callback | None:
    """What the end of ``message``, of which the store knows so many sends, leaves to be told."""
    return None if message.callback is None else _callback(message.callback, end, attempts)


def owe(work: Work, ends: Iterable[tuple[int, End]]) -> None:
    """Note which of these ends, each with the place of its message, are to be told. Their rows must still be there."""
    by_place = dict(ends)
    if not by_place:
        return
    found: list[Any] = work.connection.execute(OWED, (json.dumps(list(by_place)),)).fetchall()
    note(work, [_callback(url.decode(errors="replace"), by_place[place], sends) for place, sends, url in found])


def note(work: Work, callbacks: Iterable[Callback]) -> None:
    """Keep these, each in place of an earlier one of its message."""
    work.execute(CALLBACK, [(op.id, op.url, op.body, op.tries, op.due_at) for op in callbacks])


def _callback(url: str, end: End, attempts: int) -> Callback:
    most = max(attempts, end.attempts)
    return make_callback(
        url, end.id, end.agent, end.status, attempts=most, reply=end.reply, reason=end.reason, at=end.at
    )
