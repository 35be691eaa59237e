"""The ends of messages that were never durable: the newest of them, in memory, and as little of it as may be."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

from relay.core.model import Event, Past, Status

Step = tuple[float, str, str | None, str | None]  #: at, event, session, detail
#: The fields of a ``Past`` in their order, but for the last.
Record = tuple[str, str, str, Status, str, int, float, float, float, bytes | None, tuple[Step, ...]]
ENTRY_BYTES: Final = 300  #: beside its record: its id and its place in the table

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Record).decode


class Remembered:
    """At most ``most`` of them, and at most ``most_bytes`` with their replies: the oldest are given up first.

    Each is kept as a string of bytes. As the objects that it is read into it would take twice the memory, and there
    are 100,000. ``node``: where everything in them happened.
    """

    def __init__(self, most: int, most_bytes: int, node: str) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._node = node
        self._bytes = 0
        self._ends: OrderedDict[str, bytes] = OrderedDict()

    def add(self, past: Past) -> None:
        """Remember it."""
        timeline = tuple((each.at, each.event, each.session, each.detail) for each in past.timeline)
        times = (past.created_at, past.expires_at, past.ended_at)
        who = (past.id, past.agent, past.publisher)
        fields: Record = (*who, past.status, past.reason, past.attempts, *times, past.reply, timeline)
        record = _encode(fields)
        self._ends[past.id] = record
        self._bytes += len(record) + ENTRY_BYTES
        while len(self._ends) > self._most or (self._bytes > self._most_bytes and len(self._ends) > 1):
            _, oldest = self._ends.popitem(last=False)
            self._bytes -= len(oldest) + ENTRY_BYTES

    def get(self, id: str) -> Past | None:
        """The end of that message, if it is remembered."""
        record = self._ends.get(id)
        if record is None:
            return None
        id, agent, publisher, status, reason, attempts, created, expires, ended, reply, steps = _decode(record)
        timeline = tuple(Event(at, name, session, self._node, detail) for at, name, session, detail in steps)
        return Past(id, agent, publisher, status, reason, attempts, created, expires, ended, reply, timeline)
