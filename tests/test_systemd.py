"""What the service manager hears, over a datagram socket as it has one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from twisted.logger import capturedLogs

from relay.edge.systemd import notify
from relay.tap import is_watched


def manager(address: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(address)
    listening.settimeout(5)
    return listening


def test_each_word_is_one_datagram(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with manager(path) as listening:
        notify(path, "READY=1", "STATUS=listening")
        notify(path, "STOPPING=1")
        assert listening.recv(1000) == b"READY=1\nSTATUS=listening"
        assert listening.recv(1000) == b"STOPPING=1"


def test_an_at_sign_means_an_abstract_socket(tmp_path: Path) -> None:
    with manager(f"\0{tmp_path}") as listening:
        notify(f"@{tmp_path}", "READY=1")
        assert listening.recv(1000) == b"READY=1"


@pytest.mark.parametrize("address", [None, ""])
def test_without_a_manager_nothing_is_said(address: str | None) -> None:
    with capturedLogs() as logged:
        notify(address, "READY=1")
    assert not logged


def test_a_manager_that_is_gone_is_logged_and_nothing_fails(tmp_path: Path) -> None:
    with capturedLogs() as logged:
        notify(str(tmp_path / "gone"), "READY=1")
    assert [event["lines"] for event in logged] == [("READY=1",)]


@pytest.mark.parametrize(
    ("environ", "watched"),
    [
        ({}, False),
        ({"WATCHDOG_USEC": "30000000"}, True),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, False),
    ],
)
def test_a_watchdog_is_fed_only_if_it_is_ours(environ: dict[str, str], watched: bool) -> None:
    assert is_watched(environ) is watched
