"""The ACK table: who waits for which message, each a Deferred with ``addTimeout``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec
from twisted.internet.defer import Deferred

from relay.core.model import Known, Reason, Status, Value
from relay.core.ports import StoreUnavailable
from relay.hub.patience import Awaited, Patience


class Ending(Value, frozen=True):
    """How a message ended while somebody waited."""

    status: Status
    reason: str = ""
    reply: bytes | None = None


#: As nearly all end, without a reply.
DELIVERED: Final = Ending(Status.DELIVERED)


class Reader(msgspec.Struct, eq=False):
    """Who asked, and reads the answer until it hangs up."""

    gone: bool = False
    id: str = ""  #: of the message, when there is one


class Woken(Protocol):
    """Is called when waiting is over: with None when the message ended or is gone, else with why."""

    def callback(self, why: Any, /) -> object: ...


class Crew(Protocol):
    """Lines that are waited for together."""

    def decided(self, waiter: Waiter, why: Reason | None) -> None:
        """Waiting for this one is over."""

    def delivered(self, waiters: list[Waiter], reply: bytes | None) -> None:
        """The messages of these, all of one agent, were delivered: that is their answer."""


class Waiter(msgspec.Struct, eq=False):
    """A POST that has not been answered yet. ``ending`` may come until the answer is written, long after ``over``."""

    id: str
    reader: Reader
    attempts: int = 0
    ending: Ending | None = None
    error: StoreUnavailable | None = None  #: the store could not take it, and it is gone
    known: Known | None = None  #: its idempotency key names another message, and this one is gone
    recorded: bool = False  #: does the store know its end?
    urgent: bool = False  #: now or never: it is sent although its time to live is over
    line: bool = False  #: of a batch, or a publication: not waited for while its agent is mute
    over: Woken | None = None  #: while it waits: a Deferred, or what stands for one
    followers: tuple[Waiter, ...] = ()  #: repeats of the same POST
    crew: Crew | None = None  #: of a line that nobody can follow: is told that it was delivered, with others

    def ran_out(self, _result: object, _seconds: float) -> Reason:
        """A wait that ran out is an answer, not an error."""
        self.over = None
        return Reason.SILENT

    @property
    def forsaken(self) -> bool:
        """Is an ACK waited for whose answer nobody reads, no repeat either? What has ended waits for the disk alone."""
        return self.ending is None and self.reader.gone and all(repeat.reader.gone for repeat in self.followers)


class Crowd:
    """How many POSTs wait, over all agents: a drain is over when nobody does."""

    def __init__(self) -> None:
        self.waiting = 0
        self.when_empty: Callable[[], object] = lambda: None

    def came(self, count: int) -> None:
        self.waiting += count

    def went(self, count: int = 1) -> None:
        self.waiting -= count
        if not self.waiting:
            self.when_empty()


class AckTable:
    """One agent's waiters by message id. What is not in the table is a late ACK, and nobody's disappointment."""

    __slots__ = ("_clock", "_crowd", "_waiters", "lines")

    def __init__(self, clock: Patience, crowd: Crowd) -> None:
        self._clock = clock
        self._crowd = crowd
        self._waiters: dict[str, Waiter] = {}
        self.lines = 0  #: how many of them are lines

    def __len__(self) -> int:
        return len(self._waiters)

    def expect(self, id: str, reader: Reader, *, line: bool = False, urgent: bool = False) -> Waiter:
        """From now on whatever happens to the message is told to this waiter, until ``answered``."""
        reader.id = id
        waiter = Waiter(id, reader, line=line, urgent=urgent)
        self.add(waiter)
        return waiter

    def add(self, waiter: Waiter) -> None:
        """The same for a waiter that was made elsewhere."""
        self._waiters[waiter.id] = waiter
        self._crowd.waiting += 1
        self.lines += waiter.line

    def add_all(self, waiters: Sequence[Waiter]) -> None:
        """The same for several, all of them lines."""
        self._waiters.update([(waiter.id, waiter) for waiter in waiters])
        self._crowd.came(len(waiters))
        self.lines += len(waiters)

    def answered(self, waiter: Waiter) -> None:
        """Its POST has its answer."""
        if self._waiters.pop(waiter.id, None) is not None:
            self._crowd.went()
            self.lines -= waiter.line
        for follower in waiter.followers:
            _wake(follower, None)

    def follow(self, id: str, reader: Reader) -> Waiter | None:
        """A repeat of a POST that is still waited for: woken when that has its answer. None: nobody waits."""
        waiter = self._waiters.get(id)
        if waiter is None:
            return None
        reader.id = id
        waiter.followers += (follower := Waiter(id, reader),)
        return follower

    def wait(self, waiter: Waiter, seconds: float) -> Deferred[Reason | None]:
        """Fires None when the message ended or is gone, else why waiting is over: SILENT after ``seconds``."""
        waiter.over = over = Awaited()
        return over.addTimeout(seconds, self._clock, waiter.ran_out)

    def has(self, id: str) -> bool:
        """Does somebody wait to hear of it?"""
        return id in self._waiters

    def is_urgent(self, id: str) -> bool:
        """Is it sent for the first time now, or never? Its POST waits for that."""
        waiter = self._waiters.get(id)
        return waiter is not None and waiter.urgent and not waiter.attempts

    def watches(self, id: str) -> bool:
        """Does a POST wait for this message still? Then it is not sent again."""
        waiter = self._waiters.get(id)
        return waiter is not None and waiter.over is not None

    def sent(self, id: str, attempts: int) -> None:
        """The message was sent, for the n-th time."""
        if (waiter := self._waiters.get(id)) is not None:
            waiter.attempts = attempts

    def end(self, id: str, ending: Ending) -> None:
        """The message ended."""
        if (waiter := self._waiters.get(id)) is not None:
            waiter.ending = waiter.ending or ending
            _wake(waiter, None)

    def delivered(self, ids: Sequence[str], reply: bytes | None) -> None:
        """These messages were delivered. A crew is told of its own together, and they have their answer with that."""
        crews: dict[Crew, list[Waiter]] = defaultdict(list)
        for waiter in filter(None, list(map(self._waiters.get, ids))):
            if waiter.crew is None or waiter.over is None:
                self.end(waiter.id, Ending(Status.DELIVERED, reply=reply))
            else:
                waiter.over = None
                del self._waiters[waiter.id]
                crews[waiter.crew].append(waiter)
        for crew, waiters in crews.items():
            self.lines -= len(waiters)
            self._crowd.went(len(waiters))
            crew.delivered(waiters, reply)

    def is_known(self, id: str, known: Known) -> None:
        """The message is gone: its idempotency key names another one."""
        if (waiter := self._waiters.get(id)) is not None:
            waiter.known = known
            _wake(waiter, None)

    def recorded(self, id: str) -> None:
        """The store knows the end of the message."""
        if (waiter := self._waiters.get(id)) is not None:
            waiter.recorded = True
            if waiter.ending is not None:  # a store may answer before the waiter was told how it ended
                _wake(waiter, None)

    def replaced(self, id: str, by: str) -> None:
        """A newer message of its topic took its place."""
        self.end(id, Ending(Status.REPLACED, by))

    def fail(self, id: str, error: StoreUnavailable) -> None:
        """The message is gone without an end: the store could not take it."""
        if (waiter := self._waiters.get(id)) is not None:
            waiter.error = error
            _wake(waiter, None)

    def give_up(self, id: str, reason: Reason) -> None:
        """Waiting for this message is pointless."""
        if (waiter := self._waiters.get(id)) is not None:
            _wake(waiter, reason)

    def give_up_forsaken(self, reason: Reason, id: str | None = None) -> None:
        """Waiting is pointless for what nobody reads the answer of: for all of that, or if it is this message."""
        for waiter in list(self._waiters.values()) if id is None else filter(None, [self._waiters.get(id)]):
            if waiter.forsaken:
                _wake(waiter, reason)

    def give_up_all(self, reason: Reason, *, unsent_only: bool = False, lines_only: bool = False) -> None:
        """Waiting is pointless for all of this agent's messages, or for those that were never sent, or for lines."""
        for waiter in list(self._waiters.values()):
            if (waiter.attempts == 0 or not unsent_only) and (waiter.line or not lines_only):
                _wake(waiter, reason)


def _wake(waiter: Waiter, reason: Reason | None) -> None:
    over, waiter.over = waiter.over, None
    if over is not None:
        over.callback(reason)
