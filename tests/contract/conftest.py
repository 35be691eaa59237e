"""Every store that the relay has, for the tests that hold for all of them.

A store of another package is held to the same: its tests import those here, with a ``make`` and a ``remembering`` of
their own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from relay.store import pruning, recall
from relay.store.memory import MemoryStore
from tests.contract.support import AnyStore, Bounds, Make
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


@pytest.fixture
def remembering() -> tuple[ModuleType, ...]:
    """The modules that hold how much is remembered."""
    return (pruning, recall)


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch, remembering: tuple[ModuleType, ...]) -> Bounds:
    """Lets every store remember less: ``bounds(LETTER_COUNT=3)``."""

    def bound(**numbers: int) -> None:
        for module in remembering:
            for name, number in numbers.items():
                name = f"{name}_IN_MEMORY" if hasattr(module, f"{name}_IN_MEMORY") else name
                monkeypatch.setattr(module, name, number)

    return bound
