"""One timer that many wishes share: it rings at the earliest of them."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Alarm:
    """Rings once, at the earliest time it was set to. Who is woken sets it anew: waking too early is cheap.

    Who is to be woken is known only while it is set: an alarm that held its owner would make a cycle of the two, and
    what is in a cycle stays in memory until the collector looks for it, which is seldom.
    """

    __slots__ = ("_at", "_clock", "_timer")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._at = 0.0

    def set(self, delay: float, ring: Callable[[], object]) -> None:
        """Call ``ring`` in ``delay`` seconds, or earlier."""
        at = self._clock.seconds() + delay
        if self._timer is not None:
            if self._at <= at:
                return
            self._timer.cancel()
        self._at = at
        self._timer = self._clock.callLater(delay, self._rings, ring)

    def rings_within(self, seconds: float) -> bool:
        """Will it ring so soon?"""
        return self._timer is not None and self._at <= self._clock.seconds() + seconds

    def off(self) -> None:
        """Do not ring."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _rings(self, ring: Callable[[], object]) -> None:
        self._timer = None
        ring()
