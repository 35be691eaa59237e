"""SIGTERM with everything under way: every publisher gets an honest answer, and nothing is lost (protocol 2.3)."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import Future, as_completed

import pytest

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import Answer, dial, get, post, request
from tests.e2e.support import Daemon
from tests.e2e.wire import Wire

pytestmark = pytest.mark.e2e
Join = Callable[..., Agent]
Posting = Callable[..., Future[Answer]]
Starter = Callable[..., Daemon]
DRAIN = "RELAY_LIMITS_DRAIN_SECONDS"


def test_deliveries_in_flight_are_answered_honestly_and_kept(start: Starter, join: Join, posting: Posting) -> None:
    relay = start(environment={DRAIN: "2"})
    agent = join(relay, "desk")
    waiting = [posting(relay, "desk", str(number), wait=30) for number in range(6)]
    messages = agent.take(6)
    relay.signal(signal.SIGTERM)
    relay.output.wait_for("SIGTERM", 10)
    done = {message["id"] for message in messages[:2]}
    agent.ack(*done)

    answers = [future.result() for future in waiting]
    assert agent.ended().code == 1001
    assert relay.wait() == 0
    outcomes = {answer.json["id"]: answer.outcome for answer in answers}
    assert {outcomes[message_id] for message_id in done} == {"delivered"}
    assert {outcomes[message["id"]] for message in messages[2:]} == {"queued: draining"}

    relay.start()
    returned = join(relay, "desk", acknowledge)
    assert returned.registered["queued"] == 4
    again = returned.take(4)
    assert [message["id"] for message in again] == [message["id"] for message in messages[2:]]
    assert {message["attempt"] for message in again} == {2}


def test_who_waits_for_a_first_send_is_answered_at_once(start: Starter, join: Join, posting: Posting) -> None:
    relay = start(environment={DRAIN: "20"})
    agent = join(relay, "desk", max_in_flight=1)
    held = posting(relay, "desk", '"in flight"', wait=30)
    message = agent.next()
    behind = [posting(relay, "desk", '"behind"', wait=30) for _ in range(3)]
    until_known(relay, "desk", 3)
    relay.signal(signal.SIGTERM)
    assert {future.result().outcome for future in as_completed(behind)} == {"queued: draining"}
    assert not held.done()
    agent.ack(message["id"])
    assert held.result().outcome == "delivered"
    assert agent.ended().code == 1001
    assert relay.wait() == 0
    assert [found["id"] for found in agent.messages] == [message["id"]]


def until_known(relay: Daemon, agent: str, queued: int) -> None:
    """Return once so much is queued. Each look is a whole request, so this gives way to the relay; bounded."""
    for _ in range(2000):
        if get(relay.port, f"/v1/agents/{agent}").json["queued"] >= queued:
            return
    raise AssertionError(f"never saw {queued} queued for {agent}")


def test_nothing_new_is_taken_while_it_drains(start: Starter, join: Join, posting: Posting) -> None:
    relay = start(environment={DRAIN: "20"})
    agent = join(relay, "desk")
    held = posting(relay, "desk", "1", wait=30)
    message = agent.next()
    relay.signal(signal.SIGTERM)
    relay.output.wait_for("SIGTERM", 10)
    assert post(relay.port, "desk", "2").outcome == "503 draining"
    assert get(relay.port, "/readyz").status == 503
    assert get(relay.port, "/healthz").status == 200
    with Wire(relay.port) as wire:
        assert (wire.answer.status, wire.answer.problem) == (503, "draining")
    agent.ack(message["id"])
    assert held.result().outcome == "delivered"
    assert relay.wait() == 0


def test_a_relay_at_which_nobody_waits_ends_at_once(start: Starter, join: Join) -> None:
    relay = start(environment={DRAIN: "3600"})
    agents = [join(relay, f"desk-{number}") for number in range(5)]
    post(relay.port, "desk-0", '"unacknowledged"', wait=0)
    assert relay.terminate() == 0
    ends = [agent.ended() for agent in agents]
    assert {end.code for end in ends} == {1001}
    assert all("; retry_after=" in end.reason for end in ends)


def test_a_publisher_that_hung_up_holds_up_nothing_and_its_message_is_kept(start: Starter, join: Join) -> None:
    relay = start(environment={DRAIN: "3600", "RELAY_LIMITS_WAIT_MAX": "3600"})
    agent = join(relay, "desk")
    head = "POST /v1/agents/desk/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    batch = "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
    line = '{"agent": "desk", "payload": 2, "wait": 3600}\n'
    with dial(relay.port) as post, dial(relay.port) as lines:
        post.sendall(f"{head}Prefer: wait=3600\r\nContent-Length: 1\r\n\r\n1".encode())
        lines.sendall(f"{batch}Content-Length: 9999\r\n\r\n{line}".encode())
        messages = agent.take(2)
    assert relay.terminate() == 0
    assert agent.ended().code == 1001
    relay.start()
    again = join(relay, "desk").take(2)
    assert {message["id"] for message in again} == {message["id"] for message in messages}


def test_sigterm_twice_is_sigterm_once(start: Starter, join: Join, posting: Posting) -> None:
    relay = start(environment={DRAIN: "2"})
    agent = join(relay, "desk")
    waiting = posting(relay, "desk", '"hold on"', wait=30)
    message = agent.next()
    relay.signal(signal.SIGTERM)
    relay.output.wait_for("SIGTERM", 10)
    relay.signal(signal.SIGTERM)
    assert waiting.result().outcome == "queued: draining"
    assert relay.wait() == 0
    relay.start()
    assert join(relay, "desk").next()["id"] == message["id"]


def test_one_that_does_not_read_holds_up_no_shutdown(start: Starter) -> None:
    relay = start()
    with Wire(relay.port, receive_buffer=4096) as deaf:
        deaf.register("deaf")
        for _ in range(30):
            post(relay.port, "deaf", b"x" * 500_000, content_type="text/plain", wait=0)
        assert relay.terminate() == 0


def test_sigint_drains_too(start: Starter, join: Join) -> None:
    relay = start()
    agent = join(relay, "desk")
    relay.signal(signal.SIGINT)
    assert agent.ended().code == 1001
    assert relay.wait() == 0


def test_an_idle_connection_is_no_reason_to_stay(start: Starter) -> None:
    relay = start(environment={DRAIN: "3600"})
    assert request(relay.port, "GET", "/healthz").status == 200
    with dial(relay.port):
        assert relay.terminate() == 0
