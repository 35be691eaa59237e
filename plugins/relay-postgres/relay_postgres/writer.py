"""The thread that writes: batches into commits, errors into answers, and a lost connection into as little as can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event
from typing import Final

import psycopg
from psycopg import errors
from twisted.logger import Logger

from relay.core.model import Snapshot, Write
from relay.core.ports import StoreRefused, StoreUnavailable
from relay.store.faults import again
from relay.store.retention import Bounds
from relay.store.work import Answer
from relay_postgres.changes import apply
from relay_postgres.faults import OWN_FAULT, ServerHealth
from relay_postgres.link import Connection, Link
from relay_postgres.opening import Locked, check, enter, lock, migrate, opened
from relay_postgres.pruning import prune
from relay_postgres.reader import snapshot
from relay_postgres.server import Server
from relay_postgres.superseding import settle
from relay_postgres.work import Work

TRANSACTION: Final = "SELECT txid_current()"
BECAME: Final = "SELECT txid_status(%s) = 'committed'"

#: Seconds between the attempts to learn what became of a commit whose answer was lost: a server is back after a crash.
ASK_AGAIN: Final = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)


class Writer:
    """Owns the database from ``open`` to ``close``. Every call is made on one thread, but for ``hurry``."""

    log = Logger()

    def __init__(self, server: Server, bounds: Bounds, health: ServerHealth, seconds: Callable[[], float]) -> None:
        self.link = Link(server, "writing", seconds, self._greet)
        self._server = server
        self._bounds = bounds
        self._health = health
        self._opening = 0  #: the number of ours; 0: it is not opened yet
        self._doubt: int | None = None  #: a transaction of which it is not known whether it was committed
        self._hurry = Event()

    def open(self, now: float) -> Snapshot:
        """Open the database and say what it holds at Unix time ``now``. Raises StoreRefused, and then holds nothing."""
        try:
            with self.link.use() as connection:
                check(connection, self._server)
                with connection.transaction():
                    migrate(connection, self._server)
                    settle(Work(connection), now)
                    opening = enter(connection)
                    found = snapshot(connection, now)
                self._limit(connection)
                self._opening = opening
                return found
        except StoreRefused:
            self.link.close()
            raise
        except StoreUnavailable as error:
            self.link.close()
            raise StoreRefused(str(error)) from error
        except psycopg.Error as error:
            self.link.close()
            raise StoreRefused(f"{self._server} cannot be opened: {self._server.told(error)}") from error

    def _greet(self, connection: Connection) -> None:
        """Make sure, on a new connection, that nobody else has been here."""
        try:
            lock(connection, self._server)
        except Locked:
            if self._opening and opened(connection) != self._opening:
                raise self._taken_over() from None
            raise
        if self._opening:
            if opened(connection) != self._opening:
                raise self._taken_over()
            self._limit(connection)
            if self._doubt is not None and self._was_committed(connection):
                raise self._broken("what was said to have failed turned out to be committed: read it anew")
            self._doubt = None

    def _taken_over(self) -> StoreUnavailable:
        return self._broken("another relay has used this store while the connection was lost")

    def _broken(self, why: str) -> StoreUnavailable:
        return again(self._health.give_up(why))

    def admit(self, connection: Connection) -> None:
        """Greet a new connection that only reads, from its thread: what another relay made of the store is not ours."""
        if opened(connection) != self._opening:
            raise self._taken_over()
        self._limit(connection)

    def _limit(self, connection: Connection) -> None:
        """Let no statement on this connection take longer than a server that is there takes."""
        connection.execute("SELECT set_config('statement_timeout', %s, false)", (f"{self._server.answer_seconds}s",))

    def hurry(self) -> None:
        """Do not wait any more for a server that is not there. From any thread."""
        self._hurry.set()

    def close(self) -> None:
        """Let go of it: the lock goes with the connection."""
        self.link.close()

    # -- writing

    def commit(self, ops: Sequence[Write]) -> Sequence[Answer]:
        """Make these changes durable and say of each what came of it. Never raises."""
        try:
            self._health.check()
            try:
                return self._transact(ops)
            except _NotMade:  # as when the server was started anew since the last commit
                return self._transact(ops)
        except OWN_FAULT as error:
            if len(ops) == 1:
                return [self._health.judge(error)]
            half = len(ops) // 2
            return [*self.commit(ops[:half]), *self.commit(ops[half:])]
        except Exception as error:
            cause = error.__cause__ if isinstance(error, _NotMade) else error
            assert isinstance(cause, Exception)
            return [self._health.judge(cause)] * len(ops)

    def _transact(self, ops: Sequence[Write]) -> Sequence[Answer]:
        transaction: int | None = None
        with self.link.use() as connection:
            try:
                with connection.pipeline(), connection.transaction():
                    number = connection.execute(TRANSACTION)
                    answers = apply(connection, ops, self._bounds)
                    [(transaction,)] = number.fetchall()
                return answers
            except errors.OperationalError as error:
                if not connection.closed:
                    raise
                if transaction is None:
                    raise _NotMade from error
                lost = error
        if self._became(transaction):
            return answers
        raise _NotMade from lost

    def _became(self, transaction: int) -> bool:
        """Was it committed? The connection broke after that was asked for, and before it was answered.

        Raises StoreUnavailable when nobody says so in time. If it then turns out that it was, the store breaks: a
        restart reads what is there.
        """
        for delay in ASK_AGAIN:
            if self._hurry.wait(delay):
                break
            self.link.retry()
            try:
                with self.link.use() as connection:
                    return self._was_committed(connection, transaction)
            except (StoreUnavailable, psycopg.Error) as error:
                self.log.debug("what became of a commit is not known yet: {error}", error=self._server.told(error))
                if self._health.broken is not None:
                    break
        self._doubt = transaction
        raise StoreUnavailable(f"{self._server}: the connection was lost during a commit")

    def _was_committed(self, connection: Connection, transaction: int | None = None) -> bool:
        try:
            [(committed,)] = connection.execute(BECAME, (transaction or self._doubt,)).fetchall()
        except errors.InvalidParameterValue:
            return False  # it lies in the future of the server that took over
        return bool(committed)

    def tidy(self, now: float) -> bool:
        """Forget a slice of what is too old. Is there more? Raises StoreUnavailable."""
        return self._health.run(self._tidy, now)

    def _tidy(self, now: float) -> bool:
        with self.link.use() as connection, connection.transaction():
            return prune(Work(connection, bounds=self._bounds), now)


class _NotMade(Exception):
    """The connection was lost, and nothing was committed."""
