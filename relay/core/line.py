"""The order of one agent: the one place that knows what comes next (protocol 2.3 'Order').

A message gets its place when it is accepted. From then on everything asks the line: the direct send, the write to the
store, the burst, the redelivery. The line does no I/O: it says what to read or send next, and is told what came of it.

Where a message can be::

    accept ──> tail ────────────────┐ (spilled to the disk when there are many, or nobody is here)
                │                   v
                │       backlog on the disk, read page by page
                v                   │
             FLYING <───────────────┘
              │  ^
        nack  v  │ its time has come, read again
             RESTING

A new session reads the disk from the start, but only when every write that the last session left has settled:
until then the disk does not show the truth, and the order would be wrong.
"""

from __future__ import annotations

from typing import Final

from relay.core.backlog import Backlog
from relay.core.entry import ENDED, FLYING, Entry, Phase, Read, Recall, Saved, Send, Step, Tail
from relay.core.model import Message, Page, Record, Trials
from relay.core.topics import Topics

NEVER: Final = Trials()  #: was it sent
ONCE: Final = Trials(attempts=1)  #: after the first send

TAIL_COUNT = 100  #: messages kept in memory behind the disk's range …
TAIL_BYTES = 1024 * 1024  #: … and their payload bytes; the rest is read back when its turn comes


def launch(line: Line, place: int, message: Message) -> Entry:
    """It takes its place, and is sent just now: nothing is ahead of it, and it has no topic. Returns its entry.

    What ``Line.accept`` and ``Line.fly`` come to then.
    """
    size = len(message.payload)
    expires_at, publisher = message.expires_at, message.publisher
    entry = Entry(place, message.id, size, message, ONCE, expires_at, FLYING, sends=1, publisher=publisher)
    line.entries[entry.id] = entry
    line.flying += 1
    return entry


def land(line: Line, entry: Entry) -> None:
    """It was flying, and has ended, and the store never knew of it. What ``Line.end`` and ``Line.forget`` come to."""
    line.flying -= 1
    entry.phase, entry.message = ENDED, None
    line.backlog.forget(entry)


class Line:
    """The order of one agent. ``next`` is asked until it says None; every other call may make it say more."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.flying = 0
        self._session = 0  #: counts beginnings and ends; even = nobody is here
        self.tail = Tail()
        self.backlog = Backlog(self.entries)
        self.unsettled = 0  #: messages that an earlier session left, with writes under way, and parcels
        self.topics = Topics(self.entries)

    # -- what the hub asks

    @property
    def quiet(self) -> bool:
        """Is there nothing that ``next`` could say, whatever the time?"""
        return not self.tail.entries and self.backlog.quiet

    @property
    def live(self) -> bool:
        """Does a session hold the agent?"""
        return self._session % 2 == 1

    @property
    def empty(self) -> bool:
        """Is there nothing that must be kept in mind?"""
        return not self.live and not self.entries and not self.unsettled and not self.backlog.reading

    def ahead(self) -> bool:
        """Does an earlier message wait for its first send?"""
        return bool(self.tail.entries) or self.topics.replacing > 0 or self.backlog.ahead()

    def due_at(self) -> float | None:
        """When the next resting message may be sent (Unix time), if there is one."""
        return self.backlog.resting.due_at()

    def next(self, now: float) -> Step | None:
        """What to do next, if there were room for a message.

        A ``Send`` is answered by ``sent`` or ``unsendable`` before the next call, or not done at all.
        """
        if not self.live or self.unsettled or self.topics.replacing or self.backlog.blocked():
            return None
        step = self.backlog.next(now, self._session)
        first = self.tail.first()
        if step is not None or first is None or first.saved is not Saved.YES or first.message is None:
            return step
        return Send(Record(first.place, first.message, first.trials), first)

    # -- a message's way

    def accept(self, place: int, message: Message) -> Entry:
        """It takes its place at the end of the order, for good."""
        entry = Entry(place, message.id, len(message.payload), message, Trials(), message.expires_at)
        self.entries[entry.id] = entry
        self.topics.describe(entry, message)
        self.tail.push(entry)
        return entry

    def sent(self, step: Send, trials: Trials) -> Entry:
        """It was sent just now; ``trials`` include that send. Returns its entry."""
        return self.fly(self.unsendable(step), trials)

    def unsendable(self, step: Send) -> Entry:
        """It is not sent after all, but ends (expired, too large). Returns its entry, for ``end``."""
        self.backlog.take(step.record)
        item, entry = step.record.message, step.entry
        if entry is None:
            entry = self.backlog.learn(step.record.place, item.id, Phase.RESTING, step.trials)
            entry.size, entry.expires_at = len(item.payload), item.expires_at
        self.topics.describe(entry, item)  # of what rested on the disk only the place was in mind
        return entry

    def fly(self, entry: Entry, trials: Trials) -> Entry:
        """It was sent just now: at once if it was accepted just now, with nothing ahead of it. Returns it."""
        self.tail.take_out(entry)
        entry.phase, entry.trials = Phase.FLYING, trials
        if entry.saved is Saved.YES:
            entry.message = None
        self.flying += 1
        return entry

    def saved(self, entry: Entry) -> None:
        """Its write to the store is done."""
        entry.saved = Saved.YES
        if entry.phase is not Phase.WAITING:
            entry.message = None
        if entry.phase is Phase.RESTING:
            self._time(entry)
        self._spill()

    def rest(self, entry: Entry, trials: Trials) -> None:
        """It is sent again, but not before ``trials.not_before``: after a nack, which is no silence."""
        self.flying -= entry.phase is Phase.FLYING
        entry.phase, entry.trials, entry.sends = Phase.RESTING, trials, 0
        self._time(entry)

    def _time(self, entry: Entry) -> None:
        if self.live and not entry.left:
            self.backlog.resting.push(entry)

    def end(self, entry: Entry) -> None:
        """It has ended, whatever the store says; it is kept in mind until ``forget``, so that it is not sent again."""
        if entry.phase is Phase.FLYING:
            self.flying -= 1
        elif entry.phase is Phase.WAITING:
            self.tail.take_out(entry)
            self.backlog.drop(entry.id)  # it may be a repeat of one that was read
        if entry.left:
            entry.left = False
            self.unsettled -= 1
        entry.phase = Phase.ENDED
        entry.message = None

    def forget(self, entry: Entry) -> None:
        """The store knows its end, or never knew of it."""
        if entry.phase is not Phase.ENDED:
            self.end(entry)
        self.backlog.forget(entry)

    def withdraw(self, entry: Entry) -> None:
        """The store did not take it, perhaps because it has a message of that id: then that one goes its way."""
        if entry.phase is Phase.ENDED:
            return  # until its end is recorded
        self.flying -= entry.phase is Phase.FLYING
        self.tail.take_out(entry)
        entry.phase, entry.message = Phase.ENDED, None
        if self.entries.get(entry.id) is entry:
            del self.entries[entry.id]
            self.backlog.withdrawn(entry.id)

    def tombstone(self, id: str) -> Entry:
        """An end of a message that only the disk has: it must not be sent though the disk still shows it."""
        self.backlog.drop(id)
        return self.backlog.learn(0, id, Phase.ENDED, Trials())

    def defer(self, id: str, not_before: float) -> None:
        """A message that only the disk has is not sent before that time (Unix time)."""
        if self.live:
            self.backlog.defer(id, not_before)

    def answered(self, step: Read | Recall, page: Page) -> None:
        """What a read gave."""
        self.backlog.answered(step, page, self._session)

    def unread(self, step: Read | Recall, again_at: float) -> None:
        """A read failed. What it asked for is asked for again; messages not before ``again_at`` (Unix time)."""
        self.backlog.failed(step, again_at, self._session)

    def _spill(self) -> None:
        """Leave to the disk what need not be in memory: always the front, so that the order stays."""
        while (first := self.tail.first()) is not None and first.saved is Saved.YES:
            if self.live and len(self.tail) <= TAIL_COUNT and self.tail.bytes <= TAIL_BYTES:
                return
            self.tail.take_out(first)
            self.backlog.spilled(first.place)
            del self.entries[first.id]

    # -- sessions

    def begin(self, next_place: int, queued: bool) -> None:
        """A session holds the agent: the queue is read from its start, as far as the tail.

        ``next_place``: higher than any place given so far; ``queued``: does the store hold anything for the agent?
        """
        self._session += 1
        first = self.tail.first()
        self.backlog.begin(next_place if first is None else first.place, queued or self.unsettled > 0)

    def finish(self) -> list[Entry]:
        """The session is over. Returns what was flying: the hub says ``leave`` of each, with its new trials."""
        self._session += 1
        self.backlog.finish()
        entries = list(self.entries.values())
        for entry in entries:
            if entry.phase is Phase.RESTING and not entry.left:
                self.leave(entry, entry.trials)
        self._spill()
        return [entry for entry in entries if entry.phase is Phase.FLYING]

    def leave(self, entry: Entry, trials: Trials) -> None:
        """Left behind by its session: forgotten as soon as the store has it, and found there by the next one."""
        self.flying -= entry.phase is Phase.FLYING
        entry.phase, entry.trials = Phase.RESTING, trials
        entry.sends, entry.pause = 0, None
        if entry.writes or entry.saved is not Saved.YES:
            entry.left = True
            self.unsettled += 1
        else:
            self.entries.pop(entry.id, None)

    def written(self, entry: Entry) -> None:
        """A write about it is over, well or not. What an earlier session left is then on the disk, or gone."""
        entry.writes -= 1
        if entry.left and not entry.writes:
            entry.left = False
            self.unsettled -= 1
            self.entries.pop(entry.id, None)
