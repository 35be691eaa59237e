"""What an error of the database means for whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

import apsw
from twisted.logger import Logger

from relay.core.ports import StoreBroken, StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound=StoreUnavailable)


class StoreOverloaded(StoreUnavailable):
    """More waits for the store than it may hold: nothing was done, try again later."""


class StoreFull(StoreUnavailable):
    """There is no room on the disk. What needs none, and what makes some, still goes."""


#: After these nothing that the database says can be relied on in this process. A failed fsync is one of them: the
#: kernel may have dropped the pages and marked them clean, so that a second fsync succeeds without writing anything.
FATAL: Final = (apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.ReadOnlyError, apsw.InternalError)


class Health:
    """Whether a database can still be relied on: one for all of its threads. Once broken, broken for good."""

    log = Logger()

    def __init__(self, path: str) -> None:
        self._path = path
        self.broken: StoreBroken | None = None

    def check(self) -> None:
        """Raise StoreBroken if it is broken."""
        if self.broken is not None:
            raise again(self.broken)

    def run(self, call: Callable[P, T], *args: P.args, **kw: P.kwargs) -> T:
        """Call this unless the store is broken. What it raises comes as the StoreUnavailable that it means."""
        self.check()
        try:
            return call(*args, **kw)
        except Exception as error:
            raise self.judge(error) from error

    def judge(self, error: Exception) -> StoreUnavailable:
        """Say what this error means for those who waited for what failed. A fatal one breaks the store."""
        if isinstance(error, StoreUnavailable):
            return error
        if is_full(error):
            return StoreFull(f"no room on the disk for {self._path}")
        if isinstance(error, apsw.BusyError | apsw.LockedError):
            return StoreUnavailable(f"{self._path} is locked by another program")
        if isinstance(error, FATAL):
            return again(self.give_up(str(error)))
        self.log.error("{path}: {kind}: {error}", path=self._path, kind=type(error).__name__, error=str(error))
        return StoreUnavailable(f"{self._path}: {error}")

    def give_up(self, reason: str) -> StoreBroken:
        """The store is broken: for this reason, unless it was already."""
        if self.broken is None:
            self.broken = StoreBroken(f"{self._path} failed: {reason}")
            self.log.error("the store broke: {reason}", reason=str(self.broken))
        return self.broken


def is_full(error: Exception) -> bool:
    """Is the disk full? The index of the log is grown by a call of its own, which says it in other words."""
    return isinstance(error, apsw.FullError) or (
        isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE
    )


def again(error: E) -> E:
    """The same error for somebody else: each who awaits one adds a traceback to it."""
    return type(error)(*error.args)
