"""The stage of the client's tests: an agent, a relay and the time between them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.web.server import Site

from tests.client.support import Stage
from tests.client.test_publisher import Doorway
from tests.client.theatre import Theatre, Wire


@pytest.fixture
def make_stage() -> Iterator[Callable[..., Stage]]:
    """Set stages: ``make_stage(settings, …)``. All agents end afterwards, and leave nothing behind."""
    stages: list[Stage] = []

    def make(*args: Any, **fields: Any) -> Stage:
        stages.append(Stage(*args, **fields))
        return stages[-1]

    yield make
    for stage in stages:
        stage.finish()


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    """An agent that was started, with a handler that is content at once."""
    return make_stage().start()


@pytest.fixture(autouse=True)
def same_signals() -> Iterator[None]:
    """A command that ends gives the signals back to their defaults: the tests want theirs."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RELAY_URL", "RELAY_TOKEN", "RELAY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def door() -> Doorway:
    return Doorway()


@pytest.fixture
def theatre(door: Doorway) -> Theatre:
    return Theatre(Site(door))


@pytest.fixture
def wire() -> Wire:
    return Wire()
