"""The clock of those who wait for an ACK: a timer of the reactor's for each of them would cost more than the wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.core.delays import Delays
from relay.core.ports import Cancellable

#: So many different delays are queued; who waits for yet another time has a timer of the clock's own.
KINDS: Final = 64


class Turn(Protocol):
    """What stands in the queue."""

    def __hash__(self) -> int: ...

    def make(self) -> object:
        """Its time has come."""


Queue = dict[Turn, float]  #: turns, and when they are made


class Patience:
    """``seconds`` and ``callLater`` over another clock, of which it takes one timer: enough for ``addTimeout``.

    The timer is not stopped when nothing is left that it was set for, nor moved when that comes later: it rings for
    nothing now and then, where nearly every call is called off.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._calls: Delays[Turn] = Delays()
        self._timer: IDelayedCall | None = None
        self._timer_at = 0.0

    def seconds(self) -> float:
        return self._clock.seconds()

    def callLater(  # noqa: N802  Twisted's name
        self, delay: float, call: Callable[..., object], *args: Any, **kw: Any
    ) -> Cancellable:
        """Call it in ``delay`` seconds, on the turn in which the clock's own timer would have rung, or a later one."""
        turn = Call(call, args, kw)
        turn.queue = self.put(turn, delay)
        return turn if turn.queue is not None else self._clock.callLater(delay, call, *args, **kw)

    def put(self, turn: Turn, delay: float) -> Queue | None:
        """``turn.make()`` in ``delay`` seconds. Returns the queue that it is to leave if that is not to come.

        None if there are queues enough, and none of them for that delay.
        """
        queue = self._calls.queue(delay, KINDS)
        if queue is not None:
            queue[turn] = due = self._clock.seconds() + delay
            if self._timer is None or due < self._timer_at:
                self._ring_at(due)
        return queue

    def close(self) -> None:
        """Nobody waits any more: leave no timer behind."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _ring_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._ring)

    def _ring(self) -> None:
        self._timer = None
        for turn in self._calls.due(self._clock.seconds()):
            with self.log.failuresHandled("a call that was due failed"):
                turn.make()
        due = self._calls.due_at()
        if due is not None and self._timer is None:
            self._ring_at(due)


class Call:
    """A call to come; what ``callLater`` returns."""

    __slots__ = ("_args", "_call", "_kw", "queue")

    def __init__(self, call: Callable[..., object], args: tuple[Any, ...], kw: dict[str, Any]) -> None:
        self.queue: Queue | None = None
        self._call: Callable[..., object] | None = call
        self._args = args
        self._kw = kw

    def active(self) -> bool:
        """Is it still to come?"""
        return self._call is not None

    def cancel(self) -> None:
        """It is not to come."""
        self._call = None
        if self.queue is not None:
            self.queue.pop(self, None)

    def make(self) -> None:
        call, self._call = self._call, None
        if call is not None:  # one that was due with it may have called it off
            call(*self._args, **self._kw)


class Awaited(Deferred[Any]):
    """A Deferred that stands in the queue of ``Patience`` itself, where its time limit is on that clock.

    Twisted's ``addTimeout`` makes three functions, two callbacks and a call to come of each wait; nearly every one of
    them ends long before. Here that costs half as much.
    """

    _queue: Queue | None = None
    _seconds = 0.0
    _ran_out: Callable[[Any, float], Any]

    def addTimeout(  # noqa: N802  Twisted's name
        self,
        timeout: float,
        clock: Any,
        onTimeoutCancel: Callable[[Any, float], Any] | None = None,
    ) -> Deferred[Any]:
        """The same as of any Deferred, with two differences: nothing was added before, and whoever would be told that
        nobody reads its result is not told so when the time is over.
        """
        queue = clock.put(self, timeout) if onTimeoutCancel is not None and isinstance(clock, Patience) else None
        if onTimeoutCancel is None or queue is None:
            return super().addTimeout(timeout, clock, onTimeoutCancel)
        self._queue, self._seconds, self._ran_out = queue, timeout, onTimeoutCancel
        return self

    def make(self) -> None:
        """Its time is over."""
        if self._queue is not None:  # one that was due with it may have fired it
            self._queue = None
            try:
                result = self._ran_out(None, self._seconds)
            except Exception:
                result = Failure()  # which starts the errbacks
            super().callback(result)

    def callback(self, result: Any) -> None:
        if self._queue is not None:
            self._queue.pop(self, None)
            self._queue = None
        super().callback(result)

    def errback(self, fail: Any = None) -> None:
        if self._queue is not None:
            self._queue.pop(self, None)
            self._queue = None
        super().errback(fail)
