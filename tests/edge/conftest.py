from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.edge.support import House
from tests.edge.whole import Relay


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


@pytest.fixture
def make(build: Callable[..., House]) -> Iterator[Callable[..., Relay]]:
    """Make a house with the real floor in it, under these limits."""
    relays: list[Relay] = []

    def made(**limits: Any) -> Relay:
        house = build()
        relays.append(Relay(house, **limits))
        house.floor = relays[-1].hub  # type: ignore[assignment]  # the real one
        house.limits = relays[-1].limits
        house.__post_init__()
        return relays[-1]

    yield made
    for relay in relays:
        for client in relay.house.clients:
            client.socket.hang_up()
        relay.close()
        relay.settle()


@pytest.fixture
def relay(make: Callable[..., Relay]) -> Relay:
    return make()
