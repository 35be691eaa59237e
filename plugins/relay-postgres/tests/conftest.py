"""The contract of the stores, over this one: the relay's own tests with another ``make``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from twisted.internet.task import Clock

from relay_postgres.store import PostgresStore
from tests.contract.conftest import BOUNDS, bounded, clock, store, wall  # noqa: F401 - what the contract is told with
from tests.contract.support import Make
from tests.servers.postgres import PostgresServer
from tests.store.support import Wall

schemas = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for all tests, each of which has a schema of its own."""
    server = PostgresServer()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture
def schema() -> str:
    """The name of a schema that nobody has used."""
    return f"relay_{next(schemas)}"


def postgres_store(postgres: PostgresServer, schema: str, **options: Any) -> PostgresStore:
    """A store on real threads and a real server, with a clock that stands still."""
    from twisted.internet import reactor

    threads: Any = reactor  # its type names no interface
    server_options = {name: options.pop(name) for name in ("answer_seconds", "connect_seconds") if name in options}
    defaults: dict[str, Any] = {"wall": Wall(), "clock": Clock()}
    return PostgresStore(postgres.server(schema, **server_options), reactor=threads, **(defaults | options))


@pytest.fixture
def make(postgres: PostgresServer, schema: str, wall: Wall, clock: Clock) -> Make:  # noqa: F811 - fixtures by name
    """Makes a store over the same contents each time, as a restart does."""

    def made(**numbers: int) -> Any:
        return postgres_store(postgres, schema, wall=wall, clock=clock, bounds=replace(BOUNDS, **numbers))

    return made
