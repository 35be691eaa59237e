"""No descriptor left: whoever is served goes on being served, nothing spins, nothing fills the log, and it recovers.

The relay runs with a low limit in a process of its own. What that costs is counted in clock ticks of its CPU and in
lines of its log.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import get
from tests.e2e.support import Daemon
from tests.e2e.test_crowds import ask, few_files

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

#: Three POSTs that nobody answers take 3 s. A port that spins costs 3 s of the CPU meanwhile.
WAITS = 3
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_ticks(relay: Daemon) -> int:
    """What the process has used of the CPU so far."""
    fields = Path(f"/proc/{relay.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def crowd(stack: ExitStack, port: int, size: int) -> None:
    """So many connections that say nothing; those that are not accepted wait."""
    for _ in range(size):
        line = stack.enter_context(socket.socket())
        line.setblocking(False)
        line.connect_ex(("127.0.0.1", port))


def test_at_the_mark_newcomers_wait_and_everybody_else_is_served(tmp_path: Path) -> None:
    patient = {"RELAY_LIMITS_HEAD_SECONDS": "100"}  # the crowd would be gone after 10 s by itself
    with ExitStack() as stack:
        relay = stack.enter_context(Daemon(tmp_path, command=few_files(120), environment=patient))
        agent = stack.enter_context(Agent(relay.port, "here", acknowledge))
        stack.enter_context(Agent(relay.port, "silent"))
        publisher = stack.enter_context(closing(HTTPConnection("127.0.0.1", relay.port, timeout=60)))
        publisher.connect()
        with ExitStack() as outside:
            crowd(outside, relay.port, 300)
            relay.output.wait_for("newcomers must wait", 20)
            lines, ticks = len(relay.output.lines), cpu_ticks(relay)
            for _ in range(WAITS):
                assert ask(publisher, "silent", wait=1) == "queued"
                assert ask(publisher, "here") == "delivered"
            assert relay.descriptors() < 120
            assert cpu_ticks(relay) - ticks < TICKS
            assert len(relay.output.lines) - lines < 20
        assert len(agent.messages) == WAITS
        assert get(relay.port, "/readyz").status == 200
        assert not relay.output.search("EMFILE")
        assert not relay.complaints(), relay.output.text()


#: A relay whose descriptors are all taken at SIGUSR1, Twisted's reserve among them, and given back at SIGUSR2.
THIEF = """
import os, signal, sys
from twisted.internet import tcp
from twisted.scripts.twistd import run
taken = []
def steal(*_):
    tcp._reservedFD._fileDescriptor.close()
    tcp._reservedFD._fileDescriptor = None
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        os.write(1, b"all are taken\\n")
def give_back(*_):
    while taken:
        os.close(taken.pop())
    os.write(1, b"all are given back\\n")
signal.signal(signal.SIGUSR1, steal)
signal.signal(signal.SIGUSR2, give_back)
run()
"""


def test_when_every_descriptor_was_stolen_nothing_spins_and_it_recovers(tmp_path: Path) -> None:
    plain = few_files(120)
    command = [*plain[:4], sys.executable, "-c", THIEF, *plain[5:]]
    with ExitStack() as stack:
        relay = stack.enter_context(Daemon(tmp_path, command=command))
        agent = stack.enter_context(Agent(relay.port, "here", acknowledge))
        stack.enter_context(Agent(relay.port, "silent"))
        publisher = stack.enter_context(closing(HTTPConnection("127.0.0.1", relay.port, timeout=60)))
        assert ask(publisher, "here") == "delivered"
        relay.signal(signal.SIGUSR1)
        relay.output.wait_for("all are taken", 20)
        lines, ticks = len(relay.output.lines), cpu_ticks(relay)
        crowd(stack, relay.port, 5)
        for _ in range(WAITS):
            assert ask(publisher, "silent", wait=1) == "queued"
            assert ask(publisher, "here") == "delivered"
        assert cpu_ticks(relay) - ticks < TICKS
        assert len(relay.output.lines) - lines < 50
        relay.signal(signal.SIGUSR2)
        relay.output.wait_for("all are given back", 20)
        assert get(relay.port, "/readyz").status == 200
        assert len(agent.messages) == WAITS + 1
        assert not relay.complaints(), relay.output.text()
