"""What is read again while the relay runs: files that change, and everything when a SIGHUP comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

#: Between two looks, in seconds: what a revoked token may still do is over within a second, and no file is read while
#: it is being written (it must look alike twice).
INTERVAL: Final = 0.25

log = Logger()


class Watch:
    """One guarded loop. ``looks`` are called at each turn of it and must be cheap; ``reloads`` when a SIGHUP comes."""

    def __init__(self, clock: IReactorTime) -> None:
        self.looks: list[Callable[[], object]] = []
        self.reloads: list[Callable[[], object]] = []
        self._loop = LoopingCall(self._call_all, self.looks)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin to look, if there is anything to look at."""
        if self.looks:
            self._loop.start(INTERVAL, now=False).addErrback(
                lambda failure: log.failure("nobody looks at the files any more", failure)
            )

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()

    def reload(self) -> None:
        """Read everything again, changed or not."""
        self._call_all(self.reloads)

    def _call_all(self, calls: list[Callable[[], object]]) -> None:
        # A LoopingCall ends for ever at its first exception.
        for call in calls:
            try:
                call()
            except Exception:
                log.failure("{call} went wrong", call=call)
