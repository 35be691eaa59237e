"""The database's files and its three connections: one writes, one reads, one copies the log into the file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import apsw
from twisted.logger import Logger

from relay.core.model import Snapshot, Write
from relay.store.changes import apply
from relay.store.migrating import migrate
from relay.store.opening import connect, make_file, prepare
from relay.store.pruning import prune
from relay.store.reader import Reader
from relay.store.retention import Bounds
from relay.store.superseding import left, settle
from relay.store.work import Answer

LOG_BYTES: Final = 16 * 1024 * 1024  #: the log's file is cut to this when it is begun anew

Tune = Callable[[apsw.Connection], object]


class Database:
    """An SQLite database. Each method says which thread's it is; ``open`` and ``close`` are the writer's.

    ``free_bytes`` tells what is free on its disk; ``bounds`` are those on what is kept.
    """

    log = Logger()

    def __init__(
        self,
        path: str,
        *,
        free_bytes: Callable[[], int],
        bounds: Bounds,
        vfs: str | None,
        busy_seconds: float,
        tune: Tune | None,
    ) -> None:
        self.path = path
        self.log_pages = 0  #: in the log since it was begun anew: what a checkpoint is for
        self.reader: Reader
        self._free_bytes = free_bytes
        self._bounds = bounds
        self._vfs = vfs
        self._busy_seconds = busy_seconds
        self._tune = tune
        self._connections: list[apsw.Connection] = []
        self._writing: apsw.Connection
        self._copying: apsw.Connection

    def open(self, now: float) -> Snapshot:
        """Open it and say what it holds at Unix time ``now``. Raises StoreRefused, apsw.Error or OSError."""
        try:
            make_file(self.path)
            unclean = os.path.exists(f"{self.path}-wal")  # a clean stop removes the log
            self._writing = self._connect(writing=True)
            prepare(self._writing, self.path, unclean=unclean)
            migrate(self._writing, self.path, self._free_bytes)
            self._writing.pragma("journal_size_limit", LOG_BYTES)
            self._writing.set_wal_hook(self._committed)
            if self._tune:
                self._tune(self._writing)
            self._copying = self._connect(writing=True)
            self.reader = Reader(self._connect(writing=False))
            self._settle(now)
            return self.reader.snapshot(now)
        except BaseException:
            self.close(broken=False)
            raise

    def _settle(self, now: float) -> None:
        """End what was replaced in flight. On a full disk without remembering how, or not at all."""
        for lean in (False, True):
            if not left(self._writing):
                return
            with contextlib.suppress(apsw.FullError), self._transaction():
                settle(self._writing, now, lean=lean)

    def _connect(self, *, writing: bool) -> apsw.Connection:
        connection = connect(self.path, self._vfs, writing=writing, busy_seconds=self._busy_seconds)
        self._connections.append(connection)
        return connection

    def _committed(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self.log_pages = pages
        return apsw.SQLITE_OK

    def transact(self, ops: Sequence[Write], *, lean: bool = False) -> Sequence[Answer]:
        """Make these changes and commit them. All or none; raises apsw.Error. For the writer's thread.

        ``lean``: the disk is full, and ends take no room: how a message ended is not remembered.
        """
        with self._transaction():
            return apply(self._writing, ops, self._bounds, lean=lean)

    def prune(self, now: float) -> bool:
        """Forget a slice of what is too old or too much. Is there more? For the writer's thread."""
        with self._transaction():
            return prune(self._writing, now, self._bounds)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writing.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writing.execute("COMMIT")
        except BaseException:
            # Some errors have rolled back already. What comes next would then be committed statement by statement.
            if self._writing.in_transaction:
                self._writing.execute("ROLLBACK")
            raise

    def copy_log(self) -> None:
        """Copy what is in the log into the file, beside the writer. For the copying thread."""
        self._copying.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def finish_log(self) -> None:
        """Copy what came while ``copy_log`` ran: with nothing left to copy the next commit begins the log anew.

        Without it a log that is always written to would grow for ever. For the writer's thread.
        """
        self._writing.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def empty_log(self) -> None:
        """Copy the log into the file and cut it to nothing, unless it is in use. For the writer's thread."""
        if self.log_pages:
            with contextlib.suppress(apsw.BusyError):
                self._writing.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                self.log_pages = 0

    def close(self, *, broken: bool) -> None:
        """Let go of it, when no other thread uses it any more. A broken one is left as it is: the restart reads it."""
        for connection in reversed(self._connections):
            try:
                if broken:
                    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                connection.close()
            except apsw.Error as error:
                self.log.error("{path} could not be closed: {error}", path=self.path, error=str(error))
        self._connections.clear()
