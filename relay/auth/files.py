"""A file that is read again when it has changed, and never while somebody is writing it."""

from __future__ import annotations

import os
from pathlib import Path

Stamp = tuple[int, int, int] | None  #: by which a change is seen; None: it cannot be looked at


class WatchedFile:
    """One file of at most ``most`` bytes."""

    def __init__(self, path: str, most: int) -> None:
        self.path = Path(path)
        self._most = most
        self._seen = self._read = self._stamp()

    def changed(self) -> bool:
        """Has it changed since it was read, and does it look as it did at the last look? Cheap: asked several times a
        second.
        """
        before, self._seen = self._seen, self._stamp()
        return self._seen == before and self._seen != self._read

    def read(self) -> bytes:
        """What stands in it. Raises ValueError with a reason for people; it may be read again when it has changed."""
        self._read = self._seen = self._stamp()
        try:
            with self.path.open("rb") as file:
                data = file.read(self._most + 1)
        except OSError as error:
            raise ValueError(f"cannot read {self.path}: {error.strerror}") from None
        if len(data) > self._most:
            raise ValueError(f"{self.path} has more than {self._most} bytes")
        return data

    def _stamp(self) -> Stamp:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
