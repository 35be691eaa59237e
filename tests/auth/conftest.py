from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.auth.support import Guarded


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Callable[..., Guarded]]:
    """Make a relay that asks for tokens; it must be quiet in the end."""
    made: list[Guarded] = []

    def make(**settings: Any) -> Guarded:
        made.append(Guarded(tmp_path / f"auth{len(made)}.toml", **settings))
        return made[-1]

    yield make
    for house in made:
        house.close()


@pytest.fixture
def house(guard: Callable[..., Guarded]) -> Guarded:
    return guard()
