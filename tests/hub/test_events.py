"""What the floor tells those who listen: each thing once, in the order in which it happened (protocol 1.4)."""

from __future__ import annotations

from relay.core.model import Notice
from tests.conftest import LoggedFailures
from tests.hub.support import Floor


class Listener:
    """Hears everything from now on."""

    def __init__(self, floor: Floor) -> None:
        self.notices: list[Notice] = []
        floor.hub.notices.subscribe(lambda notice: self.notices.append(notice) if notice is not None else None)

    def heard(self) -> list[str]:
        """The events since the last call."""
        notices, self.notices = self.notices, []
        return [notice.event for notice in notices]


def test_a_delivery_is_told_step_by_step() -> None:
    floor = Floor()
    agent = floor.agent().register()
    listener = Listener(floor)
    floor.post()
    agent.ack(*agent.ids())
    assert listener.heard() == ["message.accepted", "message.sent", "message.delivered"]


def test_a_queued_message_is_told_from_end_to_end() -> None:
    floor = Floor()
    listener = Listener(floor)
    answer = floor.post()
    agent = floor.agent().register()
    agent.ack(*agent.ids())
    told = [notice.fields.get("id") for notice in listener.notices if notice.event.startswith("message.")]
    assert set(told) == {answer.id}
    assert listener.heard() == [
        "message.accepted",
        "message.queued",
        "agent.connected",
        "message.sent",
        "message.delivered",
    ]


def test_a_message_is_told_queued_when_it_is_durable() -> None:
    floor = Floor()
    floor.store.hold()
    listener = Listener(floor)
    floor.post()
    assert listener.heard() == ["message.accepted"]
    floor.store.release()
    assert listener.heard() == ["message.queued"]


def test_what_has_ended_does_not_end_again_when_it_is_put_off_and_acknowledged() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.post()
    (id,) = agent.ids()
    agent.ack(id)
    listener = Listener(floor)
    agent.say("nack", id=id, delay=60)
    agent.say("ack", id=id, confirm=True)
    assert listener.heard() == []
    assert agent.heard("acked") == [{"type": "acked", "ids": [], "unknown": [id]}]


def test_each_end_is_told_once() -> None:
    floor = Floor()
    for _ in range(2):
        floor.post(ttl=5.0)
    cancelled = floor.post()
    floor.post(topic="t")
    agent = floor.agent().register(max_in_flight=1)
    listener = Listener(floor)
    floor.post(topic="t", wait=0)
    floor.now(floor.hub.cancel(cancelled.id))
    agent.say("window", max_in_flight=0)
    agent.say("nack", id=agent.ids()[0], requeue=False)
    floor.pass_time(6)
    ends = [event for event in listener.heard() if event.split(".")[1] not in ("accepted", "queued", "sent")]
    assert sorted(ends) == ["message.cancelled", "message.expired", "message.rejected", "message.replaced"]


def test_the_end_of_what_only_the_disk_has_is_told_once() -> None:
    floor = Floor()
    answer = floor.post(wait=0)
    agent = floor.agent().register()
    agent.leave()
    floor.post(wait=0)
    agent = floor.agent().register()
    agent.say("nack", id=agent.ids()[0], delay=100)
    listener = Listener(floor)
    agent.ack(answer.id)
    assert listener.heard() == ["message.delivered"]


def test_a_late_ack_of_what_was_put_off_unseen_is_told_once() -> None:
    floor = Floor()
    answers = [floor.post(wait=0) for _ in range(2)]
    agent = floor.agent().register()
    agent.leave()
    agent = floor.agent().register(max_in_flight=1)
    agent.say("nack", id=answers[1].id, delay=100)
    listener = Listener(floor)
    agent.ack(answers[1].id)
    assert listener.heard() == ["message.delivered"]


def test_agents_that_come_go_and_collide_are_told() -> None:
    floor = Floor()
    listener = Listener(floor)
    agent = floor.agent().register(client="one")
    floor.agent().register(client="two")
    agent.conversation.heard()
    agent.leave()
    connected, conflict, disconnected = listener.notices
    assert listener.heard() == ["agent.connected", "agent.conflict", "agent.disconnected"]
    assert (connected.fields["session"], connected.fields["client"]) == (agent.session, "one")
    assert conflict.fields["client"] == "two"
    assert disconnected.fields == {"session": agent.session, "broke": False}
    assert {notice.agent for notice in (connected, conflict, disconnected)} == {"desk-1"}


def test_a_session_that_only_publishes_is_nobodys_event() -> None:
    floor = Floor()
    listener = Listener(floor)
    agent = floor.agent()
    agent.say("register")
    agent.leave()
    assert listener.heard() == []


def test_a_listener_that_fails_is_in_nobodys_way(logged_failures: LoggedFailures) -> None:
    floor = Floor()
    floor.hub.notices.subscribe(lambda notice: 1 // 0)
    listener = Listener(floor)
    assert floor.post().said == "queued:away"
    assert listener.heard() == ["message.accepted", "message.queued"]
    assert len(logged_failures.flush(ZeroDivisionError)) == 2


def test_what_was_told_is_found_again_by_its_number_as_it_was_told() -> None:
    floor = Floor(events=6)
    listener = Listener(floor)
    agent = floor.agent().register()
    floor.post()
    agent.say("nack", id=agent.ids()[0], requeue=False, reason="no")
    floor.post()
    told, notices = listener.notices, floor.hub.notices
    assert [notice.number for notice in told] == list(range(1, len(told) + 1))
    assert notices.since(len(told)) == []
    assert notices.since(len(told) - 1) == told[-1:]
    assert notices.since(len(told) - 6) == told[-6:]
    assert notices.since(len(told) - 7) is None  # forgotten
    assert notices.since(len(told) + 1) is None  # not told yet
    rejected = next(notice for notice in told if notice.event == "message.rejected")
    assert rejected.fields["detail"] == "no"
