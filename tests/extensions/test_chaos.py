"""A plugin that does everything wrong, in every hook: others do not even notice.

Time stands still here, so "not even notice" is: what is for others happens in the same turn as without the plugin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail, succeed

from relay.core.limits import Limits
from relay.core.model import Status
from relay.extensions import (
    IDeliveryListenerPlugin,
    IMessageFilterPlugin,
    IRelayServicePlugin,
    ISessionListenerPlugin,
    Problem,
)
from tests.extensions.support import Outside, plugin
from tests.hub.support import Floor

VICTIM = "victim"


def boom(_: Any) -> Any:
    raise RuntimeError("chaos")


def exit(_: Any) -> Any:
    raise ZeroDivisionError


HANGS: dict[str, Callable[[Any], Any]] = {
    "hangs": lambda _: Deferred(),
    "hangs even when it is cancelled": lambda _: Deferred(lambda _: None),
    "fails when it is cancelled": lambda _: Deferred(boom),
}
RAISES: dict[str, Callable[[Any], Any]] = {
    "raises": boom,
    "divides by nought": exit,
    "fails later": lambda _: fail(RuntimeError("chaos")),
}
RUBBISH: dict[str, Callable[[Any], Any]] = {
    "a number": lambda _: 5,
    "a word": lambda _: "message",
    "a Deferred of rubbish": lambda _: succeed(5),
    "no payload": lambda message: replace(message, payload=None),
    "a text for bytes": lambda message: replace(message, payload="text"),
    "no agent": lambda message: replace(message, agent="no agent"),
    "broken JSON": lambda message: replace(message, payload=b"{"),
    "a payload that is too large": lambda message: replace(message, payload=b'"' + b"x" * 2_000_000 + b'"'),
    "a topic that is none": lambda message: replace(message, topic=5),
}
FAILS: dict[str, Callable[[Any], Any]] = {**HANGS, **RAISES}
EVERYTHING: dict[str, Callable[[Any], Any]] = {**FAILS, **RUBBISH}


class Chaos:
    """A filter that harms the victim's messages."""

    def __init__(self, **hooks: Callable[[Any], Any]) -> None:
        for name, harm in hooks.items():
            setattr(self, name, lambda message, harm=harm: harm(message) if message.agent == VICTIM else None)


class Place:
    """A floor with the plugin."""

    def __init__(self, kind: Any, **makes: Any) -> None:
        limits = Limits(extension_failures=5, extension_queue=50)
        self.outside = Outside([plugin(kind, "chaos", **makes)], limits)
        self.floor = Floor(filters=self.outside.roster.filters())
        self.outside.roster.connect(self.floor.hub)
        self.health = self.outside.roster.enlisted[0].health

    def others_go_on(self) -> None:
        """A message for somebody else is delivered in the same turn."""
        agent = self.floor.agent().register("other")
        answer = self.floor.post("fine", agent="other")
        [message] = agent.heard("message")
        agent.ack(message["id"])
        assert answer.outcome is not None and answer.outcome.status == "delivered"
        agent.leave()

    def pass_time(self, seconds: float) -> None:
        self.outside.clock.advance(seconds)
        self.floor.clock.advance(seconds)


@pytest.mark.parametrize("harm", EVERYTHING)
def test_a_filter_that_goes_wrong_on_the_way_in_refuses_that_message_alone(harm: str) -> None:
    place = Place(IMessageFilterPlugin, filter=Chaos(ingest=EVERYTHING[harm]))
    answer = place.floor.post(1, agent=VICTIM)
    place.others_go_on()
    place.pass_time(5.1)
    assert answer.problem is not None
    assert (answer.problem.word, answer.problem.retry_after) == ("overloaded", 30)
    assert place.floor.queued() == []
    place.others_go_on()
    assert place.health.failures == 1


@pytest.mark.parametrize("harm", EVERYTHING)
def test_a_filter_that_goes_wrong_before_a_send_keeps_that_message_alone(harm: str) -> None:
    place = Place(IMessageFilterPlugin, filter=Chaos(before_send=EVERYTHING[harm]))
    victim = place.floor.agent().register(VICTIM)
    answer = place.floor.post(1, agent=VICTIM)
    place.others_go_on()
    place.pass_time(0)
    assert answer.outcome is not None
    assert (answer.outcome.status, answer.outcome.reason) == ("queued", "nacked")
    place.others_go_on()
    assert victim.messages() == []
    assert place.floor.queued() == [answer.outcome.id]
    assert place.floor.look(answer.outcome.id).status is Status.QUEUED


@pytest.mark.parametrize("kind", [IDeliveryListenerPlugin, ISessionListenerPlugin])
@pytest.mark.parametrize("harm", FAILS)
def test_a_listener_that_goes_wrong_is_switched_off_and_nobody_waits_for_it(kind: Any, harm: str) -> None:
    place = Place(kind, listener=EVERYTHING[harm])
    for _ in range(7):  # the first is begun in the first of these, and fails in the second
        place.others_go_on()
        place.pass_time(5.1)
    place.others_go_on()
    assert place.outside.roster.states()[0]["state"] == "off"


def test_a_listener_that_floods_itself_loses_its_own_notices_alone() -> None:
    place = Place(IDeliveryListenerPlugin, listener=lambda _: Deferred())
    for _ in range(30):
        place.others_go_on()
    assert place.health.drops > 0
    place.pass_time(30)


@pytest.mark.parametrize("harm", FAILS)
def test_an_agent_of_a_plugin_that_goes_wrong_keeps_its_messages_alone(harm: str) -> None:
    place = Place(IRelayServicePlugin)
    relay = place.outside.roster.enlisted[0].place
    relay.attach(VICTIM, EVERYTHING[harm])
    place.pass_time(0)
    answer = place.floor.post(1, agent=VICTIM, wait=0.0)
    for _ in range(3):
        place.pass_time(0)
        place.others_go_on()
        place.pass_time(31)
    assert answer.outcome is not None
    assert place.floor.queued() == [answer.outcome.id]


def test_a_filter_may_say_no_as_often_as_it_likes() -> None:
    def refuse(_: Any) -> Any:
        raise Problem("forbidden", "never")

    place = Place(IMessageFilterPlugin, filter=Chaos(ingest=refuse))
    for _ in range(20):
        answer = place.floor.post(1, agent=VICTIM)
        assert answer.problem is not None and answer.problem.word == "forbidden"
    assert place.outside.roster.states()[0]["state"] == "working"
