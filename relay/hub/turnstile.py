"""When many come, or go, at once: some of them in each turn of the reactor, so that the others are answered between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

CALM_SECONDS: Final = 0.05  #: after so long without a crowd there may be as many again


class Turnstile:
    """Lets calls through at once, unless many come together: then they stand in a queue, and each turn takes some.

    The reactor serves all that is ready within one turn. When a proxy in front of ten thousand agents is restarted that
    is all of their sockets, closed, and then all of their handshakes; at a third of a millisecond for each end and one
    for each beginning nobody else would be answered for seconds. ``at_once`` go through in one turn.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, at_once: int) -> None:
        self._clock = clock
        self._at_once = at_once
        self._waiting: deque[Callable[[], object]] = deque()
        self._since = -CALM_SECONDS
        self._passed = 0  #: since then

    def passes(self, call: Callable[[], object]) -> bool:
        """``call`` is made once: now, or (False) in one of the next turns, where it must not raise."""
        now = self._clock.seconds()
        if now - self._since >= CALM_SECONDS:
            self._since, self._passed = now, 0
        if self._passed < self._at_once and not self._waiting:
            self._passed += 1
            call()
            return True
        if not self._waiting:
            self._clock.callLater(0, self._some)
        self._waiting.append(call)
        return False

    def _some(self) -> None:
        for _ in range(min(self._at_once, len(self._waiting))):
            with self.log.failuresHandled("what waited for its turn went wrong"):
                self._waiting.popleft()()
        if self._waiting:
            self._clock.callLater(0, self._some)
