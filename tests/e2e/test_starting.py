"""Starting: both ways of it, and clear refusals of what cannot be (a line on the screen and an exit code)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import get, post
from tests.e2e.support import ROOT, Daemon, python_script

pytestmark = pytest.mark.e2e
Join = Callable[..., Agent]
Starter = Callable[..., Daemon]


def round_trip(relay: Daemon, join: Join) -> None:
    """The whole story in four lines."""
    assert post(relay.port, "desk", '"first"').outcome == "queued: away"
    agent = join(relay, "desk", acknowledge)
    assert agent.next()["payload"] == "first"
    assert post(relay.port, "desk", '"second"', wait=10).outcome == "delivered"


def test_the_plugin_starts_a_relay(start: Starter, join: Join, tmp_path: Path) -> None:
    relay = start()
    round_trip(relay, join)
    assert (tmp_path / "relay.db").exists()
    assert relay.terminate() == 0


def test_the_tac_file_starts_the_same_relay(start: Starter, join: Join, tmp_path: Path) -> None:
    environment = {"RELAY_LISTEN": "tcp:0:interface=127.0.0.1", "RELAY_STORE": "sqlite:other.db"}
    command = [python_script("twistd"), "-n", "--pidfile=", "-y", str(ROOT / "relay.tac")]
    relay = start(environment=environment, command=command)
    round_trip(relay, join)
    assert (tmp_path / "other.db").exists()
    assert relay.terminate() == 0


def test_it_is_ready_as_soon_as_it_listens(relay: Daemon) -> None:
    assert get(relay.port, "/healthz").status == 200
    ready = get(relay.port, "/readyz")
    assert (ready.status, ready.json["durable"]) == (200, True)


def refused(relay: Daemon) -> str:
    """Start a relay that must not start: what it says, in which there is no trace of a stack."""
    try:
        output = relay.launch()
        assert relay.wait() != 0
        assert "Traceback" not in output.text(), output.text()
        assert "listening on" not in output.text()
        return output.text()
    finally:
        relay.stop()


def test_a_second_relay_on_the_port_says_so_and_ends(relay: Daemon, tmp_path: Path) -> None:
    second = Daemon(tmp_path, port=relay.port, store="sqlite:second.db")
    assert str(relay.port) in refused(second)
    assert get(relay.port, "/readyz").status == 200


def test_a_second_relay_is_kept_off_the_file(relay: Daemon, tmp_path: Path, join: Join) -> None:
    second = Daemon(tmp_path)
    assert "relay.db" in refused(second)
    round_trip(relay, join)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    damaged = tmp_path / "relay.db"
    damaged.write_bytes(b"these are my memoirs\n" * 1000)
    assert "relay.db" in refused(Daemon(tmp_path))
    assert damaged.read_bytes() == b"these are my memoirs\n" * 1000


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "missing" in refused(Daemon(tmp_path, store="sqlite:missing/relay.db"))


def test_an_unknown_key_in_the_environment_is_named(tmp_path: Path) -> None:
    assert "RELAY_HARTBEAT" in refused(Daemon(tmp_path, environment={"RELAY_HARTBEAT": "3"}))


def test_a_bad_value_is_named_with_its_key(tmp_path: Path) -> None:
    told = refused(Daemon(tmp_path, environment={"RELAY_LIMITS_BODY_GRACE": "soon"}))
    assert "body_grace" in told.lower()
    assert "soon" in told


def test_without_authentication_the_world_is_not_listened_to(tmp_path: Path) -> None:
    open_to_all = Daemon(tmp_path)
    open_to_all.command = [*open_to_all.command_line(), "--listen", "tcp:0:interface=0.0.0.0"]
    assert "--insecure-open" in refused(open_to_all)
