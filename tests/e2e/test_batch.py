"""The batch door from outside (protocol 1.2): many lines, many agents, and publishers who do not behave."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import Answer, get, request, rest_of, settle
from tests.e2e.support import Daemon, clean_environment

pytestmark = pytest.mark.e2e

LINES = int(os.environ.get("RELAY_BATCH_LINES", "20000"))
AGENTS = 1000
PIECE = 10_000  #: a request of so many lines never waits until its results are read
#: Bytes that the relay may grow by at its peak, all that is mapped counted. Seen with a million lines: 17 MiB, half of
#: that the ends that are remembered of 100,000 messages that were never durable.
GROWTH = 48 * 1024 * 1024
NDJSON = {"Content-Type": "application/x-ndjson"}

Join = Callable[..., Agent]
Starter = Callable[..., Daemon]


def lines(agents: list[str], count: int, **fields: Any) -> bytes:
    """So many lines for these agents in turn."""
    each = ({"agent": agents[at % len(agents)], "payload": at, "wait": 2, **fields} for at in range(count))
    return b"".join(json.dumps(line).encode() + b"\n" for line in each)


def results(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.body
    return [json.loads(line) for line in answer.body.splitlines()]


def batch(relay: Daemon, body: bytes) -> list[dict[str, Any]]:
    return results(request(relay.port, "POST", "/v1/messages", body, NDJSON))


def waiting(relay: Daemon, agent: str) -> list[dict[str, Any]]:
    settle(relay.port)
    found = get(relay.port, f"/v1/agents/{agent}/messages").json["items"]
    assert isinstance(found, list)
    return found


def test_every_line_has_its_result_and_memory_stays_bounded(
    relay: Daemon, join: Join, record_property: Callable[[str, object], None]
) -> None:
    here = [f"here-{number}" for number in range(AGENTS // 2)]
    away = [f"away-{number}" for number in range(AGENTS // 2)]
    for name in here:
        join(relay, name, acknowledge)
    targets = [name for pair in zip(away, here, strict=True) for name in pair]
    batch(relay, lines(targets, AGENTS))
    relay.forget_peak()
    before, counted = relay.peak(), Counter[str]()
    for start in range(0, LINES, PIECE):
        count = min(PIECE, LINES - start)
        found = batch(relay, lines(targets, count))
        assert {each["line"] for each in found} == set(range(1, count + 1))
        counted.update(each.get("status", "problem") for each in found)
    assert counted["queued"] >= LINES // 2
    assert counted["queued"] + counted["delivered"] == LINES
    assert counted["delivered"] > 0
    grown = relay.peak() - before
    record_property("bytes that the relay grew by", grown)
    assert grown < GROWTH, f"it grew by {grown / 2**20:.0f} MiB"


def test_an_agent_that_never_acknowledges_does_not_hold_up_the_others(start: Starter, join: Join) -> None:
    # Whoever waited for the mute one would wait an hour: 1,000 undecided lines, and nothing more is read.
    relay = start(environment={"RELAY_LIMITS_WAIT_MAX": "3600"})
    join(relay, "mute")
    join(relay, "lively", acknowledge)
    found = batch(relay, lines(["mute", "lively"], 4000, wait=3600))
    told = Counter((each["agent"], each["status"]) for each in found)
    assert told == {("lively", "delivered"): 2000, ("mute", "queued"): 2000}


def test_results_that_are_not_read_until_all_is_written_are_all_there(shared: Daemon) -> None:
    body = lines([f"unread-{number}" for number in range(100)], PIECE)
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=60)
    connection.request("POST", "/v1/messages", body, NDJSON)
    response = connection.getresponse()
    assert len(response.read().splitlines()) == PIECE
    connection.close()


def test_of_a_batch_that_is_cut_off_the_whole_lines_count(shared: Daemon) -> None:
    head = b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
    body = lines(["cut"], 3)
    with socket.create_connection(("127.0.0.1", shared.port), 30) as line:
        line.sendall(head + b"Content-Length: 9999\r\n\r\n" + body[:-1])
        line.shutdown(socket.SHUT_WR)
        rest_of(line)
    assert len(waiting(shared, "cut")) == 2


@pytest.fixture
def typed(shared: Daemon, tmp_path: Path) -> Iterator[Callable[[bytes], subprocess.CompletedProcess[str]]]:
    """``relay send --batch`` of a file with these lines."""

    def send(body: bytes) -> subprocess.CompletedProcess[str]:
        (tmp_path / "orders").write_bytes(body)
        line = [sys.executable, "-m", "relay.client", "send", "--batch", str(tmp_path / "orders")]
        environment = clean_environment({"RELAY_URL": shared.url})
        return subprocess.run(line, env=environment, capture_output=True, encoding="utf-8", timeout=60)

    yield send


def test_a_file_that_is_sent_twice_is_delivered_once(
    shared: Daemon, typed: Callable[[bytes], subprocess.CompletedProcess[str]]
) -> None:
    for _ in range(2):
        sent = typed(lines(["twice"], 20))
        assert (sent.returncode, sent.stdout) == (3, "20 lines: 20 queued\n"), sent.stderr
    assert len(waiting(shared, "twice")) == 20
