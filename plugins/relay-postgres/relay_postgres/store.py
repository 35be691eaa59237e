"""The store on a PostgreSQL server, seen from the reactor thread.

Two threads stand behind it, each with a connection of its own. One writes: whatever waits goes into one commit. One
reads. Neither is made per call, and no call waits on the reactor thread.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, TimeoutError, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger

from relay.core.model import Callback, Depth, Kept, Letter, Page, Past, Snapshot, Standing, Write
from relay.core.ports import StoreBroken, StoreUnavailable
from relay.store.faults import StoreOverloaded, again
from relay.store.group import GroupCommit
from relay.store.retention import DEFAULTS, Bounds
from relay.store.worker import Worker
from relay_postgres import reader
from relay_postgres.chores import Chores
from relay_postgres.faults import ServerHealth
from relay_postgres.link import Connection, Link
from relay_postgres.reader import Reader
from relay_postgres.server import Server
from relay_postgres.writer import Writer

T = TypeVar("T")

MAX_READS: Final = 20_000  #: that may wait
CLOSE_SECONDS: Final = 10.0  #: it is waited for so long at the end


class State(enum.Enum):
    """Where a store stands. It only moves down this list, but for a refused opening."""

    NEW = "not open"
    OPEN = "open"
    BROKEN = "broken"
    CLOSED = "closed"


class PostgresStore:
    """``MessageStore`` in a schema of a PostgreSQL database. It is opened once, and holds it alone.

    ``reactor`` brings answers home from the threads, ``clock`` times the chores, ``wall`` gives Unix time.
    ``bounds`` say how much is kept.

    While the server is away every call fails with StoreUnavailable, and the connection is made again by itself. A
    commit whose answer was lost is looked up on the server, so that what is answered is true; where that cannot be
    done in time it fails, and if it was made all the same the store breaks.
    """

    durable = True
    log = Logger()

    def __init__(
        self,
        server: Server,
        *,
        reactor: IReactorFromThreads,
        clock: IReactorTime,
        wall: Callable[[], float],
        bounds: Bounds = DEFAULTS,
    ) -> None:
        self._server = server
        self._clock = clock
        self._wall = wall
        self._health = ServerHealth(server)
        self._writer = Writer(server, bounds, self._health, clock.seconds)
        self._reading_link = Link(server, "reading", clock.seconds, self._writer.admit)
        self._reader = Reader(self._reading_link)
        self._writing = Worker("store-writer", reactor)
        self._reading = Worker("store-reader", reactor)
        self._group = GroupCommit(self._writing, self._writer.commit, self._look_at_health)
        self._state = State.NEW
        self._turn = DeferredLock()  # a close waits for the open that is under way
        self._on_broken: list[Callable[[StoreBroken], object]] = []
        self._reads = 0
        self._chores = Chores(
            clock=clock,
            wall=wall,
            writer=self._writer,
            writing=self._writing,
            links=(self._writer.link, self._reading_link),
            looked=self._look_at_health,
        )

    def open(self) -> Deferred[Snapshot]:
        """Open it, off the reactor thread, and say what it holds. Raises StoreRefused with one clear line."""
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> Snapshot:
        async with self._turn:
            if self._state is not State.NEW:
                raise StoreUnavailable(f"the store is {self._state.value}: it cannot be opened again")
            self._writing.start()
            self._reading.start()
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
                await self._patiently(self._reading.ask(self._reading_link.close))
                await self._patiently(self._writing.ask(self._writer.close))
            except TimeoutError:
                self.log.error("{server} does not answer: it is left as it is", server=str(self._server))
                self._writer.hurry()
                for link in (self._reading_link, self._writer.link):
                    link.cut()
                self._group.give_up(StoreUnavailable("the store is closed"))
            finally:
                self._end_workers()

    def _patiently(self, done: Deferred[None]) -> Deferred[None]:
        return done.addTimeout(CLOSE_SECONDS, self._clock)

    def _end_workers(self) -> None:
        self._writing.end()
        self._reading.end()

    def on_broken(self, call: Callable[[StoreBroken], object]) -> None:
        """Call this once, on the reactor thread, when the store breaks for good."""
        self._on_broken.append(call)

    # -- what is asked of it

    def write(self, op: Write) -> Deferred[Depth | Kept | None]:
        """Make one change. The answer comes when it is durable; giving up on it does not undo the change.

        A Put of an id that is kept already, queued or ended, changes nothing.
        """
        refusal = self._refusal()
        return fail(refusal) if refusal else self._group.write(op)

    def write_all(self, ops: Sequence[Write]) -> Deferred[Sequence[Depth | Kept | None]]:
        """Make these changes, in one commit."""
        if not ops:
            return succeed([])
        refusal = self._refusal()
        return fail(refusal) if refusal else self._group.write_all(ops)

    def page(self, agent: str, after: int, before: int, now: float, limit: int, max_bytes: int) -> Deferred[Page]:
        """Read a piece of a queue."""
        return self._read(reader.page, agent, after, before, now, limit, max_bytes)

    def load(self, agent: str, ids: Sequence[str]) -> Deferred[Page]:
        """Read those messages that are still queued."""
        return self._read(reader.load, agent, ids)

    def find(self, id: str) -> Deferred[Standing | Past | None]:
        """The message of that id: queued, or remembered."""
        return self._read(reader.find, id)

    def letters(self, after: str, limit: int) -> Deferred[list[Letter]]:
        """Dead letters; fewer than ``limit`` also where their payloads are large, but two if there are two."""
        return self._read(reader.letters, after, limit)

    def letter(self, id: str) -> Deferred[Letter | None]:
        """One dead letter."""
        return self._read(reader.letter, id)

    def overdue(self, now: float, limit: int) -> Deferred[list[tuple[str, str, int]]]:
        """What is queued and has expired."""
        return self._read(reader.overdue, now, limit)

    def callbacks(self, now: float, limit: int) -> Deferred[list[Callback]]:
        """Callbacks that are due."""
        return self._read(reader.callbacks, now, limit)

    def oldest(self, agents: Sequence[str]) -> Deferred[dict[str, float]]:
        """When the first message in each queue was created."""
        return self._read(reader.oldest, agents)

    def _read(self, call: Callable[..., T], *asked: Any) -> Deferred[T]:
        if refusal := self._refusal():
            return fail(refusal)
        if self._reads >= MAX_READS:
            return fail(StoreOverloaded(f"{MAX_READS} reads wait for the database: no more may"))
        self._reads += 1

        def read(connection: Connection) -> T:
            return call(connection, *asked)

        return self._reading.ask(self._health.run, partial(self._reader.read, read)).addBoth(self._was_read)

    def _was_read(self, result: T) -> T:
        self._reads -= 1
        self._look_at_health()
        return result

    def _refusal(self) -> StoreUnavailable | None:
        if self._state is State.OPEN:
            return None
        return again(self._health.broken) if self._health.broken else StoreUnavailable("the store is not open")

    # -- what becomes of it

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
