"""A power cut, without a plug to pull.

``kill -9`` says nothing about fsync: what a process has written survives it in the page cache. So the store under test
runs over an SQLite VFS that passes everything on to the real one and keeps a journal of every write, truncation and
sync. From the journal a ``Disk`` makes what a disk may hold after a power cut at any moment: all that was synced, and
of the rest any part: whole writes, some 512-byte sectors of them, or nothing, for each file by itself. A deleted file
may be back, until its directory was synced.

The index of the log (``-shm``) is left out: it is memory, and rebuilt.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import apsw

SECTOR = 512
LOGS = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes were written to a file; with no bytes, the file was cut to ``offset``."""

    file: str
    offset: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Sync:
    """A file was synced: its writes that stand before index ``begun`` of the journal are on the disk."""

    file: str
    begun: int


@dataclass(frozen=True, slots=True)
class Delete:
    """A file was deleted."""

    file: str


@dataclass(frozen=True, slots=True)
class DirectorySync:
    """What was deleted before is gone for certain."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The test saw something at this moment."""

    what: object


Event = Write | Sync | Delete | DirectorySync | Mark


class RecordingVFS(apsw.VFS):
    """Passes everything on to the default VFS and writes it down in ``journal``."""

    def __init__(self, name: str) -> None:
        self.journal: list[Event] = []
        self.name = name
        self.base = ""
        super().__init__(name, self.base)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> RecordingFile:
        return RecordingFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self.journal.append(Delete(os.path.basename(filename)))
        if syncdir:
            self.journal.append(DirectorySync())

    def mark(self, what: object) -> None:
        """Write down that the test saw this now."""
        self.journal.append(Mark(what))


class RecordingFile(apsw.VFSFile):
    """One open file. Two connections write to the same name: the journal knows names only."""

    def __init__(self, vfs: RecordingVFS, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self.file = os.path.basename(path or "")
        self.journal = vfs.journal
        # SQLite syncs the directory with the first sync of a new log or rollback journal.
        self.unnamed = bool(flags[0] & apsw.SQLITE_OPEN_CREATE and flags[0] & LOGS)
        super().__init__(vfs.base, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self.journal.append(Write(self.file, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self.journal.append(Write(self.file, newsize, None))

    def xSync(self, flags: int) -> None:
        # What another thread writes meanwhile may or may not be caught by this sync: it is not counted.
        begun = len(self.journal)
        super().xSync(flags)
        self.journal.append(Sync(self.file, begun))
        if self.unnamed:
            self.unnamed = False
            self.journal.append(DirectorySync())


@dataclass
class Platter:
    """One file: what is on the disk for certain, and what was written since its last sync."""

    content: bytearray
    pending: list[tuple[int, Write]] = field(default_factory=list)  #: with their index in the journal

    def sync(self, begun: int) -> None:
        """What was written before that index is certain now."""
        certain = [write for index, write in self.pending if index < begun]
        del self.pending[: len(certain)]
        for write in certain:
            put(self.content, write)

    def image(self, chance: random.Random) -> bytes:
        """What it may hold if the power fails now."""
        content = bytearray(self.content)
        for piece in survivors([write for _, write in self.pending], chance):
            put(content, piece)
        return bytes(content)


class Disk:
    """The files of a run, moved on event by event."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.platters = {name: Platter(bytearray(content)) for name, content in files.items()}
        self.deleted: dict[str, Platter] = {}

    def feed(self, index: int, event: Event) -> None:
        """The next event of the journal."""
        match event:
            case Write():
                self.platters.setdefault(event.file, Platter(bytearray())).pending.append((index, event))
            case Sync():
                self.platters.setdefault(event.file, Platter(bytearray())).sync(event.begun)
            case Delete():
                self.deleted[event.file] = self.platters.pop(event.file, Platter(bytearray()))
            case DirectorySync():
                self.deleted.clear()

    def image(self, chance: random.Random) -> dict[str, bytes]:
        """What the disk may hold if the power fails now."""
        back = {name: platter for name, platter in self.deleted.items() if chance.random() < 0.5}
        return {name: platter.image(chance) for name, platter in (back | self.platters).items()}


def survivors(pending: list[Write], chance: random.Random) -> Iterator[Write]:
    """Which of these writes, or pieces of them, a disk may have made before the power failed."""
    manner = chance.choice(("none", "all", "first", "some", "sectors"))
    if manner == "none":
        return
    end = chance.randint(0, len(pending)) if manner == "first" else len(pending)
    odds = chance.random()
    for write in pending[:end]:
        if manner in ("all", "first"):
            yield write
        elif manner == "some" or write.data is None:
            if chance.random() < odds:
                yield write
        else:
            yield from (piece for piece in sectors(write) if chance.random() < odds)


def sectors(write: Write) -> Iterator[Write]:
    """The pieces of a write that fall into different sectors."""
    assert write.data is not None
    at, end = write.offset, write.offset + len(write.data)
    while at < end:
        edge = min(end, (at // SECTOR + 1) * SECTOR)
        yield Write(write.file, at, write.data[at - write.offset : edge - write.offset])
        at = edge


def put(content: bytearray, write: Write) -> None:
    """Make one write in a file's content. What lies between its end and the write is zeros, as the kernel has it."""
    if write.data is None:
        del content[write.offset :]
        content.extend(bytes(write.offset - len(content)))
        return
    content.extend(bytes(max(0, write.offset - len(content))))
    content[write.offset : write.offset + len(write.data)] = write.data


def lay_out(image: dict[str, bytes], folder: Path) -> None:
    """Write the files of an image into an empty folder, where nobody has them open."""
    for name, content in image.items():
        (folder / name).write_bytes(content)
