"""Plugins that are told what happens: from a bounded queue of their own, one notice at a time, never in the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.core.model import Notice
from relay.extensions.health import TURN, Health, State

SLICE: Final = 100  #: notices told in one turn of the reactor to a listener that takes each at once


class Listener:
    """Stands between the notices of the floor and one plugin. A ``relay.core.ports.Subscriber``.

    ``prefixes`` are those of the events which it wants, ``seconds`` how long it may take for one, ``most`` how many
    may wait.
    """

    def __init__(
        self,
        health: Health,
        told: Callable[[Notice], Any],
        prefixes: tuple[str, ...],
        clock: IReactorTime,
        *,
        seconds: float,
        most: int,
    ) -> None:
        self.health = health
        self._told = told
        self._prefixes = prefixes
        self._clock = clock
        self._seconds = seconds
        self._most = most
        self._waiting: deque[Notice] = deque()
        self._at_work = False

    def __call__(self, notice: Notice | None) -> None:
        """Something happened; None: the relay shuts down, and what waits is told as far as time goes."""
        if notice is None or self.health.state is State.OFF or not notice.event.startswith(self._prefixes):
            return
        if len(self._waiting) >= self._most:
            self.health.dropped()
            return
        self._waiting.append(notice)
        if not self._at_work:
            self._at_work = True
            # In a turn of its own: who tells us is in the middle of something.
            self._clock.callLater(0, self._begin)

    def _begin(self) -> None:
        Deferred.fromCoroutine(self._tell()).addErrback(lambda failure: self.health.failed("listener", failure))

    async def _tell(self) -> None:
        """Tell a slice of what waits, and come back for the rest."""
        until = self._clock.seconds() + TURN
        try:
            for _ in range(SLICE):
                if not self._waiting or self.health.state is State.OFF or self._clock.seconds() > until:
                    break
                await self._tell_one(self._waiting.popleft())
        finally:
            if self.health.state is State.OFF:
                self._waiting.clear()
            self._at_work = bool(self._waiting)
            if self._at_work:
                self._clock.callLater(0, self._begin)

    async def _tell_one(self, notice: Notice) -> None:
        try:
            result = self._told(notice)
            if isinstance(result, Deferred):
                await self.health.within(self._seconds, result)
        except Exception:
            self.health.failed("listener", Failure())
        else:
            self.health.worked()
