"""Opening a database: is it ours, whole, and of a version that we know? Every refusal is one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import apsw

from relay.core.ports import StoreRefused

APPLICATION_ID: Final = 0x524C4159  #: "RLAY": written by the first script
#: A larger file is not looked through after an unclean stop: a million messages (320 MiB) would take 2.6 s of CPU.
CHECKED_BYTES: Final = 64 * 1024 * 1024

# Versions from 3.7.0 to 3.51.2 can lose commits when the log is begun anew while another connection checkpoints.
OLDEST_SQLITE: Final = (3, 51, 3)


@contextmanager
def refusing(path: str) -> Iterator[None]:
    """Turn what goes wrong into a StoreRefused that names the file and what is wrong."""
    try:
        yield
    except apsw.Error as error:
        raise StoreRefused(f"{path} {reason(error)}") from error
    except OSError as error:
        raise StoreRefused(f"{error.filename or path} cannot be used: {error.strerror or error}") from error


def reason(error: apsw.Error) -> str:
    """What is wrong with a file, in words."""
    match error:
        case apsw.NotADBError():
            return "is not a relay's database: name another file"
        case apsw.CorruptError():
            return f"is damaged ({error}): bring back a copy, or move it away to begin anew"
        case apsw.BusyError() | apsw.LockedError():
            return "is locked by another program"
        case apsw.ReadOnlyError() | apsw.CantOpenError() | apsw.PermissionsError():
            return f"cannot be opened for writing ({error})"
        case apsw.FullError():
            return "cannot be opened: the disk is full"
    return f"cannot be opened: {error}"


def check_library() -> None:
    """Refuse an SQLite that is known to lose commits."""
    version = apsw.sqlite_lib_version()
    if tuple(map(int, version.split("."))) < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise StoreRefused(f"SQLite {version} can lose commits: apsw with SQLite {needed} or later is needed")


def make_file(path: str) -> None:
    """Make an empty database file, for its owner alone, unless there is one.

    SQLite gives its other files the same mode. It never syncs the directory for this one: after a power cut the file,
    and all that was committed to it, might have no name.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    sync_directory(path)


def sync_directory(path: str) -> None:
    """Make the name of this file durable."""
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def connect(path: str, vfs: str | None, *, writing: bool, busy_seconds: float) -> apsw.Connection:
    """A connection to an existing database. None of them checkpoints by itself."""
    flags = apsw.SQLITE_OPEN_READWRITE if writing else apsw.SQLITE_OPEN_READONLY
    connection = apsw.Connection(path, flags=flags, vfs=vfs)
    connection.set_busy_timeout(int(busy_seconds * 1000))
    if writing:
        connection.pragma("synchronous", "FULL")
        connection.pragma("wal_autocheckpoint", 0)
        # Where a statement's rows may change what it reads they are laid aside: in memory, not in a file.
        connection.pragma("temp_store", "MEMORY")
    return connection


def prepare(connection: apsw.Connection, path: str, *, unclean: bool) -> None:
    """See that a database may be used, whatever its version. Raises StoreRefused or apsw.Error."""
    if connection.readonly("main"):
        raise StoreRefused(f"{path} cannot be opened for writing")
    check_owner(connection, path)
    if unclean and os.path.getsize(path) <= CHECKED_BYTES:
        found = connection.execute("PRAGMA quick_check(1)").get
        if found != "ok":
            words = " ".join(found.split())
            raise StoreRefused(f"{path} is damaged ({words}): bring back a copy, or move it away to begin anew")
    if connection.pragma("journal_mode", "WAL") != "wal":
        raise StoreRefused(f"{path} is on a file system that cannot share memory: SQLite's log needs that")


def check_owner(connection: apsw.Connection, path: str) -> None:
    """Refuse the database of another program. One that is empty is nobody's."""
    owner = connection.pragma("application_id")
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
    if owner != APPLICATION_ID and not (owner == 0 and empty):
        raise StoreRefused(f"{path} is the database of another program: name another file")
