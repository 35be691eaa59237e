"""The store on a PostgreSQL server, seen from the reactor thread.

Two threads stand behind it, each with a connection of its own. One writes: whatever waits goes into one commit. One
reads. Neither is made per call, and no call waits on the reactor thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

from relay.core.model import Callback, Letter, Page, Past, Standing
from relay.store.frame import Frame
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


class PostgresStore(Frame):
    """``MessageStore`` in a schema of a PostgreSQL database. It is opened once, and holds it alone.

    ``reactor`` brings answers home from the threads, ``clock`` times the chores, ``wall`` gives Unix time.
    ``bounds`` say how much is kept.

    While the server is away every call fails with StoreUnavailable, and the connection is made again by itself. A
    commit whose answer was lost is looked up on the server, so that what is answered is true; where that cannot be
    done in time it fails, and if it was made all the same the store breaks.
    """

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
        health = ServerHealth(server)
        self._writer = Writer(server, bounds, health, clock.seconds)
        self._reading_link = Link(server, "reading", clock.seconds, self._writer.admit)
        self._reader = Reader(self._reading_link)
        super().__init__(self._writer, health, reactor=reactor, clock=clock, wall=wall)
        self._chores: Chores = Chores(
            clock=clock,
            wall=wall,
            writer=self._writer,
            writing=self._writing,
            links=(self._writer.link, self._reading_link),
            looked=self._look_at_health,
        )

    def _let_go(self) -> Sequence[tuple[Worker, Callable[[], None]]]:
        return (self._reading, self._reading_link.close), (self._writing, self._writer.close)

    def _left_alone(self) -> None:
        self.log.error("{server} does not answer: it is left as it is", server=str(self._server))
        self._writer.hurry()
        for link in (self._reading_link, self._writer.link):
            link.cut()

    # -- what is asked of it

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

    def _read(self, call: Callable[..., T], *about: Any) -> Deferred[T]:
        def read(connection: Connection) -> T:
            return call(connection, *about)

        return self._ask(self._reader.read, read)
