"""A store that is away: what can be delivered is, what cannot be kept is not promised (protocol 2.3 'Store down')."""

from __future__ import annotations

import json

import pytest

from relay.core.model import Put
from relay.hub import unrecorded
from tests.hub.support import Agent, Floor


def test_without_a_store_a_message_that_nobody_takes_is_refused() -> None:
    floor = Floor()
    floor.store_fails(reads=True)
    answer = floor.post()
    assert answer.said == "store-unavailable"
    assert answer.problem is not None
    assert answer.problem.retry_after
    assert "sent" not in answer.problem.fields


def test_without_a_store_a_live_agent_still_gets_its_messages() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.store_fails(reads=True)
    answer = floor.post()
    agent.ack(*agent.ids())
    assert answer.said == "delivered"


def test_what_was_sent_and_cannot_be_kept_says_so() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.store_fails(reads=True)
    answer = floor.post()
    floor.pass_time(5)
    assert answer.said == "store-unavailable"
    assert answer.problem is not None
    assert answer.problem.fields == {"id": agent.ids()[0], "attempts": 1, "sent": True}


def test_what_was_given_up_holds_no_place_in_the_window() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=1)
    floor.store_fails(reads=True)
    floor.post(wait=1)
    floor.pass_time(1)
    agent.messages()
    agent.conversation.heard()
    floor.post(wait=1)
    assert agent.messages() == [2]


@pytest.mark.parametrize(("wait", "respond_async"), [(0.0, False), (5.0, True)])
def test_what_must_be_durable_is_not_even_sent(wait: float, respond_async: bool) -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.store_fails(reads=True)
    floor.post(agent="away")
    assert floor.post(wait=wait, respond_async=respond_async).said == "store-unavailable"
    assert agent.messages() == []


def test_an_ack_that_cannot_be_recorded_holds_and_is_recorded_later() -> None:
    floor = Floor()
    floor.post()
    agent = floor.agent().register()
    floor.store_fails(reads=True)
    agent.ack(*agent.ids())
    floor.pass_time(100)
    agent.conversation.heard()
    assert agent.messages() == []
    floor.store.heal()
    floor.pass_time(2)
    assert not floor.queued()


def test_while_many_acks_cannot_be_recorded_the_queue_rests() -> None:
    floor = Floor(unrecorded=10)
    for _ in range(30):
        floor.post()
    agent = floor.agent().register(max_in_flight=5)
    floor.store_fails()
    while ids := agent.ids():
        agent.ack(*ids)
    assert len([frame for frame in agent.wire.frames if frame["type"] == "message"]) == 10
    floor.store.heal()
    floor.pass_time(2)
    assert len(agent.ids()) == 5


def test_registration_without_a_store_is_put_off() -> None:
    floor = Floor()
    floor.store_fails(reads=True)
    floor.post()
    agent = floor.agent().register()
    assert agent.wire.closed is not None
    assert agent.wire.closed[0] == 4013
    assert not floor.hub.readiness().ready
    floor.store.heal()
    floor.pass_time(1)
    assert floor.agent().register().heard()[0]["type"] == "registered"


def test_readiness_comes_back_by_itself() -> None:
    floor = Floor()
    floor.store_fails(reads=True)
    floor.post()
    assert not floor.hub.readiness().ready
    floor.store.heal()
    floor.pass_time(7)
    assert floor.hub.readiness().ready


def test_a_read_that_fails_is_tried_again() -> None:
    floor = Floor()
    floor.post()
    floor.post()
    floor.store_fails(Put, reads=True)
    agent = floor.agent().register()
    assert agent.messages() == []
    floor.store.heal()
    floor.pass_time(2)
    assert agent.messages() == [1, 2]


def test_a_broken_store_sends_everybody_away_and_ends_the_process() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.store.break_down("fsync failed")
    assert floor.fatal
    assert agent.wire.closed is not None
    assert agent.wire.closed[0] == 1001
    assert floor.post().said == "draining"


def test_a_changed_payload_is_never_sent() -> None:
    floor = Floor()
    floor.post()
    floor.post()
    id = floor.queued()[0]
    floor.store.spoil(id)
    agent = floor.agent().register()
    assert agent.messages() == [2]
    assert floor.ended()[id] == ("dead", "corrupt")


def test_what_is_durable_outlives_the_process() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=2)
    for _ in range(5):
        floor.post(wait=0)
    agent.ack(agent.ids()[0])
    again = Floor(floor.store)
    frames = again.agent().register().heard()
    assert frames[0]["queued"] == 4
    assert [frame["payload"] for frame in frames[1:]] == [2, 3, 4, 5]
    assert json.dumps(frames)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> tuple[Floor, Agent]:
    """An agent that got ten messages, and a disk that writes nothing; it is asked to record three ends at a time."""
    monkeypatch.setattr(unrecorded, "UNDER_WAY", 3)
    floor = Floor()
    for _ in range(10):
        floor.post(wait=0)
    agent = floor.agent().register()
    floor.store.hold()
    return floor, agent


def test_acks_that_come_faster_than_the_disk_writes_leave_it_room_for_new_messages(sent: tuple[Floor, Agent]) -> None:
    floor, agent = sent
    for id in agent.ids():
        agent.ack(id)
    assert floor.store.held == 3
    answer = floor.post(agent="away")
    assert floor.store.held == 4
    floor.store.release(1)
    assert floor.store.held == 4
    floor.store.release()
    assert answer.said == "queued:away"
    assert floor.queued() == [answer.id]


def test_acks_that_waited_for_a_disk_that_then_fails_are_recorded_when_it_is_back(sent: tuple[Floor, Agent]) -> None:
    floor, agent = sent
    floor.store_fails()
    for id in agent.ids():
        agent.ack(id)
    floor.store.release()
    assert len(floor.queued()) == 10
    floor.store.heal()
    floor.pass_time(2)
    assert floor.queued() == []
