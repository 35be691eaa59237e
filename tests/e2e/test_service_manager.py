"""Started as systemd starts it: the port inherited as descriptor 3, and a socket to say how it is."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relay.config import ConfigError, load
from tests.e2e.door import get
from tests.e2e.support import ROOT, Daemon, python_script
from tests.support_system import needs

pytestmark = pytest.mark.e2e


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Who is told READY and STOPPING."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        yield listening


#: What systemd does between its fork and its exec: the socket becomes descriptor 3, and the environment says for whom.
ACTIVATE = """
import os, socket, sys
listening = socket.create_server((sys.argv[1], 0), backlog=4096)
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="relay")
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def inherit(tmp_path: Path) -> Iterator[Callable[[str], Daemon]]:
    """A relay whose listening socket comes from a socket unit named "relay"."""
    daemons: list[Daemon] = []

    def make(interface: str) -> Daemon:
        twistd = [python_script("twistd"), "-n", "--pidfile=", "relay", "--listen", "systemd:domain=INET:name=relay"]
        command = [sys.executable, "-c", ACTIVATE, interface, *twistd]
        daemons.append(Daemon(tmp_path, environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}, command=command))
        return daemons[-1]

    yield make
    for daemon in daemons:
        daemon.stop()


def test_a_relay_listens_on_the_socket_that_it_inherits_and_says_when(
    manager: socket.socket, inherit: Callable[[str], Daemon]
) -> None:
    relay = inherit("127.0.0.1").start()
    assert manager.recv(1000) == b"READY=1"
    assert get(relay.port, "/readyz").status == 200
    assert relay.terminate() == 0
    assert manager.recv(1000) == b"STOPPING=1"


def test_a_watchdog_hears_from_the_relay_while_its_one_loop_turns(
    manager: socket.socket, tmp_path: Path, inherit: Callable[[str], Daemon]
) -> None:
    relay = inherit("127.0.0.1")
    relay.environment["WATCHDOG_USEC"] = "3000000"
    relay.start()
    assert [manager.recv(1000) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]


def test_an_inherited_socket_that_others_can_reach_is_refused(
    manager: socket.socket, inherit: Callable[[str], Daemon]
) -> None:
    relay = inherit("0.0.0.0")
    output = relay.launch()
    assert relay.wait() == 1
    assert "--insecure-open" in output.text()
    assert "Traceback" not in output.text()


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read(ROOT / "deploy" / name)
    return parser


def test_the_units_start_what_there_is() -> None:
    service, port = unit("relay.service"), unit("relay.socket")
    assert shlex.split(service["Service"]["ExecStart"])[1:] == [
        *("--nodaemon", "--pidfile=", "relay"),
        *("--config", "/etc/relay/relay.toml"),
    ]
    assert service["Service"]["Type"] == "notify"
    assert (port["Socket"]["FileDescriptorName"], port["Socket"]["Backlog"]) == ("relay", "4096")


def test_the_unit_leaves_little_to_whoever_takes_the_relay_over() -> None:
    needs("systemd-analyze")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(ROOT / "deploy" / "relay.service")]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    exposure = re.search(r"Overall exposure level for relay.service: ([0-9.]+)", told)
    assert exposure is not None, told
    assert float(exposure[1]) <= 1.2, told


def instructions() -> list[tuple[str, str]]:
    """The steps of the container file, those that go on over several lines joined."""
    lines = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    steps = [line.split(None, 1) for line in lines if line and not line.startswith("#")]
    return [(word, rest) for word, rest in steps]


def last(word: str) -> str:
    return [rest for found, rest in instructions() if found == word][-1]


def test_the_container_runs_as_nobody_in_particular_and_takes_what_there_is() -> None:
    known = {
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "ENV",
        "USER",
        "VOLUME",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
    }
    assert {word for word, _ in instructions()} <= known
    user, group = last("USER").split(":")
    assert int(user) > 0
    assert int(group) > 0
    sources = [rest.split()[:-1] for word, rest in instructions() if word == "COPY" and not rest.startswith("--from")]
    assert not [name for names in sources for name in names if not (ROOT / name).exists()]


def test_the_containers_settings_are_settings() -> None:
    pairs = [pair.split("=", 1) for word, rest in instructions() if word == "ENV" for pair in shlex.split(rest)]
    settings = {name: value for name, value in pairs if name.startswith("RELAY_")}
    assert settings["RELAY_STORE"] == "sqlite:/var/lib/relay/relay.db"
    with pytest.raises(ConfigError, match="--insecure-open"):  # it listens to others, and so needs to be told who may
        load(None, settings, {})
    load(None, settings, {"insecure_open": True})
    assert json.loads(last("ENTRYPOINT"))[1:] == ["--nodaemon", "--pidfile=", "relay"]
