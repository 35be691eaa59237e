"""Agents that do not read, or cannot take much: what is held for them is bounded, and others do not notice."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.bystander import undisturbed
from tests.e2e.door import Answer, get, post
from tests.e2e.support import Daemon
from tests.e2e.wire import Wire

pytestmark = pytest.mark.e2e
Join = Callable[..., Agent]
OpenWire = Callable[..., Wire]
Posting = Callable[..., Future[Answer]]
Starter = Callable[..., Daemon]
MIB = 1024 * 1024
BIG = b"z" * 500_000


def test_what_waits_for_a_slow_reader_is_bounded_and_others_do_not_notice(start: Starter, open_wire: OpenWire) -> None:
    relay = start()
    slow = open_wire(relay, receive_buffer=4096)
    slow.register("slow", ack_wait=0)
    with undisturbed(relay):
        before = relay.resident()
        outcomes = [post(relay.port, "slow", BIG, content_type="text/plain", wait=0).outcome for _ in range(60)]
        assert relay.resident() - before < 24 * MIB
    # Where the kernel takes some more meanwhile, what is ahead is just being read from the disk.
    assert {"queued: sent", "queued: slow"} <= set(outcomes) <= {"queued: sent", "queued: slow", "queued: behind"}
    assert outcomes[-1] == "queued: slow"
    # It reads again: everything comes, in order, none twice.
    ids = []
    for _ in outcomes:
        message = slow.hear("message")
        ids.append(message["id"])
        slow.say(type="ack", id=message["id"])
    assert len(set(ids)) == len(outcomes)
    assert slow.barrier() == []


def test_a_socket_that_takes_nothing_is_given_up(start: Starter, join: Join, open_wire: OpenWire) -> None:
    relay = start(environment={"RELAY_LIMITS_STALLED_SECONDS": "1"})
    deaf = open_wire(relay, receive_buffer=4096)
    deaf.register("deaf", ack_wait=0)
    ids = [post(relay.port, "deaf", BIG, content_type="text/plain", wait=0).json["id"] for _ in range(20)]
    relay.output.wait_for("4008", 20)
    deaf.drop()
    assert get(relay.port, "/v1/agents/deaf").json["connected"] is False
    again = join(relay, "deaf", acknowledge).take(20)
    assert [message["id"] for message in again] == ids


def test_one_message_of_any_size_may_always_leave(shared: Daemon, join: Join) -> None:
    agent = join(shared, "roomy", acknowledge)
    largest = b"\x01" * MIB  # as a JSON string each byte needs six
    assert post(shared.port, "roomy", largest, content_type="text/plain", wait=20).outcome == "delivered"
    assert agent.next()["payload"].encode() == largest


@pytest.mark.parametrize("size", [70_000, 1_000_000])
def test_a_message_larger_than_the_agent_takes_is_rejected(shared: Daemon, join: Join, size: int) -> None:
    agent = join(shared, f"small-{size}", acknowledge, max_frame=65536)
    answer = post(shared.port, agent.name, b"y" * size, content_type="text/plain", wait=10)
    assert (answer.status, answer.problem) == (422, "rejected")
    assert "too-large-for-agent" in answer.json["detail"]
    assert post(shared.port, agent.name, '"small"', wait=10).outcome == "delivered"
    assert [message["payload"] for message in agent.messages] == ["small"]


def test_a_queued_message_larger_than_the_agent_takes_blocks_nothing(shared: Daemon, join: Join) -> None:
    for body in (b"1", b"y" * 70_000, b"2"):
        assert post(shared.port, "choosy", body, content_type="text/plain").outcome == "queued: away"
    agent = join(shared, "choosy", acknowledge, max_frame=65536)
    assert [message["payload"] for message in agent.take(2)] == ["1", "2"]
    assert post(shared.port, "choosy", '"3"', wait=10).outcome == "delivered"
    assert get(shared.port, "/v1/agents/choosy").json["queued"] == 0


def test_what_waits_for_a_slow_reader_is_queued_as_slow(start: Starter, open_wire: OpenWire, posting: Posting) -> None:
    relay = start()
    slow = open_wire(relay, receive_buffer=4096)
    slow.register("slow", ack_wait=0)
    for _ in range(30):
        post(relay.port, "slow", BIG, content_type="text/plain", wait=0)
    assert post(relay.port, "slow", BIG, content_type="text/plain", wait=1).outcome == "queued: slow"
