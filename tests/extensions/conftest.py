"""The doors' fixtures serve here too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.edge.support import House


@pytest.fixture
def house() -> Iterator[House]:
    """The doors on a floor in the small; it may leave nothing behind."""
    house = House()
    yield house
    house.close()
