"""A whole relay on this store, met as a stranger meets it, while both of them are killed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import get, post
from tests.e2e.support import ROOT, Daemon
from tests.servers.postgres import PASSWORD, PostgresServer

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

FOLDER = Path(__file__).parent.parent


@pytest.fixture
def relay(postgres: PostgresServer, schema: str, tmp_path: Path) -> Iterator[Daemon]:
    """A relay that finds the plugin as it lies here, and its password in a file."""
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    environment = {
        "PYTHONPATH": f"{ROOT}:{FOLDER}",
        "RELAY_EXTENSIONS_POSTGRES_SCHEMA": schema,
        "RELAY_EXTENSIONS_POSTGRES_PASSWORD_FILE": str(password),
    }
    store = f"postgresql://relay@/postgres?host={postgres.folder}"
    relay = Daemon(tmp_path, store=store, environment=environment)
    try:
        yield relay.start()
    finally:
        relay.stop()
    assert not relay.complaints()
    for password in (PASSWORD, quote(PASSWORD, safe="")):
        assert password not in relay.past


@pytest.mark.parametrize("place", ["//relay:{}@/postgres?", "//relay@/postgres?password={}&"])
def test_a_password_in_the_url_is_not_in_the_log(relay: Daemon, postgres: PostgresServer, place: str) -> None:
    relay.terminate()
    del relay.environment["RELAY_EXTENSIONS_POSTGRES_PASSWORD_FILE"]
    relay.store = f"postgresql:{place.format(quote(PASSWORD, safe=''))}host={postgres.folder}"
    relay.start()
    assert relay.output.search(r"store postgresql://\S+\*\*\*")


def test_a_wrong_password_ends_the_start_in_one_line(relay: Daemon, postgres: PostgresServer) -> None:
    relay.terminate()
    del relay.environment["RELAY_EXTENSIONS_POSTGRES_PASSWORD_FILE"]
    relay.store = f"postgresql://relay:wr0ng@/postgres?host={postgres.folder}"
    relay.foreseen = re.compile("cannot start")
    output = relay.launch()
    assert relay.wait() not in (0, -9)
    assert output.search("password authentication failed")
    assert "wr0ng" not in output.text() and "Traceback" not in output.text()


def test_what_was_promised_outlives_the_relay_and_the_server(relay: Daemon, postgres: PostgresServer) -> None:
    kept = [post(relay.port, "desk", str(number)).json["id"] for number in range(20)]
    relay.kill()
    postgres.kill()
    postgres.start()
    relay.start()
    with Agent(relay.port, "desk", acknowledge) as desk:
        assert [message["id"] for message in desk.take(20)] == kept
        assert post(relay.port, "desk", '"again"', wait=10).outcome == "delivered"


def test_a_relay_outlives_its_server(relay: Daemon, postgres: PostgresServer) -> None:
    kept = post(relay.port, "desk", "1").json["id"]
    with Agent(relay.port, "witness", acknowledge):
        postgres.kill()
        assert post(relay.port, "desk", "2").problem == "store-unavailable"
        assert get(relay.port, "/readyz").status == 503
        assert post(relay.port, "witness", '"direct"', wait=10).outcome == "delivered"
        postgres.start()
        relay.output.wait_for("the store is available again", 30)
        assert post(relay.port, "desk", "3").outcome == "queued: away"
        assert get(relay.port, f"/v1/messages/{kept}").json["status"] == "queued"
