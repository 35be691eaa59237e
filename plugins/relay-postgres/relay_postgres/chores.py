"""What the store sees to by itself: what is too old, and a server that answers nothing any more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.store.worker import Worker
from relay_postgres.link import Link
from relay_postgres.writer import Writer

TICK_SECONDS: Final = 10.0


class Chores:
    """Runs from ``start`` to ``stop``. Every call is made on the reactor thread; the work is done by the workers.

    ``looked`` is called after each chore: the health may have changed.
    """

    log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        wall: Callable[[], float],
        writer: Writer,
        writing: Worker,
        links: Sequence[Link],
        looked: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._writer = writer
        self._writing = writing
        self._links = links
        self._looked = looked
        self._timer: IDelayedCall | None = None  #: None = it does not run
        self.under_way: set[str] = set()

    def start(self) -> None:
        """Begin: the database is open."""
        self._timer = self._clock.callLater(TICK_SECONDS, self._tick)

    def stop(self) -> None:
        """Begin nothing more. What is under way ends with the workers."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _tick(self) -> None:
        self._timer = self._clock.callLater(TICK_SECONDS, self._tick)
        now = self._clock.seconds()
        for link in self._links:
            if link.overdue(now):
                self.log.warn("the database server does not answer: the connection to it is cut")
                link.cut()
        if not self.under_way:
            self.under_way.add("tidying")
            Deferred.fromCoroutine(self._tidy()).addBoth(self._tidied)

    async def _tidy(self) -> None:
        """Forget what is old, slice by slice: whatever waits to be written goes between two of them."""
        while self._timer is not None:
            if not await self._writing.ask(self._writer.tidy, self._wall()):
                return

    def _tidied(self, result: Failure | None) -> None:
        self.under_way.discard("tidying")
        self._looked()
        if result is not None:
            self.log.warn("tidying failed: {error}", error=result.getErrorMessage())
