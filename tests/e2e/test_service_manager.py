"""Started as systemd starts it: the port inherited as descriptor 3, and a socket to say how it is."""

from __future__ import annotations

import configparser
import shlex
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.door import get
from tests.e2e.support import ROOT, Daemon, python_script

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
