"""Opening a database: is it ours, whole, and of a version that we know? Every refusal is one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Final

import apsw

from relay.core.ports import StoreRefused

APPLICATION_ID: Final = 0x524C4159  #: "RLAY": written by the first script
CHECKED_BYTES: Final = 256 * 1024 * 1024  #: a larger file is not looked through after an unclean stop

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
    return connection


def prepare(connection: apsw.Connection, path: str, *, unclean: bool) -> None:
    """Make a new database, or see that an old one may be used. Raises StoreRefused or apsw.Error."""
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
    migrate(connection, path)


def check_owner(connection: apsw.Connection, path: str) -> None:
    """Refuse the database of another program. One that is empty is nobody's."""
    owner = connection.pragma("application_id")
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
    if owner != APPLICATION_ID and not (owner == 0 and empty):
        raise StoreRefused(f"{path} is the database of another program: name another file")


def migrate(connection: apsw.Connection, path: str) -> None:
    """Run the scripts that this database has not seen, each in one transaction."""
    known = scripts()
    version = version_of(connection, path)
    if version > len(known):
        raise StoreRefused(
            f"{path} has version {version}, made by a newer relay: this one knows versions up to {len(known)}"
        )
    for number, script in enumerate(known[version:], start=version + 1):
        with connection:
            connection.execute(script).fetchall()
            connection.execute("UPDATE store SET version = ?", (number,))


def version_of(connection: apsw.Connection, path: str) -> int:
    """The number of the last script that was run on this database; 0 for an empty one."""
    if connection.pragma("application_id") == 0:
        return 0
    versions = connection.execute("SELECT version FROM store").fetchall()
    if len(versions) != 1 or not isinstance(versions[0][0], int) or versions[0][0] < 1:
        raise StoreRefused(f"{path} is damaged: it does not say of which version it is")
    return versions[0][0]


def scripts() -> list[str]:
    """The schema's scripts: 001.sql, 002.sql and so on, without a gap."""
    folder = resources.files("relay.store") / "schema"
    found = sorted((each for each in folder.iterdir() if each.name.endswith(".sql")), key=lambda each: each.name)
    return [each.read_text("utf-8") for each in found]
