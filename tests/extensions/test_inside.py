"""An agent that is part of the relay's process: the same queue, order and redelivery as any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from relay.core.limits import Limits
from relay.core.model import Form, Status
from relay.core.problems import Problem
from relay.extensions import IRelayServicePlugin, Received, Submission
from tests.auth.support import Guarded
from tests.extensions.support import Outside, plugin
from tests.hub.support import WALL, Floor


class Inside:
    """A floor, and a plugin that is given a part of it."""

    def __init__(self, floor: Floor | None = None) -> None:
        self.floor = floor or Floor()
        self.outside = Outside([plugin(IRelayServicePlugin)], Limits(ack_wait=3.0), clock=self.floor.clock)  # type: ignore[arg-type]  # a clock is all that is asked of it
        self.outside.roster.connect(self.floor.hub)
        self.relay = self.outside.roster.enlisted[0].place
        self.received: list[Received] = []
        self.lost: list[Problem] = []

    def attach(self, handler: Any = None, agent: str = "desk-1", **more: Any) -> Any:
        """What ends the session, or the Problem."""
        found: list[Any] = []
        attached = self.relay.attach(agent, handler or self.received.append, self.lost.append, **more)
        attached.addCallbacks(found.append, lambda failure: found.append(failure.value))
        self.floor.clock.advance(0)
        return found[0]

    def settle(self) -> None:
        for _ in range(4):
            self.floor.clock.advance(0)


def test_a_message_is_handled_and_that_acknowledges_it() -> None:
    inside = Inside()
    inside.attach()
    answer = inside.floor.post(b"hello \xff", content_type="image/png", form=Form.BINARY)
    inside.settle()
    assert answer.outcome is not None
    assert answer.outcome.status == "delivered"
    [received] = inside.received
    assert (received.payload, received.content_type, received.attempt) == (b"hello \xff", "image/png", 1)
    assert received.id == answer.outcome.id


def test_what_was_queued_comes_in_order() -> None:
    inside = Inside()
    for number in range(5):
        inside.floor.post(number, wait=0.0)
    inside.attach(max_in_flight=2)
    inside.settle()
    assert [each.payload for each in inside.received] == [b"0", b"1", b"2", b"3", b"4"]
    assert inside.floor.queued() == []


def test_a_handler_that_fails_gets_it_again() -> None:
    inside = Inside()

    def handle(received: Received) -> None:
        inside.received.append(received)
        if received.attempt == 1:
            raise ValueError("not now")

    inside.attach(handle)
    answer = inside.floor.post(1)
    inside.settle()
    assert answer.outcome is not None
    assert (answer.outcome.status, answer.outcome.reason) == ("queued", "nacked")
    inside.floor.pass_time(1.5)
    inside.settle()
    assert [each.attempt for each in inside.received] == [1, 2]
    assert inside.floor.look(answer.outcome.id).status is Status.DELIVERED


def test_a_handler_that_refuses_for_good_does_not_get_it_again() -> None:
    inside = Inside()

    def handle(received: Received) -> None:
        inside.received.append(received)
        raise Problem("rejected", "nobody wants it")

    inside.attach(handle)
    answer = inside.floor.post(1)
    inside.settle()
    assert answer.problem is not None
    assert (answer.problem.word, answer.problem.detail) == ("rejected", "nobody wants it")
    inside.floor.pass_time(10.0)
    assert len(inside.received) == 1
    assert inside.outside.roster.states()[0]["failures"] == 0


def test_a_plugin_that_ends_its_session_and_lets_go_of_its_work_has_not_failed() -> None:
    inside = Inside()
    work: list[Deferred[None]] = []

    def handle(_: Received) -> Deferred[None]:
        work.append(Deferred())
        return work[-1]

    end = inside.attach(handle)
    answer = inside.floor.post(1, wait=0.0)
    inside.settle()
    end()
    work[0].errback(ConnectionError("gone"))
    inside.settle()
    assert inside.outside.roster.states()[0]["failures"] == 0
    inside.attach()
    inside.settle()
    assert answer.outcome is not None
    assert [each.id for each in inside.received] == [answer.outcome.id]


def test_a_message_says_who_handed_it_in_and_until_when_it_is_good() -> None:
    inside = Inside()
    inside.attach()
    inside.floor.post(1, publisher="phone", ttl=60.0)
    inside.relay.publish(Submission("desk-1", b"2", "application/json", Form.JSON, 0.0))
    inside.settle()
    assert [each.publisher for each in inside.received] == ["phone", "x-test"]
    assert inside.received[0].expires_at == WALL + 60


def test_a_handler_that_never_ends_gets_it_again_when_its_time_is_over() -> None:
    inside = Inside()

    def handle(received: Received) -> Deferred[None]:
        inside.received.append(received)
        return Deferred(lambda _: None)

    inside.attach(handle)
    inside.floor.post(1, wait=0.0)
    inside.settle()
    inside.floor.pass_time(2.5, 0.5)
    assert len(inside.received) == 1
    inside.floor.pass_time(2.0, 0.5)
    assert [each.attempt for each in inside.received] == [1, 2]
    inside.floor.pass_time(10.0, 0.5)


def test_a_second_holder_is_refused_and_the_end_lets_the_next_one_in() -> None:
    inside = Inside()
    end = inside.attach()
    problem = inside.attach()
    assert isinstance(problem, Problem)
    assert problem.word == "duplicate"
    end()
    inside.settle()
    assert callable(inside.attach())
    assert inside.lost == []


def test_a_session_that_the_relay_ends_is_told_why() -> None:
    inside = Inside()
    inside.attach()
    inside.floor.hub.disconnect("desk-1")
    inside.settle()
    assert [problem.word for problem in inside.lost] == ["ended"]
    assert not inside.relay.wires


def test_an_agent_of_a_plugin_needs_no_token_where_all_others_do(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path / "auth.toml")
    secret = guarded.add("phone", publish=("desk-*",))
    outside = Outside([plugin(IRelayServicePlugin)], clock=guarded.clock)
    outside.roster.connect(guarded.relay.hub)
    received: list[Received] = []
    outside.roster.enlisted[0].place.attach("desk-1", received.append)
    guarded.relay.settle()
    assert guarded.status("POST", "/v1/agents/desk-1/messages", secret, b"1") == 200
    guarded.revoke("phone")  # everybody's grant is looked at again
    guarded.relay.settle()
    outside.roster.enlisted[0].place.publish(Submission("desk-1", b"2", "application/json", Form.JSON, 0.0))
    guarded.relay.settle()
    assert [each.payload for each in received] == [b"1", b"2"]
    guarded.close()


def test_a_message_of_a_plugin_is_known_under_the_plugins_name() -> None:
    inside = Inside()
    agent = inside.floor.agent().register()
    told: list[Any] = []
    inside.relay.publish(Submission("desk-1", b"5", "application/json", Form.JSON, 5.0, publisher="root")).addCallback(
        told.append
    )
    [message] = agent.heard("message")
    agent.ack(message["id"])
    [outcome] = told
    assert (outcome.status, inside.floor.look(outcome.id).publisher) == ("delivered", "x-test")


def test_before_the_relay_is_built_nothing_can_be_asked_of_it() -> None:
    outside = Outside([plugin(IRelayServicePlugin)])
    place = outside.roster.enlisted[0].place
    told: list[Any] = []
    questions: list[Any] = [
        place.publish(Submission("a", b"5", "application/json", Form.JSON, 5.0)),
        place.attach("a", print),
    ]
    for asked in questions:
        asked.addErrback(lambda failure: told.append(failure.value.word))
    assert told == ["overloaded", "overloaded"]


def test_a_plugin_counts_what_it_likes_under_names_that_can_be_shown() -> None:
    outside = Outside([plugin(IRelayServicePlugin)])
    place = outside.roster.enlisted[0].place
    place.count("posted", 3)
    place.count("posted")
    assert outside.tally.table() == {("test", "posted"): 4}
    for name in ("Posted", "a b", "", "é"):
        with pytest.raises(ValueError, match="a counter's name"):
            place.count(name)
