"""Notices that a wire has gone quiet: the agent's half of the heartbeat (the last line of protocol 2.4)."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Watch:
    """After ``quiet`` seconds of silence ``ask`` is called, and after ``grace`` more ``give_up``.

    One timer that looks again when it must, instead of one that is set anew by each frame.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        quiet: float,
        grace: float,
        ask: Callable[[], None],
        give_up: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._quiet = quiet
        self._grace = grace
        self._ask = ask
        self._give_up = give_up
        self._asked = False
        self._heard_at = clock.seconds()
        self._timer: IDelayedCall = clock.callLater(quiet, self._look)

    def heard(self) -> None:
        """Something came, whatever it was."""
        self._heard_at = self._clock.seconds()
        self._asked = False

    def stop(self) -> None:
        """No more. A second call does nothing."""
        if self._timer.active():
            self._timer.cancel()

    def _look(self) -> None:
        left = self._heard_at + self._quiet - self._clock.seconds()
        if self._asked:
            self._give_up()
        elif left > 0:
            self._timer = self._clock.callLater(left, self._look)
        else:
            self._asked = True
            self._timer = self._clock.callLater(self._grace, self._look)
            self._ask()
