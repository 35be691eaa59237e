from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.edge.support import House


@pytest.fixture
def build() -> Iterator[Callable[..., House]]:
    """Make a house with other settings; it must be empty and quiet in the end."""
    built: list[House] = []

    def make(**settings: object) -> House:
        built.append(House(**settings))  # type: ignore[arg-type]  # the settings of a House
        return built[-1]

    yield make
    for house in built:
        house.close()


@pytest.fixture
def house(build: Callable[..., House]) -> House:
    return build()
