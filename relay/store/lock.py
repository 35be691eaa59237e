"""The lock that keeps a second relay off a store."""

from __future__ import annotations

import fcntl
import os

from relay.core.ports import StoreRefused


class FileLock:
    """A lock on a file of its own, beside the database.

    Not on the database itself: closing any descriptor of that file drops SQLite's own locks. The file stays when the
    lock is released: were it removed, two relays could each lock a file of this name.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take it at once, or raise StoreRefused naming who has it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            whose = f"process {holder}" if holder.isdigit() else "a process that does not say which"
            raise StoreRefused(f"another relay uses this store: {whose} holds {self._path}") from None
        except BaseException:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go of it, if it is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
