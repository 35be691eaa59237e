"""Bringing a database up to date: ordered scripts, and a copy of the file before the first of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import resources
from typing import Final

import apsw
from twisted.logger import Logger

from relay.core.ports import StoreRefused
from relay.store.faults import is_full
from relay.store.opening import APPLICATION_ID, sync_directory

MARGIN_BYTES: Final = 1024 * 1024  #: beside the copy

log = Logger()


def migrate(connection: apsw.Connection, path: str, free_bytes: Callable[[], int]) -> None:
    """Run the scripts that this database has not seen, in one transaction. What held anything is copied before.

    ``free_bytes`` tells how much is free on its disk. Raises StoreRefused or apsw.Error, and then nothing has changed.
    """
    known = scripts()
    version = version_of(connection, path)
    if version > len(known):
        raise StoreRefused(
            f"{path} has version {version}, made by a newer relay: this one knows versions up to {len(known)}"
        )
    if version == len(known):
        return
    if version:
        copy = f"{path}.v{version}-backup"
        back_up(connection, path, copy, free_bytes())
        log.info("{path} is brought from version {old} to {new}", path=path, old=version, new=len(known))
    with connection:
        for script in known[version:]:
            connection.execute(script).fetchall()
        connection.execute("UPDATE store SET version = ?", (len(known),))
    if version:
        log.info(
            "{path} has version {new}; as it was before it is kept in {copy}", path=path, new=len(known), copy=copy
        )


def back_up(connection: apsw.Connection, path: str, copy: str, free: int) -> None:
    """Copy the database into the file ``copy``, for its owner alone, so that a power cut leaves all of it or none."""
    pages: int = connection.pragma("page_count") - connection.pragma("freelist_count")
    size: int = pages * connection.pragma("page_size")
    # As much again for the log: the scripts may write every page of an index.
    needed = 2 * size + MARGIN_BYTES
    if free < needed:
        raise StoreRefused(
            f"{path} is of an older version and is copied to {copy} before it is changed:"
            f" that needs {needed} bytes on the disk, and {free} are free"
        )
    part = f"{copy}.part"
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
    try:
        connection.execute("VACUUM INTO ?", (part,))
        descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(part, copy)
        sync_directory(copy)
    except BaseException as error:
        if os.path.exists(part):
            os.unlink(part)
        if isinstance(error, apsw.Error) and is_full(error):
            raise StoreRefused(f"{path} is to be copied to {copy} before it is changed: the disk is full") from error
        raise


def version_of(connection: apsw.Connection, path: str) -> int:
    """The number of the last script that was run on this database; 0 for an empty one."""
    if connection.pragma("application_id") != APPLICATION_ID:
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
