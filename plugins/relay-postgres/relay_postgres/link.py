"""A connection to the server that one thread uses, and that is made again when it was lost."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import psycopg
from psycopg.types.string import ByteaBinaryLoader, ByteaLoader
from twisted.logger import Logger

from relay.core.ports import StoreUnavailable
from relay.store.faults import again
from relay_postgres.server import Server

Connection = psycopg.Connection[Any]

# It says there that a lost connection cannot be closed in order, which is told here in our own words.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

FIRST_DELAY: Final = 0.1  #: seconds after which a lost connection is made again; each failure doubles it
MOST_DELAY: Final = 5.0

LOCK_SECONDS: Final = 5  #: somebody else's lock is waited for so long

# A queue grows from nothing to a million rows between two looks of the planner at it: it would go on reading the table
# from end to end, as was right for ten rows. Every query here has its index.
SETTINGS: Final = {
    "statement_timeout": "0",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_session_timeout": "0",  # the lock that keeps others off is the session's
    "idle_in_transaction_session_timeout": "60s",
    "default_transaction_isolation": "read committed",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "tcp_keepalives_idle": "10",  # a relay that is gone without a word holds its lock no longer than half a minute
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
SET: Final = f"SELECT {', '.join(['set_config(%s, %s, false)'] * (len(SETTINGS) + 1))}"
# What is answered must be on the disk; who asks for more than that, on a second server, has it.
SET_DURABLE: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit')"
    " NOT IN ('on', 'remote_apply')"
)


class Link:
    """Used by one thread, but for ``cut`` and ``overdue``. ``greet`` is called with each new connection.

    ``seconds`` is monotonic time. ``role`` is what the connection is for, in a word.
    """

    log = Logger()

    def __init__(
        self, server: Server, role: str, seconds: Callable[[], float], greet: Callable[[Connection], object]
    ) -> None:
        self._server = server
        self._role = role
        self._seconds = seconds
        self._greet = greet
        self._connection: Connection | None = None
        self._wire: socket.socket | None = None
        self._since: float | None = None  #: when the work under way began
        self._delay = FIRST_DELAY
        self._retry_at = 0.0
        self._why: StoreUnavailable | None = None  #: it is not there

    @contextlib.contextmanager
    def use(self) -> Iterator[Connection]:
        """A connection that was there a moment ago, made now if need be. Raises StoreUnavailable if there is none."""
        self._since = self._seconds()
        try:
            yield self._connection or self._connect()
        finally:
            self._since = None
            if self.lost:
                self.close()

    def retry(self) -> None:
        """Let the next use make a connection at once, whatever came of the last attempt."""
        self._retry_at = 0.0

    @property
    def lost(self) -> bool:
        """Has the connection broken?"""
        return self._connection is not None and self._connection.closed

    def _connect(self) -> Connection:
        if self._why is not None and self._seconds() < self._retry_at:
            raise again(self._why)
        try:
            connection = self._connection = self._made()
            self._greet(connection)
        except Exception as error:
            self.close()
            self._why = self._refused(error)
            self._retry_at = self._seconds() + self._delay
            self._delay = min(2 * self._delay, MOST_DELAY)
            if self._why is error:
                raise
            raise self._why from error
        if self._why is not None:
            self.log.info("{server} is reached again ({role})", server=str(self._server), role=self._role)
        self._why, self._delay = None, FIRST_DELAY
        return connection

    def _refused(self, error: Exception) -> StoreUnavailable:
        if isinstance(error, StoreUnavailable):
            return error
        if self._why is None:
            told = self._server.told(error)
            self.log.warn(
                "{server} is not reached ({role}): {told}", server=str(self._server), role=self._role, told=told
            )
        return StoreUnavailable(f"{self._server}: {self._server.told(error)}")

    def _made(self) -> Connection:
        connection = psycopg.connect(**self._server.connection_parameters(), autocommit=True)
        try:
            # A socket of our own to the same end: it is the same one for ever, whatever libpq does with its number.
            self._wire = socket.socket(fileno=os.dup(connection.fileno()))
            # Texts come as bytes: one that was damaged may not be UTF-8 any more.
            connection.adapters.register_loader("text", ByteaLoader)
            connection.adapters.register_loader("text", ByteaBinaryLoader)
            settings = [*SETTINGS.items(), ("search_path", f'"{self._server.schema}"')]
            connection.execute(SET, [part for setting in settings for part in setting])
            connection.execute(SET_DURABLE)
        except BaseException:
            connection.close()
            raise
        return connection

    def overdue(self, now: float) -> bool:
        """Has the work under way taken longer than a server that is there takes?"""
        since = self._since
        return since is not None and now - since >= self._server.answer_seconds

    def cut(self) -> None:
        """Break the connection under the hands of the thread that waits for it, which then fails. From any thread."""
        wire = self._wire
        if wire is not None:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._wire is not None:
            self._wire.close()
            self._wire = None
