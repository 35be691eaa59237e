"""Filters: what they make of a message is what is accepted, and sent; what they fail at does not pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from relay.core.model import Form, Message, Status, Submission
from relay.core.ports import FilterFailed
from relay.core.problems import Problem
from tests.hub.support import Agent, Floor


class Filters:
    """Does what it is told with each message; without a word it lets it pass."""

    def __init__(self) -> None:
        self.on_ingest: Callable[[Submission], Any] = lambda submission: submission
        self.on_send: Callable[[Message], Message] = lambda message: message

    def ingest(self, submission: Submission) -> Any:
        return self.on_ingest(submission)

    def before_send(self, message: Message) -> Message:
        return self.on_send(message)


class Place(Floor):
    """A floor with filters, and an agent."""

    def __init__(self, **limits: Any) -> None:
        self.filters = Filters()
        super().__init__(filters=self.filters, **limits)

    def here(self, agent: str = "desk-1") -> Agent:
        return self.agent().register(agent)


@pytest.fixture
def place() -> Place:
    return Place()


def raises(problem: Exception) -> Callable[[Any], Any]:
    def call(message: Any) -> Any:
        raise problem

    return call


# -- on ingest


def test_what_a_filter_makes_of_a_message_is_what_its_agent_gets(place: Place) -> None:
    place.filters.on_ingest = lambda submission: replace(submission, payload=b'"changed"')
    agent = place.here()
    place.post("as it was")
    assert agent.messages() == ["changed"]


def test_a_filter_may_refuse_with_a_problem(place: Place) -> None:
    place.filters.on_ingest = raises(Problem("forbidden", "no such words here"))
    answer = place.post(1)
    assert answer.problem is not None
    assert (answer.problem.word, place.queued()) == ("forbidden", [])


def test_a_filter_may_send_a_message_to_another_agent(place: Place) -> None:
    place.filters.on_ingest = lambda submission: replace(submission, agent="desk-2")
    other = place.here("desk-2")
    place.post(1, agent="desk-1")
    assert other.messages() == [1]


def test_what_is_thought_about_overtakes_nothing_of_the_same_agent(place: Place) -> None:
    """A line of a batch comes while the filter thinks of the one before it."""
    thinking: dict[bytes, Deferred[Submission]] = {}

    def think(submission: Submission) -> Any:
        if submission.payload in (b"1", b"3"):
            thinking[submission.payload] = Deferred()
            return thinking[submission.payload]
        return submission

    def decide(payload: bytes) -> None:
        thinking[payload].callback(Submission("desk-1", payload, "application/json", first.form, 0.0))

    place.filters.on_ingest = think
    agent, other = place.here(), place.here("desk-2")
    first = Submission("desk-1", b"1", "application/json", Form.JSON, 0.0)
    for number in (1, 2, 3, 4):
        place.post(number, line=True)
    place.post(5, agent="desk-2")
    assert (agent.messages(), other.messages()) == ([], [5])
    decide(b"3")
    assert agent.messages() == []
    decide(b"1")
    assert agent.messages() == [1, 2, 3, 4]


def test_every_line_of_a_batch_is_seen_and_who_hangs_up_changes_nothing(place: Place) -> None:
    place.filters.on_ingest = lambda submission: replace(submission, payload=b'"seen"')
    lines = [Submission("desk-1", b"%d" % number, "application/json", Form.JSON, 0.0) for number in range(3)]
    told: list[int] = []
    place.hub.submit_all(lines, lambda became: told.extend([index for index, _ in became]))
    assert told == [0, 1, 2]
    thinking: Deferred[Submission] = Deferred()
    place.filters.on_ingest = lambda submission: thinking
    place.hub.submit_all(lines[:1], lambda became: None)()
    thinking.callback(replace(lines[0], payload=b'"late"'))
    assert place.here().messages() == ["seen", "seen", "seen", "late"]


def test_one_that_is_refused_after_thought_lets_the_next_go_on(place: Place) -> None:
    thinking: list[Deferred[Submission]] = []

    def think(submission: Submission) -> Any:
        if submission.payload != b"1":
            return submission
        thinking.append(Deferred())
        return thinking[0]

    place.filters.on_ingest = think
    agent = place.here()
    refused, passed = place.post(1), place.post(2)
    thinking[0].errback(Problem("overloaded", "a filter failed", retry_after=5))
    assert refused.problem is not None and refused.problem.word == "overloaded"
    [message] = agent.heard("message")
    agent.ack(message["id"])
    assert passed.outcome is not None and passed.outcome.status == "delivered"


def test_no_more_messages_wait_for_filters_than_may() -> None:
    place = Place(extension_queue=2)
    thinking: list[Deferred[Submission]] = []

    def think(submission: Submission) -> Any:
        thinking.append(Deferred())
        return thinking[-1]

    place.filters.on_ingest = think
    place.post(1)
    place.post(2, agent="desk-2")
    answer = place.post(3)
    assert answer.problem is not None
    assert (answer.problem.word, answer.problem.limit) == ("overloaded", "extension_queue")
    for each in thinking:
        each.errback(Problem("overloaded", "a filter failed"))
    place.filters.on_ingest = lambda submission: submission
    assert place.post(4, wait=0.0).outcome is not None


def test_a_drain_waits_for_what_is_thought_about_and_then_refuses_it(place: Place) -> None:
    thinking: Deferred[Submission] = Deferred()
    place.filters.on_ingest = lambda submission: thinking
    answer = place.post(1)
    drained: list[Any] = []
    place.hub.drain().addCallback(drained.append)
    place.pass_time(1)
    assert not drained
    thinking.callback(Submission("desk-1", b"1", "application/json", Form.JSON, 0.0))
    assert answer.problem is not None and answer.problem.word == "draining"
    place.pass_time(1)
    assert drained


# -- before a message is sent


@pytest.mark.parametrize("queued", [False, True])
def test_what_is_sent_is_what_the_filter_makes_of_it_and_the_store_keeps_what_was(place: Place, queued: bool) -> None:
    place.filters.on_send = lambda message: replace(message, payload=b'"***"')
    if queued:
        answer = place.post("secret", wait=0.0)
        agent = place.here()
    else:
        agent = place.here()
        answer = place.post("secret", wait=0.0)
    assert agent.messages() == ["***"]
    assert answer.outcome is not None
    view = place.look(answer.outcome.id)
    assert view.message is not None and view.message.payload == b'"secret"'


@pytest.mark.parametrize("queued", [False, True])
def test_one_that_is_refused_before_it_is_sent_ends_rejected(place: Place, queued: bool) -> None:
    place.filters.on_send = raises(Problem("forbidden", "not for this desk"))
    if queued:
        first = place.post(1, wait=0.0)
        agent = place.here()
        assert first.outcome is not None
        assert place.ended() == {first.outcome.id: ("rejected", "not for this desk")}
    else:
        agent = place.here()
        answer = place.post(1)
        assert answer.problem is not None
        assert (answer.problem.word, answer.problem.detail) == ("rejected", "not for this desk")
    assert agent.messages() == []


@pytest.mark.parametrize("queued", [False, True])
def test_one_that_a_filter_fails_at_comes_again_as_after_a_nack(place: Place, queued: bool) -> None:
    place.filters.on_send = raises(FilterFailed("redact"))
    if queued:
        answer = place.post(1, wait=0.0)
        agent = place.here()
    else:
        agent = place.here()
        answer = place.post(1)
        place.clock.advance(0)
        assert answer.outcome is not None
        assert (answer.outcome.status, answer.outcome.reason) == ("queued", "nacked")
    assert agent.messages() == []
    place.filters.on_send = lambda message: message
    place.pass_time(0.5)
    assert agent.messages() == []
    place.pass_time(1.5)
    [message] = agent.heard("message")
    assert (message["payload"], message["attempt"]) == (1, 1)
    agent.ack(message["id"])
    assert answer.outcome is not None
    view = place.look(answer.outcome.id)
    assert view.status is Status.DELIVERED
    assert ("nacked", "filter: redact") in [(event.event, event.detail) for event in view.timeline]


def test_it_is_asked_again_at_each_redelivery(place: Place) -> None:
    asked: list[str] = []

    def note(message: Message) -> Message:
        asked.append(message.id)
        return message

    place.filters.on_send = note
    agent = place.agent().register("desk-1", ack_wait=1)
    place.post(1, wait=0.0)
    place.pass_time(1.5)
    assert len(agent.messages()) == len(asked) == 2
    place.filters.on_send = raises(FilterFailed("redact"))
    place.pass_time(3)
    assert agent.messages() == []


# -- redirected before it is sent


def to_desk_2(message: Message) -> Message:
    return replace(message, agent="desk-2") if message.agent == "desk-1" else message


@pytest.mark.parametrize("queued", [False, True])
def test_one_that_is_redirected_ends_replaced_by_the_new_one(place: Place, queued: bool) -> None:
    place.filters.on_send = to_desk_2
    other = place.here("desk-2")
    if queued:
        answer = place.post("x", wait=0.0)
        assert answer.outcome is not None
        old = answer.outcome.id
        first = place.here()
    else:
        first = place.here()
        answer = place.post("x")
        place.pass_time(0.1)
        assert answer.problem is not None and answer.problem.word == "replaced"
        old = answer.problem.fields["id"]
    place.pass_time(0.1)
    [message] = other.heard("message")
    assert (message["payload"], message["headers"]) == ("x", {"relay-redirected-from": old})
    assert first.messages() == []
    view = place.look(old)
    assert (view.status, view.reason) == (Status.REPLACED, message["id"])
    place.pass_time(5)
    assert other.heard("message") == []


def test_one_that_cannot_be_handed_in_yet_waits_and_is_redirected_later(place: Place) -> None:
    place.filters.on_send = to_desk_2
    answer = place.post("x", wait=0.0)
    place.store_fails()
    place.here()
    place.pass_time(0.5)
    place.store.heal()
    place.pass_time(5)
    assert answer.outcome is not None
    view = place.look(answer.outcome.id)
    assert view.status is Status.REPLACED
    other = place.here("desk-2")
    assert other.messages() == ["x"]


def test_a_redirection_that_a_crash_interrupted_makes_no_second_message(place: Place) -> None:
    place.filters.on_send = to_desk_2
    place.post("x", wait=0.0)
    place.here()
    place.clock.advance(0)  # handed in; its answer may not have come
    place.restart()
    place.here()
    place.pass_time(3)
    assert place.here("desk-2").messages() == ["x"]


def test_a_message_is_redirected_once(place: Place) -> None:
    def round_and_round(message: Message) -> Message:
        return replace(message, agent="desk-2" if message.agent == "desk-1" else "desk-1")

    place.filters.on_send = round_and_round
    first, second = place.here(), place.here("desk-2")
    place.post("x")
    place.pass_time(3)
    assert first.messages() == second.messages() == []
    assert len(place.queued()) == 1
