"""More connections than there are descriptors: newcomers wait, nobody else notices."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from contextlib import ExitStack, closing

import pytest

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import get, post
from tests.e2e.support import Daemon, python_script

pytestmark = pytest.mark.e2e
Join = Callable[..., Agent]
Starter = Callable[..., Daemon]


def few_files(limit: int) -> list[str]:
    """The command line of a relay that may have so many files and sockets open, and may not raise that."""
    listen = ["--listen", "tcp:0:interface=127.0.0.1", "--store", "sqlite:relay.db"]
    twistd = [python_script("twistd"), "-n", "--pidfile=", "relay", *listen]
    return ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *twistd]


def test_who_is_served_goes_on_being_served_when_there_are_no_descriptors_left(start: Starter, join: Join) -> None:
    relay = start(command=few_files(150))
    agent = join(relay, "early", acknowledge)
    publisher = http.client.HTTPConnection("127.0.0.1", relay.port, timeout=60)
    publisher.connect()  # and asks for nothing yet: the first request of all comes when no file can be opened any more
    with closing(publisher), ExitStack() as crowd:
        for _ in range(300):
            line = crowd.enter_context(socket.socket())
            line.setblocking(False)
            line.connect_ex(("127.0.0.1", relay.port))
        relay.output.wait_for("newcomers must wait", 20)
        for _ in range(50):
            assert ask(publisher, "early") == "delivered"
            assert ask(publisher, "absent") == "queued"
        assert len(agent.messages) == 50
        assert len(relay.output.lines) < 300
        assert not relay.output.search("EMFILE")
    assert get(relay.port, "/healthz").status == 200
    assert post(relay.port, "later", "1").outcome == "queued: away"


def ask(publisher: http.client.HTTPConnection, agent: str, wait: int = 10) -> str:
    """What became of a message that was posted over a connection which is there already."""
    headers = {"Content-Type": "application/json", "Prefer": f"wait={wait}"}
    publisher.request("POST", f"/v1/agents/{agent}/messages", b"1", headers)
    return str(json.load(publisher.getresponse())["status"])
