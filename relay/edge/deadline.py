"""One alarm of one connection, which is moved far more often than it rings."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """Calls ``ring`` once when its time has come. Moving it later, or off, costs no timer: that is done when it fires.

    A keep-alive connection changes its deadline several times a request, and none of them is ever reached.
    """

    __slots__ = ("_clock", "_due", "_ring", "_timer", "_timer_at")

    def __init__(self, clock: IReactorTime, ring: Callable[[], object]) -> None:
        self._clock = clock
        self._ring = ring
        self._due: float | None = None
        self._timer: IDelayedCall | None = None
        self._timer_at = 0.0

    @property
    def is_set(self) -> bool:
        """Will it ring?"""
        return self._due is not None

    def after(self, seconds: float) -> None:
        """Ring so many seconds from now, and not at the time that was set before."""
        self.at(self._clock.seconds() + seconds)

    def at(self, due: float) -> None:
        """Ring at that time of the clock, in seconds, and not at the time that was set before."""
        self._due = due
        if self._timer is None or due < self._timer_at:
            self._start(due)

    def clear(self) -> None:
        """Do not ring."""
        self._due = None

    def stop(self) -> None:
        """Do not ring any more, and leave no timer behind: the connection is gone.

        What it would have rung for is let go of: the two would hold each other in memory until the collector comes.
        """
        self._due = None
        self._ring = _nothing
        self._cancel()

    def _start(self, due: float) -> None:
        self._cancel()
        self._timer_at = due
        self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._fire)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        if self._due is None:
            return
        if self._due > self._clock.seconds():
            self._start(self._due)
            return
        self._due = None
        self._ring()


def _nothing() -> None:
    """There is nobody left to hear it."""
