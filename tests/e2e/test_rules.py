"""Rules that show only with other settings than the usual ones: limits, names, poisonous messages, spoiled rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import dial, get, post, settle, take_answer
from tests.e2e.support import Daemon
from tests.e2e.wire import Ended, Wire, text

pytestmark = pytest.mark.e2e
Join = Callable[..., Agent]
OpenWire = Callable[..., Wire]
Starter = Callable[..., Daemon]


def queued(relay: Daemon, agent: str) -> int:
    settle(relay.port)
    return int(get(relay.port, f"/v1/agents/{agent}").json["queued"])


def test_a_full_queue_refuses_what_is_new_and_keeps_the_rest(start: Starter, join: Join) -> None:
    relay = start(environment={"RELAY_LIMITS_QUEUE_COUNT": "3"})
    kept = [post(relay.port, "full", str(number)).json["id"] for number in range(3)]
    refused = post(relay.port, "full", "3")
    assert (refused.status, refused.problem) == (429, "queue-full")
    assert post(relay.port, "another", "0").outcome == "queued: away"
    agent = join(relay, "full", acknowledge)
    assert [message["id"] for message in agent.take(3)] == kept
    agent.nothing_more()
    assert queued(relay, "full") == 0
    assert post(relay.port, "full", "4", wait=10).outcome == "delivered"


def test_what_has_expired_is_not_sent_any_more(start: Starter, join: Join) -> None:
    relay = start(environment={"RELAY_LIMITS_TTL": "0.001"})
    assert post(relay.port, "late", '"too late"').outcome == "queued: away"
    agent = join(relay, "late", acknowledge)
    agent.nothing_more()
    assert agent.messages == []
    assert queued(relay, "late") == 0


def test_a_message_that_is_given_back_too_often_is_not_sent_any_more(start: Starter, join: Join) -> None:
    relay = start(environment={"RELAY_LIMITS_REDELIVERIES": "3", "RELAY_LIMITS_REDELIVERY_AGE": "0.001"})
    agent = join(relay, "desk", lambda agent, message: agent.nack(message["id"], delay=0))
    post(relay.port, "desk", '"poison"', wait=0)
    assert [message["attempt"] for message in agent.take(3)] == [1, 2, 3]
    agent.nothing_more()
    assert queued(relay, "desk") == 0
    relay.kill()
    relay.start()
    again = join(relay, "desk")
    again.nothing_more()
    assert again.registered["queued"] == 0


def test_a_registration_storm_is_spread(start: Starter, open_wire: OpenWire) -> None:
    relay = start(environment={"RELAY_LIMITS_REGISTRATIONS": "5"})
    wires = [open_wire(relay, after=text(type="register", agent=f"desk-{number}")) for number in range(40)]
    told = [opening(wire) for wire in wires]
    assert told.count("registered") >= 5
    assert told.count("4013") >= 20
    assert set(told) == {"registered", "4013"}


def opening(wire: Wire) -> str:
    """How a connection began: the type of the first frame, or the code that it was closed with at once."""
    try:
        return str(wire.hear()["type"])
    except Ended as end:
        assert "; retry_after=" in end.reason
        return str(end.code)


def test_a_message_that_breaks_its_agent_lets_others_pass(relay: Daemon, join: Join, open_wire: OpenWire) -> None:
    for payload in ('"poison"', '"second"', '"third"'):
        post(relay.port, "desk", payload)
    with Wire(relay.port) as victim:
        victim.register("desk", max_in_flight=1)
        assert victim.hear("message")["payload"] == "poison"
        victim.reset()
    agent = join(relay, "desk", acknowledge, max_in_flight=1)
    found = agent.take(3)
    assert [message["payload"] for message in found] == ["second", "third", "poison"]
    assert found[-1]["attempt"] == 2


def test_after_three_breaks_with_several_in_flight_the_window_starts_at_one(
    relay: Daemon, join: Join, open_wire: OpenWire
) -> None:
    for number in range(8):
        post(relay.port, "desk", str(number))
    for _ in range(3):
        wire = open_wire(relay)
        wire.register("desk")
        for _ in range(8):
            wire.hear("message")
        wire.reset()
    agent = join(relay, "desk")
    taken = [agent.next()]
    agent.nothing_more()
    agent.ack(taken[0]["id"])
    taken += agent.take(2)
    agent.nothing_more()
    agent.ack(*(message["id"] for message in taken[1:]))
    taken += agent.take(5)
    assert [message["payload"] for message in taken] == list(range(8))


def test_a_row_that_was_spoiled_on_the_disk_is_never_sent(start: Starter, join: Join, tmp_path: Path) -> None:
    relay = start()
    for payload in ('"first"', '"spoiled"', '"third"'):
        post(relay.port, "desk", payload)
    assert relay.terminate() == 0
    database = sqlite3.connect(tmp_path / "relay.db")
    with database:
        changed = database.execute("UPDATE messages SET payload = ? WHERE payload = ?", (b'"speiled"', b'"spoiled"'))
        assert changed.rowcount == 1
    database.close()
    relay.start()
    agent = join(relay, "desk", acknowledge)
    assert [message["payload"] for message in agent.take(2)] == ["first", "third"]
    agent.nothing_more()
    assert queued(relay, "desk") == 0


def test_names_and_origins_that_are_configured_may_be_used(start: Starter, open_wire: OpenWire) -> None:
    relay = start("--server-name", "relay.example", "--origin", "https://app.example")
    for headers in ({"Host": "relay.example"}, {"Host": "RELAY.example:8080"}, {"Origin": "https://app.example"}):
        assert get(relay.port, "/healthz", headers=headers).status == 200
        wire = open_wire(relay, headers=headers)
        assert wire.answer.status == 101
    assert get(relay.port, "/healthz", headers={"Host": "evil.example"}).problem == "misdirected"
    assert get(relay.port, "/healthz", headers={"Origin": "https://evil.example"}).problem == "forbidden-origin"


def test_requests_that_follow_each_other_on_a_connection_are_answered_in_order(relay: Daemon) -> None:
    requests = [
        b"POST /v1/agents/piped/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1\r\n\r\n%d" % number
        for number in range(5)
    ]
    with dial(relay.port) as line:
        line.sendall(b"".join(requests) + b"GET /v1/agents/piped HTTP/1.1\r\nHost: localhost\r\n\r\n")
        rest, answers = b"", []
        for _ in range(6):
            answer, rest = take_answer(line, rest)
            answers.append(answer)
    assert [answer.json["status"] for answer in answers[:5]] == ["queued"] * 5
    assert answers[5].json["queued"] == 5
    with Wire(relay.port, after=text(type="register", agent="piped")) as wire:
        wire.hear("registered")
        assert [json.loads(wire.raw())["payload"] for _ in range(5)] == list(range(5))
