"""The store on a disk: SQLite, seen from the reactor thread.

Three threads stand behind it. One writes: whatever waits goes into one commit. One reads. One copies the log into the
file while the others go on. None of them is made per call, and no call waits on the reactor thread.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, TimeoutError, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger

from relay.core.model import Callback, Depth, Kept, Letter, Page, Past, Snapshot, Standing, Write
from relay.core.ports import StoreBroken, StoreUnavailable
from relay.store.chores import Chores
from relay.store.database import Database, Tune
from relay.store.faults import Health, StoreOverloaded, again
from relay.store.group import GroupCommit
from relay.store.retention import DEFAULTS, Bounds
from relay.store.room import Reserve, Room
from relay.store.worker import Worker
from relay.store.writer import Writer

T = TypeVar("T")

MAX_READS: Final = 20_000  #: that may wait
CLOSE_SECONDS: Final = 10.0  #: it is waited for so long at the end


class State(enum.Enum):
    """Where a store stands. It only moves down this list, but for a refused opening."""

    NEW = "not open"
    OPEN = "open"
    BROKEN = "broken"
    CLOSED = "closed"


class SqliteStore:
    """``MessageStore`` in an SQLite file. It is opened once.

    ``path`` is the database file; its directory exists. Beside it are SQLite's own files, ``.lock`` and ``.reserve``.
    ``reactor`` brings answers home from the threads, ``clock`` times the chores, ``wall`` gives Unix time.
    ``reserve_bytes`` is the size of the reserve file (0: none). Below ``min_free_bytes`` on the disk, as ``free_bytes``
    tells, new messages are refused. ``bounds`` say how much is kept. Another program's lock is waited for up to
    ``busy_seconds``. With ``log_pages`` pages in the log it is copied into the file. ``vfs`` names an SQLite VFS,
    ``tune`` is called with the connection that writes: for tests of the disk.
    """

    durable = True
    log = Logger()

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
        self._clock = clock
        self._wall = wall
        self._health = Health(path)
        free = free_bytes or (lambda: free_on(os.path.dirname(path)))
        self._database = Database(path, free_bytes=free, bounds=bounds, vfs=vfs, busy_seconds=busy_seconds, tune=tune)
        reserve = Reserve(f"{path}.reserve", reserve_bytes)
        room = Room(reserve, min_free=min_free_bytes, free_bytes=free, seconds=clock.seconds)
        self._writer = Writer(self._database, room, self._health)
        self._writing = Worker("store-writer", reactor)
        self._reading = Worker("store-reader", reactor)
        self._copying = Worker("store-copier", reactor)
        self._group = GroupCommit(self._writing, self._writer.commit, self._settled)
        self._state = State.NEW
        self._turn = DeferredLock()  # a close waits for the open that is under way
        self._on_broken: list[Callable[[StoreBroken], object]] = []
        self._reads = 0
        self._chores = Chores(
            clock=clock,
            wall=wall,
            database=self._database,
            health=self._health,
            writer=self._writer,
            writing=self._writing,
            copying=self._copying,
            log_pages=log_pages,
            looked=self._look_at_health,
        )

    def open(self) -> Deferred[Snapshot]:
        """Open it, off the reactor thread, and say what it holds. Raises StoreRefused with one clear line."""
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> Snapshot:
        async with self._turn:
            if self._state is not State.NEW:
                raise StoreUnavailable(f"the store is {self._state.value}: it cannot be opened again")
            for worker in (self._writing, self._reading, self._copying):
                worker.start()
            try:
                snapshot = await self._writing.ask(self._writer.open, self._wall())
            except BaseException:
                self._end_workers()
                self._state = State.CLOSED
                raise
            self._state = State.OPEN
            self._chores.start()
            return snapshot

    def close(self) -> Deferred[None]:
        """Finish the writes under way and let go of it. A second call does nothing."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        async with self._turn:
            if self._state in (State.NEW, State.CLOSED):
                return
            self._state = State.CLOSED
            self._chores.stop()
            try:
                for worker in (self._reading, self._copying):
                    await worker.ask(lambda: None).addTimeout(CLOSE_SECONDS, self._clock)
                await self._writing.ask(self._writer.close).addTimeout(CLOSE_SECONDS, self._clock)
            except TimeoutError:
                self.log.error("the disk of {path} does not answer: it is left as it is", path=self._database.path)
                self._group.give_up(StoreUnavailable("the store is closed"))
            finally:
                self._end_workers()

    def _end_workers(self) -> None:
        for worker in (self._writing, self._reading, self._copying):
            worker.end()

    def on_broken(self, call: Callable[[StoreBroken], object]) -> None:
        """Call this once, on the reactor thread, when the store breaks for good."""
        self._on_broken.append(call)

    # -- what is asked of it

    def write(self, op: Write) -> Deferred[Depth | Kept | None]:
        """Make one change. The answer comes when it is durable; giving up on it does not undo the change.

        A Put of an id that is kept already, queued or ended, changes nothing.
        """
        return self._change(partial(self._group.write, op))

    def write_all(self, ops: Sequence[Write]) -> Deferred[Sequence[Depth | Kept | None]]:
        """Make these changes, in one commit."""
        return self._change(partial(self._group.write_all, ops)) if ops else succeed([])

    def _change(self, begin: Callable[[], Deferred[T]]) -> Deferred[T]:
        if refusal := self._refusal():
            return fail(refusal)
        if not self._group.waiting:
            self._chores.writes(1)
        return begin()

    def page(self, agent: str, after: int, before: int, now: float, limit: int, max_bytes: int) -> Deferred[Page]:
        """Read a piece of a queue."""
        return self._read(lambda: self._database.reader.page(agent, after, before, now, limit, max_bytes))

    def load(self, agent: str, ids: Sequence[str]) -> Deferred[Page]:
        """Read those messages that are still queued."""
        return self._read(lambda: self._database.reader.load(agent, ids))

    def find(self, id: str) -> Deferred[Standing | Past | None]:
        """The message of that id: queued, or remembered."""
        return self._read(lambda: self._database.reader.find(id))

    def letters(self, after: str, limit: int) -> Deferred[list[Letter]]:
        """Dead letters; fewer than ``limit`` also where their payloads are large, but two if there are two."""
        return self._read(lambda: self._database.reader.letters(after, limit))

    def letter(self, id: str) -> Deferred[Letter | None]:
        """One dead letter."""
        return self._read(lambda: self._database.reader.letter(id))

    def overdue(self, now: float, limit: int) -> Deferred[list[tuple[str, str, int]]]:
        """What is queued and has expired."""
        return self._read(lambda: self._database.reader.overdue(now, limit))

    def callbacks(self, now: float, limit: int) -> Deferred[list[Callback]]:
        """Callbacks that are due."""
        return self._read(lambda: self._database.reader.callbacks(now, limit))

    def oldest(self, agents: Sequence[str]) -> Deferred[dict[str, float]]:
        """When the first message in each queue was created."""
        return self._read(lambda: self._database.reader.oldest(agents))

    def _read(self, call: Callable[[], T]) -> Deferred[T]:
        if refusal := self._refusal():
            return fail(refusal)
        if self._reads >= MAX_READS:
            return fail(StoreOverloaded(f"{MAX_READS} reads wait for the disk: no more may"))
        self._reads += 1
        return self._reading.ask(self._health.run, call).addBoth(self._was_read)

    def _was_read(self, result: T) -> T:
        self._reads -= 1
        self._look_at_health()
        return result

    def _refusal(self) -> StoreUnavailable | None:
        if self._state is State.OPEN:
            return None
        return again(self._health.broken) if self._health.broken else StoreUnavailable("the store is not open")

    # -- what becomes of it

    def _settled(self) -> None:
        self._look_at_health()
        self._chores.writes(self._group.waiting)

    def _look_at_health(self) -> None:
        if self._health.broken is not None and self._state is State.OPEN:
            self._break(self._health.broken)

    def _break(self, error: StoreBroken) -> None:
        """Take nothing any more, and say so."""
        self._state = State.BROKEN
        self._chores.stop()
        for call in self._on_broken:
            with self.log.failuresHandled("who was to be told that the store broke failed"):
                call(again(error))
        self._group.give_up(error)


def free_on(directory: str) -> int:
    """Bytes that are free for us on the disk of ``directory``."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize
