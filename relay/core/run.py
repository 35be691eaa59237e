"""Several messages of a line that go the same way at once: what is the same for all of them is looked at once.

For each of them it comes to what ``Line`` does for one.
"""

from __future__ import annotations

from collections.abc import Sequence

from relay.core.entry import ENDED, FLYING, Entry, Phase, Saved
from relay.core.line import ONCE, Line
from relay.core.model import Message, Record, Trials


def upcoming(line: Line, now: float, most: int) -> list[Record]:
    """What is to be sent next, at most so many, where it comes from the disk one after the other; else nothing.

    It is answered by ``flown``, or not done at all.
    """
    if not line.live or line.unsettled or line.topics.replacing:
        return []
    return line.backlog.several(now, most)


def flown(line: Line, sent: Sequence[tuple[Record, Trials]]) -> list[Entry]:
    """The first of ``upcoming`` were sent just now; their trials include that send. Returns their entries."""
    line.backlog.take_all(len(sent))
    entries = []
    for record, trials in sent:
        item, size = record.message, len(record.message.payload)
        entry = Entry(record.place, item.id, size, None, trials, item.expires_at, Phase.FLYING, Saved.YES)
        line.entries[item.id] = entry
        line.topics.describe(entry, item)
        entries.append(entry)
    line.flying += len(entries)
    return entries


def launched(line: Line, places: Sequence[int], messages: Sequence[Message]) -> list[Entry]:
    """They take these places, and are sent just now, with nothing ahead of them: see ``line.launch``."""
    entries = [
        Entry(place, m.id, len(m.payload), m, ONCE, m.expires_at, FLYING, sends=1, publisher=m.publisher)
        for place, m in zip(places, messages, strict=True)
    ]
    line.entries.update([(entry.id, entry) for entry in entries])
    line.flying += len(entries)
    return entries


def forgotten(line: Line, ended: Sequence[Entry]) -> None:
    """The store never knew of these, which have ended: see ``Line.forget``."""
    if line.backlog.reading:
        for entry in ended:
            line.backlog.forget(entry)
        return
    for entry in ended:
        if line.entries.get(entry.id) is entry:
            del line.entries[entry.id]


def ended(line: Line, flying: Sequence[Entry]) -> None:
    """These, which are flying, have ended, whatever the store says: see ``Line.end``."""
    line.flying -= len(flying)
    for entry in flying:
        entry.phase, entry.message = ENDED, None
