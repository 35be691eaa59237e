"""What a line has on the disk: places still to be read, what was read and not sent, what rests until its time."""

from __future__ import annotations

import heapq

from msgspec.structs import replace

from relay.core.entry import Entry, Phase, Read, Recall, Saved, Send, Step
from relay.core.model import Page, Record, Trials

RECALL_COUNT = 100
RECALL_BYTES = 1024 * 1024
DEFERRED = 10_000  #: messages not in mind that an agent may put off
UNKNOWN_SIZE = 64 * 1024  #: what a resting message counts of which only the place was read


class Resting:
    """The messages that are not sent before their time, the earliest first, and in order where times are equal."""

    __slots__ = ("_pushed", "waiting")

    def __init__(self) -> None:
        self.waiting: list[tuple[float, int, int, Entry]] = []  #: a heap
        self._pushed = 0

    def __len__(self) -> int:
        return len(self.waiting)

    def clear(self) -> None:
        self.waiting.clear()

    def push(self, entry: Entry) -> None:
        self._pushed += 1
        heapq.heappush(self.waiting, (entry.trials.not_before, entry.place, self._pushed, entry))

    def due_at(self) -> float | None:
        """When the next one may be sent (Unix time)."""
        while self.waiting and not _still(self.waiting[0]):
            heapq.heappop(self.waiting)
        return self.waiting[0][0] if self.waiting else None

    def due(self, now: float) -> tuple[str, ...]:
        """Take out the ids of those whose time has come: a page of them."""
        due: list[str] = []
        size = 0
        while len(due) < RECALL_COUNT and size < RECALL_BYTES and self.waiting and self.waiting[0][0] <= now:
            item = heapq.heappop(self.waiting)
            if _still(item):
                due.append(item[3].id)
                size += item[3].size or UNKNOWN_SIZE
        return tuple(due)


def _still(item: tuple[float, int, int, Entry]) -> bool:
    """Is this the entry's own timer still? One that is not saved yet is timed anew when it is."""
    entry = item[3]
    return entry.phase is Phase.RESTING and entry.saved is Saved.YES and entry.trials.not_before == item[0]


def _is_asked(entry: Entry) -> bool:
    """Is the store being asked whether it has a message of that id already? Only repeats with a key share an id."""
    return entry.phase is Phase.WAITING and entry.saved is not Saved.YES


class Backlog:
    """Places in (cursor, floor) are still to be read; ``entries`` is the line's, what it has in mind.

    One read at a time: ``next`` says nothing until what it asked for has come.
    """

    __slots__ = (
        "_cursor",
        "_entries",
        "_floor",
        "_forgotten",
        "_passed_over",
        "_ready",
        "_recalled",
        "reading",
        "resting",
    )

    def __init__(self, entries: dict[str, Entry]) -> None:
        self.resting = Resting()
        self.reading = False
        self._entries = entries
        self._cursor = 0
        self._floor = 0
        # A page each, at most. Empty deques take ten times the memory of empty lists, and most agents are idle.
        self._ready: list[Record] = []
        self._recalled: list[Record] = []
        self._forgotten: list[Entry] = []
        self._passed_over: dict[str, tuple[int, float]] = {}  #: delayed, while a repeat of it is in mind

    @property
    def unread(self) -> bool:
        """Are there places that were not looked at?"""
        return self._cursor + 1 < self._floor

    @property
    def quiet(self) -> bool:
        """Is there nothing to be sent or read, nor will be when its time comes?"""
        return not (self._ready or self._recalled or self.resting.waiting or self._cursor + 1 < self._floor)

    def begin(self, floor: int, queued: bool) -> None:
        """A session begins: read from the start as far as ``floor``, or nothing where nothing is ``queued``."""
        self._floor = floor
        self._cursor = 0 if queued else floor - 1

    def finish(self) -> None:
        """The session is over: what was read is read again by the next one."""
        self._ready.clear()
        self._recalled.clear()
        self.resting.clear()
        self._passed_over.clear()

    def spilled(self, place: int) -> None:
        """A message of the tail was left to the disk."""
        self._floor = place + 1

    def ahead(self) -> bool:
        """Does something here wait for its first send?"""
        if self._ready and any(record.trials.attempts == 0 for record in self._ready):
            return True
        return self._cursor + 1 < self._floor

    def blocked(self) -> bool:
        """Is something being read, or does the next one wait for what the store says to a repeat of it?

        What else is in mind is passed over.
        """
        if self.reading:
            return True
        while self._ready and (entry := self._entries.get(self._ready[0].message.id)) is not None:
            if _is_asked(entry):
                return True
            self._ready.pop(0)
        return False

    def withdrawn(self, id: str) -> None:
        """The repeat of that message is in mind no more."""
        if (delayed := self._passed_over.pop(id, None)) is not None:
            place, not_before = delayed
            self.resting.push(self.learn(place, id, Phase.RESTING, Trials(not_before=not_before)))

    def next(self, now: float, session: int) -> Step | None:
        """What comes next from the disk: what has rested, then what was read, then what is still to be read."""
        if due := self.resting.due(now):
            self.reading = True
            return Recall(session, due)
        while self._recalled:
            entry = self._entries.get(self._recalled[0].message.id)
            if entry is not None and entry.phase is Phase.RESTING:
                return Send(self._recalled[0], entry)
            self._recalled.pop(0)
        if self._ready:
            return Send(self._ready[0], None)
        if self.unread:
            self.reading = True
            return Read(session, self._cursor, self._floor)
        return None

    def several(self, now: float, most: int) -> list[Record]:
        """What was read and comes next, at most so many, where nothing else is to be looked at first; else none."""
        due_at = self.resting.due_at()
        if self.reading or self._recalled or (due_at is not None and due_at <= now):
            return []
        found = self._ready[:most]
        return found if self._entries.keys().isdisjoint([record.message.id for record in found]) else []

    def take_all(self, count: int) -> None:
        """So many of the first that were read have been sent."""
        del self._ready[:count]

    def take(self, record: Record) -> None:
        """It was sent, or has ended: if it came from here, it is here no more."""
        for queue in (self._recalled, self._ready):
            if queue and queue[0] is record:
                queue.pop(0)

    def drop(self, id: str) -> None:
        """It is not to be sent now, though it may have been read."""
        self._ready = [record for record in self._ready if record.message.id != id]
        self._passed_over.pop(id, None)

    def learn(self, place: int, id: str, phase: Phase, trials: Trials) -> Entry:
        """Have something in mind that only the disk has."""
        if (before := self._entries.get(id)) is not None:
            before.phase = Phase.ENDED  # put off by its id alone: it is not read when its time comes
        entry = self._entries[id] = Entry(place, id, 0, None, trials, 0.0, phase, Saved.YES)
        return entry

    def defer(self, id: str, not_before: float) -> None:
        """A message that only the disk has rests until that time (Unix time), unless very many do."""
        if len(self.resting) < DEFERRED:
            self.drop(id)
            self.resting.push(self.learn(0, id, Phase.RESTING, Trials(not_before=not_before)))

    def answered(self, step: Read | Recall, page: Page, session: int) -> None:
        """What a read gave."""
        if isinstance(step, Read):
            self._arrived(step, page, session)
        else:
            self._recall(step, page, session)

    def _arrived(self, step: Read, page: Page, session: int) -> None:
        """What ``Read`` gave. Rows that the line has in mind are no news."""
        if step.session == session:
            self._cursor = max(self._cursor, page.last if page.more else step.before - 1)
            self._ready.extend(record for record in page.records if self._is_news(record.message.id))
            for place, id, not_before in page.delayed:
                if id in self._entries and self._is_news(id):
                    self._passed_over[id] = (place, not_before)
                elif id not in self._entries:
                    self.resting.push(self.learn(place, id, Phase.RESTING, Trials(not_before=not_before)))
        self._was_read()

    def _is_news(self, id: str) -> bool:
        entry = self._entries.get(id)
        return entry is None or _is_asked(entry)

    def _recall(self, step: Recall, page: Page, session: int) -> None:
        """What ``Recall`` gave. What it did not give has ended."""
        found = {record.message.id: record for record in page.records}
        for entry in self._rested(step, session):
            record = found.get(entry.id)
            if record is None:
                del self._entries[entry.id]
                continue
            if record.trials.attempts > entry.trials.attempts:
                entry.trials = replace(record.trials, not_before=entry.trials.not_before)
            entry.place, entry.size = record.place, len(record.message.payload)
            entry.expires_at = record.message.expires_at
            self._recalled.append(record)
        self._was_read()

    def failed(self, step: Read | Recall, again_at: float, session: int) -> None:
        """A read failed: a range is asked for again at the next call, messages at ``again_at`` (Unix time)."""
        for entry in self._rested(step, session) if isinstance(step, Recall) else ():
            entry.trials = replace(entry.trials, not_before=again_at)
            self.resting.push(entry)
        self._was_read()

    def _rested(self, step: Recall, session: int) -> list[Entry]:
        ids = step.ids if step.session == session else ()
        entries = [self._entries.get(id) for id in ids]
        return [entry for entry in entries if entry is not None and entry.phase is Phase.RESTING]

    def forget(self, entry: Entry) -> None:
        """Its end is recorded. What is being read may have been read before that: then it is kept in mind a little."""
        if self.reading:
            self._forgotten.append(entry)
        elif self._entries.get(entry.id) is entry:
            del self._entries[entry.id]

    def _was_read(self) -> None:
        self.reading = False
        forgotten, self._forgotten = self._forgotten, []
        for entry in forgotten:
            self.forget(entry)
