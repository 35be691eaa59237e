"""The stage of the client's tests: an agent, a relay and the time between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.client.support import Stage


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
