"""Is there room on the disk for new messages? And the room that is kept for the end of old ones."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from relay.store.faults import StoreFull

LOOK_SECONDS: Final = 1.0
OPENING_BYTES: Final = 1024 * 1024  #: the log and its index take some before anything is written


class Reserve:
    """A file that takes up room until the disk is full. Freed, it leaves room to record that messages have ended."""

    def __init__(self, path: str, size: int) -> None:
        self._path = path
        self._size = size

    def make(self) -> bool:
        """See to it that the room is taken. False where the disk has not that much."""
        if not self._size or self._stands():
            return True
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size)
            finally:
                os.close(descriptor)
        except OSError:
            self.free()  # a part of it would only be in the way
            return False
        return True

    def _stands(self) -> bool:
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        return found.st_size >= self._size and found.st_blocks * 512 >= self._size

    def free(self) -> None:
        """Give the room away."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)


class Room:
    """Says whether new messages are taken: only while the reserve stands and enough is free beside it.

    ``free_bytes`` asks the disk, at most once a second of ``seconds`` (monotonic time). Used by one thread.
    """

    log = Logger()

    def __init__(
        self, reserve: Reserve, *, min_free: int, free_bytes: Callable[[], int], seconds: Callable[[], float]
    ) -> None:
        self._reserve = reserve
        self._min_free = min_free
        self._free_bytes = free_bytes
        self._seconds = seconds
        self._looked_at: float | None = None
        self._refusal: StoreFull | None = None

    def refusal(self) -> StoreFull | None:
        """Why no new message is taken now, or None."""
        now = self._seconds()
        if self._looked_at is None or now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._set(self._look())
        return self._refusal

    def clear(self) -> None:
        """Give the reserve away if there is too little room to open a database: it must be read to be drained."""
        if self._free_bytes() < OPENING_BYTES:
            self._reserve.free()

    def ran_out(self) -> None:
        """The disk is full: give the reserve away, and take no new message before the next look."""
        self._reserve.free()
        self._looked_at = self._seconds()
        self._set(StoreFull("the disk is full: no new message is taken until there is room again"))

    def _look(self) -> StoreFull | None:
        if not self._reserve.make():
            return StoreFull("the disk is full: there is no room for the reserve file")
        free = self._free_bytes()
        if free < self._min_free:
            return StoreFull(f"only {free} bytes are free on the disk; new messages are taken from {self._min_free} on")
        return None

    def _set(self, refusal: StoreFull | None) -> None:
        if (refusal is None) != (self._refusal is None):
            self.log.warn("{news}", news="new messages are taken again" if refusal is None else str(refusal))
        self._refusal = refusal
