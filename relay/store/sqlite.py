"""The store on a disk: SQLite, seen from the reactor thread.

Three threads stand behind it. One writes: whatever waits goes into one commit. One reads. One copies the log into the
file while the others go on. None of them is made per call, and no call waits on the reactor thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

from relay.core.model import Callback, Letter, Page, Past, Standing
from relay.store.chores import Chores
from relay.store.database import Database, Tune
from relay.store.faults import Health
from relay.store.frame import Frame
from relay.store.retention import DEFAULTS, Bounds
from relay.store.room import Reserve, Room
from relay.store.worker import Worker
from relay.store.writer import Writer


class SqliteStore(Frame):
    """``MessageStore`` in an SQLite file. It is opened once.

    ``path`` is the database file; its directory exists. Beside it are SQLite's own files, ``.lock`` and ``.reserve``.
    ``reactor`` brings answers home from the threads, ``clock`` times the chores, ``wall`` gives Unix time.
    ``reserve_bytes`` is the size of the reserve file (0: none). Below ``min_free_bytes`` on the disk, as ``free_bytes``
    tells, new messages are refused. ``bounds`` say how much is kept. Another program's lock is waited for up to
    ``busy_seconds``. With ``log_pages`` pages in the log it is copied into the file. ``vfs`` names an SQLite VFS,
    ``tune`` is called with the connection that writes: for tests of the disk.
    """

    def __init__(
        self,
        path: str,
        *,
        reactor: IReactorFromThreads,
        clock: IReactorTime,
        wall: Callable[[], float],
        reserve_bytes: int = 8 * 1024 * 1024,
        min_free_bytes: int = 64 * 1024 * 1024,
        free_bytes: Callable[[], int] | None = None,
        bounds: Bounds = DEFAULTS,
        busy_seconds: float = 1.0,
        log_pages: int = 1000,
        vfs: str | None = None,
        tune: Tune | None = None,
    ) -> None:
        path = os.path.realpath(path)
        health = Health(path)
        free = free_bytes or (lambda: free_on(os.path.dirname(path)))
        self._database = Database(path, free_bytes=free, bounds=bounds, vfs=vfs, busy_seconds=busy_seconds, tune=tune)
        reserve = Reserve(f"{path}.reserve", reserve_bytes)
        room = Room(reserve, min_free=min_free_bytes, free_bytes=free, seconds=clock.seconds)
        self._writer = Writer(self._database, room, health)
        self._copying = Worker("store-copier", reactor)
        super().__init__(self._writer, health, reactor=reactor, clock=clock, wall=wall, more=[self._copying])
        self._chores: Chores = Chores(
            clock=clock,
            wall=wall,
            database=self._database,
            health=health,
            writer=self._writer,
            writing=self._writing,
            copying=self._copying,
            log_pages=log_pages,
            looked=self._look_at_health,
        )

    def _let_go(self) -> Sequence[tuple[Worker, Callable[[], None]]]:
        return (self._reading, nothing), (self._copying, nothing), (self._writing, self._writer.close)

    def _left_alone(self) -> None:
        self.log.error("the disk of {path} does not answer: it is left as it is", path=self._database.path)

    def _begins_to_write(self) -> None:
        if not self._group.waiting:
            self._chores.writes(1)

    def _settled(self) -> None:
        super()._settled()
        self._chores.writes(self._group.waiting)

    # -- what is asked of it

    def page(self, agent: str, after: int, before: int, now: float, limit: int, max_bytes: int) -> Deferred[Page]:
        """Read a piece of a queue."""
        return self._ask(lambda: self._database.reader.page(agent, after, before, now, limit, max_bytes))

    def load(self, agent: str, ids: Sequence[str]) -> Deferred[Page]:
        """Read those messages that are still queued."""
        return self._ask(lambda: self._database.reader.load(agent, ids))

    def find(self, id: str) -> Deferred[Standing | Past | None]:
        """The message of that id: queued, or remembered."""
        return self._ask(lambda: self._database.reader.find(id))

    def letters(self, after: str, limit: int) -> Deferred[list[Letter]]:
        """Dead letters; fewer than ``limit`` also where their payloads are large, but two if there are two."""
        return self._ask(lambda: self._database.reader.letters(after, limit))

    def letter(self, id: str) -> Deferred[Letter | None]:
        """One dead letter."""
        return self._ask(lambda: self._database.reader.letter(id))

    def overdue(self, now: float, limit: int) -> Deferred[list[tuple[str, str, int]]]:
        """What is queued and has expired."""
        return self._ask(lambda: self._database.reader.overdue(now, limit))

    def callbacks(self, now: float, limit: int) -> Deferred[list[Callback]]:
        """Callbacks that are due."""
        return self._ask(lambda: self._database.reader.callbacks(now, limit))

    def oldest(self, agents: Sequence[str]) -> Deferred[dict[str, float]]:
        """When the first message in each queue was created."""
        return self._ask(lambda: self._database.reader.oldest(agents))


def nothing() -> None:
    """What a thread does last that holds nothing."""


def free_on(directory: str) -> int:
    """Bytes that are free for us on the disk of ``directory``."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize
