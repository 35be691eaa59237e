"""Every store there is, for the tests that hold for all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from relay.store.memory import MemoryStore
from tests.contract.support import AnyStore, Make
from tests.store.support import Wall, sqlite_store

KEY_COUNT = 5
CALLBACK_COUNT = 5
BOUNDS: dict[str, Any] = {"key_count": KEY_COUNT, "callback_count": CALLBACK_COUNT}


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path, wall: Wall, clock: Clock) -> Make:
    """Makes a store over the same contents each time, as a restart does."""
    if request.param == "memory":
        twin = MemoryStore(wall=wall, **BOUNDS)
        return lambda: twin
    return lambda: sqlite_store(tmp_path / "relay.db", wall=wall, clock=clock, **BOUNDS)


@pytest_twisted.async_yield_fixture
async def store(make: Make) -> AsyncIterator[AnyStore]:
    """A store that is open."""
    made = make()
    await made.open()
    yield made
    await made.close()
