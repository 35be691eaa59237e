"""Relays for the tests: one for a test alone, or one for a whole module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agents import Agent
from tests.e2e.door import Answer, post
from tests.e2e.support import Daemon
from tests.e2e.wire import Wire

Starter = Callable[..., Daemon]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Start relays of this test's own: ``start(*options, environment=…)``. All are ended afterwards."""
    daemons: list[Daemon] = []

    def make(*options: str, **settings: Any) -> Daemon:
        folder = settings.pop("folder", tmp_path)
        daemons.append(Daemon(folder, *options, **settings))
        return daemons[-1].start()

    yield make
    for daemon in daemons:
        daemon.stop()
    for daemon in daemons:
        assert not daemon.complaints(), daemon.past


@pytest.fixture
def relay(start: Starter) -> Daemon:
    """A relay of this test's own, as it comes."""
    return start()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One relay for all tests of a module: each uses agents of its own."""
    with Daemon(tmp_path_factory.mktemp("relay")) as daemon:
        yield daemon
        assert daemon.alive(), daemon.output.text()
    assert not daemon.complaints(), daemon.past


@pytest.fixture
def join() -> Iterator[Callable[..., Agent]]:
    """Register agents: ``join(relay, "desk-1", rule, **register)``. All leave afterwards."""
    with ExitStack() as stack:
        yield lambda relay, *args, **fields: stack.enter_context(Agent(relay.port, *args, **fields))


@pytest.fixture
def open_wire() -> Iterator[Callable[..., Wire]]:
    """Open bare WebSockets: ``open_wire(relay, **options)``. All are dropped afterwards."""
    with ExitStack() as stack:
        yield lambda relay, **options: stack.enter_context(Wire(relay.port, **options))


@pytest.fixture
def posting() -> Iterator[Callable[..., Future[Answer]]]:
    """POST in a thread: ``posting(relay, agent, payload, **options)`` gives a future of the answer."""
    with ThreadPoolExecutor(64) as pool:
        yield lambda relay, *args, **options: pool.submit(post, relay.port, *args, **options)
