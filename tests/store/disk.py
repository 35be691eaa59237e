"""A disk that does what a test says: it waits, it is full, it fails. The real store and the real SQLite run on it."""

from __future__ import annotations

import itertools
from threading import Event

import apsw

_names = (f"disk-{number}" for number in itertools.count())


class Disk(apsw.VFS):
    """An SQLite VFS over the default one. ``name`` is what a store is given."""

    def __init__(self) -> None:
        self.name = next(_names)
        self.base = ""
        self.commits = 0  #: syncs of the log
        self._error: type[apsw.Error] | None = None
        self._calls_left = 0
        self._kinds: tuple[str, ...] = ()
        self._free = Event()
        self._free.set()
        super().__init__(self.name, self.base)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> DiskFile:
        return DiskFile(self, name, flags)

    def hold(self) -> None:
        """Let every sync of the log wait until ``release``."""
        self._free.clear()

    def release(self) -> None:
        """Let them go on."""
        self._free.set()

    def fail(self, error: type[apsw.Error], *, after: int = 0, kinds: tuple[str, ...] = ("write", "sync")) -> None:
        """Fail once, after so many more calls of these kinds on the log went well."""
        self._error, self._calls_left, self._kinds = error, after, kinds

    @property
    def failed(self) -> bool:
        """Did what ``fail`` asked for happen?"""
        return self._error is None

    def called(self, kind: str) -> None:
        """A call on the log is about to be made."""
        if kind == "sync":
            self._free.wait()
        if self._error is not None and kind in self._kinds:
            if self._calls_left == 0:
                error, self._error = self._error, None
                raise error("the test says so")
            self._calls_left -= 1


class DiskFile(apsw.VFSFile):
    """One open file of it."""

    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self.disk = disk
        self.log = bool(flags[0] & apsw.SQLITE_OPEN_WAL)
        super().__init__(disk.base, name, flags)

    def excepthook(self, *error: object) -> bool:
        """SQLite is told of the error: that it was raised here is no news."""
        return True

    def xRead(self, amount: int, offset: int) -> bytes:
        if self.log:
            self.disk.called("read")
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self.log:
            self.disk.called("write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        if self.log:
            self.disk.called("sync")
        super().xSync(flags)
        self.disk.commits += self.log
