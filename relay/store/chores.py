"""What a store on a disk sees to by itself: the log, what is too old, and a disk that answers nothing any more."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.store.database import Database
from relay.store.faults import Health
from relay.store.worker import Worker
from relay.store.writer import Writer

TICK_SECONDS: Final = 10.0
STUCK_SECONDS: Final = 30.0  #: a disk that answers nothing for so long has failed


class Chores:
    """Runs from ``start`` to ``stop``. Every call is made on the reactor thread; the work is done by the workers.

    The log is copied into the file once it has ``log_pages`` pages. ``looked`` is called after each chore, and when the
    disk is given up: the health may have changed.
    """

    log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        wall: Callable[[], float],
        database: Database,
        health: Health,
        writer: Writer,
        writing: Worker,
        copying: Worker,
        log_pages: int,
        looked: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._database = database
        self._health = health
        self._writer = writer
        self._writing = writing
        self._copying = copying
        self._log_pages = log_pages
        self._looked = looked
        self._timer: IDelayedCall | None = None  #: None = it does not run
        self._tidied_at = clock.seconds()
        self._wrote_at = self._tidied_at
        self._waits = False
        self.under_way: set[str] = set()

    def start(self) -> None:
        """Begin: the database is open."""
        self._timer = self._clock.callLater(TICK_SECONDS, self._tick)

    def stop(self) -> None:
        """Begin nothing more. What is under way ends with the workers."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def writes(self, waiting: int) -> None:
        """A write is asked for, or a commit was answered: so many writes wait now. Copies a long log."""
        self._waits = waiting > 0
        self._wrote_at = self._clock.seconds()
        if self._database.log_pages >= self._log_pages:
            self._begin("checkpoint", self._checkpoint)

    def _begin(self, name: str, chore: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do a chore, unless it is under way."""
        if name in self.under_way or self._timer is None:
            return
        self.under_way.add(name)

        def ended(result: Failure | None) -> None:
            self.under_way.discard(name)
            self._looked()
            if result is not None:
                self.log.warn("{name} failed: {error}", name=name, error=result.getErrorMessage())

        Deferred.fromCoroutine(chore()).addBoth(ended)

    async def _checkpoint(self) -> None:
        """Move the log into the file: most of it beside the writer, then the rest in the writer's turn."""
        await self._copying.ask(self._health.run, self._database.copy_log)
        if self._timer is not None:
            await self._writing.ask(self._health.run, self._database.finish_log)

    async def _tidy(self) -> None:
        """Forget what is old, slice by slice: whatever waits to be written goes between two of them."""
        idle, self._tidied_at = self._wrote_at <= self._tidied_at, self._clock.seconds()
        while self._timer is not None:
            if not await self._writing.ask(self._writer.tidy, self._wall(), idle=idle):
                return

    def _tick(self) -> None:
        if self._waits and self._clock.seconds() - self._wrote_at >= STUCK_SECONDS:
            self._health.give_up(f"the disk has not answered for {STUCK_SECONDS:.0f} s")
            self._looked()
            return
        self._timer = self._clock.callLater(TICK_SECONDS, self._tick)
        self._begin("tidying", self._tidy)
