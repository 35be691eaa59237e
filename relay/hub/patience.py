"""The clock of those who wait for an ACK: a timer of the reactor's for each of them would cost more than the wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from relay.core.delays import Delays
from relay.core.ports import Cancellable

#: So many different delays are queued; who waits for yet another time has a timer of the clock's own.
KINDS: Final = 64


class Patience:
    """``seconds`` and ``callLater`` over another clock, of which it takes one timer: enough for ``addTimeout``.

    The timer is not stopped when nothing is left that it was set for, nor moved when that comes later: it rings for
    nothing now and then, where nearly every call is called off.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._calls: Delays[Call] = Delays()
        self._timer: IDelayedCall | None = None
        self._timer_at = 0.0

    def seconds(self) -> float:
        return self._clock.seconds()

    def callLater(  # noqa: N802  Twisted's name
        self, delay: float, call: Callable[..., object], *args: Any, **kw: Any
    ) -> Cancellable:
        """Call it in ``delay`` seconds, on the turn in which the clock's own timer would have rung, or a later one."""
        delays = self._calls.delays()
        if delay not in delays and len(delays) >= KINDS:
            return self._clock.callLater(delay, call, *args, **kw)
        turn = Call(self._calls, delay, call, args, kw)
        due = self._calls.put(turn, self._clock.seconds(), delay)
        if self._timer is None or due < self._timer_at:
            self._ring_at(due)
        return turn

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

    __slots__ = ("_args", "_call", "_calls", "_delay", "_kw")

    def __init__(
        self,
        calls: Delays[Call],
        delay: float,
        call: Callable[..., object],
        args: tuple[Any, ...],
        kw: dict[str, Any],
    ) -> None:
        self._calls = calls
        self._delay = delay
        self._call: Callable[..., object] | None = call
        self._args = args
        self._kw = kw

    def active(self) -> bool:
        """Is it still to come?"""
        return self._call is not None

    def cancel(self) -> None:
        """It is not to come."""
        self._call = None
        self._calls.take(self, self._delay)

    def make(self) -> None:
        call, self._call = self._call, None
        if call is not None:  # one that was due with it may have called it off
            call(*self._args, **self._kw)
