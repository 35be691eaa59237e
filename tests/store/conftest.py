"""A SQLite store that is open, and what it stands on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from relay.store.sqlite import SqliteStore
from tests.store.disk import Disk
from tests.store.support import Wall, sqlite_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.release()


@pytest_twisted.async_yield_fixture
async def store(path: Path, clock: Clock, wall: Wall, disk: Disk) -> AsyncIterator[SqliteStore]:
    """A store that is open, on the disk of the test."""
    made = sqlite_store(path, clock=clock, wall=wall, vfs=disk.name, log_pages=50)
    await made.open()
    yield made
    disk.release()
    await made.close()
