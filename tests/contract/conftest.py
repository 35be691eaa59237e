"""Every store that the relay has, for the tests that hold for all of them.

A store of another package is held to the same: its tests import those here, with a ``make`` of their own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from msgspec.structs import replace
from twisted.internet.task import Clock

from relay.store.memory import MemoryStore
from relay.store.retention import DEFAULTS
from tests.contract.support import AnyStore, Bounded, Make
from tests.store.support import Wall, sqlite_store

KEY_COUNT = 5
CALLBACK_COUNT = 5
BOUNDS = replace(DEFAULTS, keys=KEY_COUNT, callbacks=CALLBACK_COUNT)


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path, wall: Wall, clock: Clock) -> Make:
    """Makes a store over the same contents each time, as a restart does; one that keeps less holds its own."""
    if request.param == "memory":
        twin = MemoryStore(wall=wall, bounds=BOUNDS)
        return lambda **numbers: MemoryStore(wall=wall, bounds=replace(BOUNDS, **numbers)) if numbers else twin
    path = tmp_path / "relay.db"
    return lambda **numbers: sqlite_store(path, wall=wall, clock=clock, bounds=replace(BOUNDS, **numbers))


@pytest_twisted.async_yield_fixture
async def store(make: Make) -> AsyncIterator[AnyStore]:
    """A store that is open."""
    made = make()
    await made.open()
    yield made
    await made.close()


@pytest_twisted.async_yield_fixture
async def bounded(make: Make) -> AsyncIterator[Bounded]:
    """Opens a store that keeps less: ``await bounded(letter_count=3)``."""
    made: list[AnyStore] = []

    async def opened(**numbers: int) -> AnyStore:
        made.append(make(**numbers))
        await made[-1].open()
        return made[-1]

    yield opened
    for each in made:
        await each.close()
