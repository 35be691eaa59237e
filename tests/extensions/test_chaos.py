"""A plugin that does everything wrong, in every hook: others do not even notice.

Time stands still here, so "not even notice" is: what is for others happens in the same turn as without the plugin. A
hook that blocks moves the clocks: others are later by that, and by nothing else. ``harms.py`` has the table of it all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock

from relay.core.access import Grant
from relay.core.limits import Limits
from relay.core.model import Form, Put, Status, Write
from relay.extensions import (
    IAuthenticatorPlugin,
    IDeliveryListenerPlugin,
    IMessageFilterPlugin,
    IRelayServicePlugin,
    ISessionListenerPlugin,
    Problem,
    Submission,
)
from relay.extensions.settings import NotUsable
from relay.hub.turnstile import CALM_SECONDS
from relay.store.memory import MemoryStore
from relay.watch import INTERVAL, Watch
from tests.auth.support import Guarded
from tests.conftest import LoggedFailures
from tests.edge.support import House, get
from tests.extensions import test_chaos_start
from tests.extensions.harms import ANYWHERE, BLOCK, HARMS, HOOKS, MAKERS, Blocking, about, boom, covered
from tests.extensions.support import Outside, plugin
from tests.extensions.test_annex import Mounted
from tests.hub.support import Floor

VICTIM = "victim"


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

    def __init__(self, kind: Any, store: MemoryStore | None = None, **makes: Any) -> None:
        limits = Limits(extension_failures=5, extension_queue=50)
        self.outside = Outside([plugin(kind, "chaos", **makes)], limits)
        self.floor = Floor(store, filters=self.outside.roster.filters())
        self.outside.roster.connect(self.floor.hub)
        self.health = self.outside.roster.enlisted[0].health

    def blocking(self) -> Blocking:
        """A hook that blocks this place."""
        return Blocking(self.outside.clock, self.floor.clock)

    def in_each_turn(self, blocking: Blocking, turns: int) -> list[int]:
        """How often it was called in each of so many turns of the reactor; others go on after each."""
        calls, clock = [blocking.calls], self.outside.clock

        def turn() -> None:
            calls.append(blocking.calls)
            self.others_go_on()
            if len(calls) <= turns:
                clock.callLater(0, turn)

        clock.callLater(0, turn)
        clock.advance(0)
        return [after - before for before, after in pairwise(calls)]

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


@about("ingest", harms=("raises", "hangs", "returns rubbish"))
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


@about("before_send", harms=("raises", "hangs", "returns rubbish"))
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


@about("session listener", "delivery listener", harms=("raises", "hangs"))
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
        place.pass_time(CALM_SECONDS)
    assert place.health.drops > 0
    place.pass_time(30)


@about("handler", harms=("raises", "hangs"))
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


# -- who blocks


@about("ingest", "before_send", harms=("blocks",))
@pytest.mark.parametrize("hook", ["ingest", "before_send"])
def test_a_filter_that_blocks_delays_others_by_that_and_no_more(hook: str) -> None:
    chaos = Chaos(**{hook: lambda message: blocking(message)})
    place = Place(IMessageFilterPlugin, filter=chaos)
    blocking: Blocking = place.blocking()
    other = place.floor.agent().register("another")
    earlier = place.floor.post("waits for its ACK", agent="another")
    [direct] = other.heard("message")
    victim = place.floor.agent().register(VICTIM)
    before = place.floor.clock.seconds()
    answer = place.floor.post(1, agent=VICTIM)
    assert (blocking.calls, place.floor.clock.seconds() - before) == (1, BLOCK)
    place.others_go_on()
    other.ack(direct["id"])
    victim.ack(victim.heard("message")[0]["id"])
    assert [each.outcome is not None and each.outcome.status for each in (earlier, answer)] == ["delivered"] * 2
    assert place.health.failures == 0


@about("session listener", "delivery listener", harms=("blocks",))
@pytest.mark.parametrize("kind", [IDeliveryListenerPlugin, ISessionListenerPlugin])
def test_a_listener_that_blocks_has_one_call_in_a_turn_and_others_are_served_in_between(kind: Any) -> None:
    place = Place(kind, listener=lambda notice: blocking(notice))
    blocking: Blocking = place.blocking()
    for _ in range(5):
        place.others_go_on()
    assert blocking.calls == 0
    assert place.in_each_turn(blocking, 5) == [1] * 5
    assert (place.health.failures, place.outside.roster.states()[0]["state"]) == (0, "working")


@about("handler", harms=("blocks",))
def test_a_burst_to_a_handler_that_blocks_is_one_message_a_turn_and_others_are_served_in_between() -> None:
    place = Place(IRelayServicePlugin)
    blocking = place.blocking()
    for number in range(5):
        place.floor.post(number, agent=VICTIM, wait=0.0)
    place.outside.roster.enlisted[0].place.attach(VICTIM, blocking)
    calls = place.in_each_turn(blocking, 8)
    assert (max(calls), sum(calls)) == (1, 5)
    place.pass_time(0)
    assert place.floor.queued() == []


# -- what is harmless


@about("session listener", "delivery listener", harms=("returns rubbish",))
@pytest.mark.parametrize("kind", [IDeliveryListenerPlugin, ISessionListenerPlugin])
@pytest.mark.parametrize("harm", ["a number", "a Deferred of rubbish"])
def test_what_a_listener_returns_is_nobodys_business(kind: Any, harm: str) -> None:
    place = Place(kind, listener=ANYWHERE[harm])
    for _ in range(7):
        place.others_go_on()
        place.pass_time(0)
    assert (place.health.failures, place.health.drops) == (0, 0)


@about("handler", harms=("returns rubbish",))
@pytest.mark.parametrize("harm", ["a number", "a Deferred of rubbish"])
def test_what_a_handler_returns_is_nobodys_business(harm: str) -> None:
    place = Place(IRelayServicePlugin)
    place.outside.roster.enlisted[0].place.attach(VICTIM, ANYWHERE[harm])
    place.pass_time(0)
    answer = place.floor.post(1, agent=VICTIM)
    for _ in range(3):
        place.pass_time(0)
    assert answer.outcome is not None and answer.outcome.status == "delivered"


# -- who is told that its session is over


@about("lost")
@pytest.mark.parametrize("harm", [*ANYWHERE, "blocks"])
def test_who_goes_wrong_on_hearing_that_its_session_is_over_harms_nobody_else(harm: str) -> None:
    place = Place(IRelayServicePlugin)
    harmful = place.blocking() if harm == "blocks" else ANYWHERE[harm]
    relay = place.outside.roster.enlisted[0].place
    relay.attach(VICTIM, lambda received: None, harmful)
    place.pass_time(0)
    assert place.floor.hub.disconnect(VICTIM)
    place.pass_time(0)
    place.others_go_on()
    assert place.health.failures == (1 if harm in ("raises", "fails later") else 0)
    relay.attach(VICTIM, lambda received: None)
    place.pass_time(0)
    answer = place.floor.post(1, agent=VICTIM)
    for _ in range(3):
        place.pass_time(0)
    assert answer.outcome is not None and answer.outcome.status == "delivered"


# -- what a plugin hands in


@pytest.mark.parametrize(
    "changes",
    [
        {"agent": "no agent"},
        {"agent": None},
        {"payload": "text"},
        {"payload": b"{"},
        {"payload": b""},
        {"payload": b'"' + b"x" * 2_000_000 + b'"'},
        {"wait": "long"},
        {"headers": (("name",),)},
        {"topic": 5},
    ],
)
def test_what_cannot_be_a_message_is_not_taken_from_a_plugin_either(changes: dict[str, Any]) -> None:
    place = Place(IRelayServicePlugin)
    relay = place.outside.roster.enlisted[0].place
    told: list[Any] = []
    right = Submission(VICTIM, b"1", "application/json", Form.JSON, 0.0)
    for submission in (replace(right, **changes), 5, None):
        work = relay.publish(submission)  # type: ignore[arg-type]  # that is what it is about
        work.addErrback(lambda failure: told.append(failure.type))
    assert len(told) == 3
    assert place.floor.queued() == []
    place.others_go_on()


# -- a store


class ChaosStore(MemoryStore):
    """Harms what is to be kept for the victim."""

    harm: Callable[..., Any]

    def write(self, op: Write) -> Any:
        if isinstance(op, Put) and op.record.message.agent == VICTIM:
            harmed = self.harm()
            if harmed is not None:
                return harmed
        return super().write(op)


@about("write")
@pytest.mark.parametrize("harm", [*ANYWHERE, "blocks"])
def test_a_store_that_goes_wrong_keeps_what_is_for_the_victim_from_being_promised(
    harm: str, logged_failures: LoggedFailures
) -> None:
    store = ChaosStore()
    place = Place(IRelayServicePlugin, store)
    store.harm = place.blocking() if harm == "blocks" else ANYWHERE[harm]
    answer = place.floor.post(1, agent=VICTIM, wait=0.0)
    place.others_go_on()
    away = place.floor.post(2, agent="away", wait=0.0)
    assert away.outcome is not None and away.outcome.status == "queued"
    place.pass_time(30)
    if harm == "blocks":
        assert answer.outcome is not None and answer.outcome.status == "queued"
    elif "cancelled" in harm or harm == "hangs":
        assert not answer.known  # nothing is promised of it
    else:
        assert answer.problem is not None and answer.problem.word == "store-unavailable"
        assert logged_failures.flush(RuntimeError, TypeError)
    place.others_go_on()


# -- who says who somebody is


class Gatekeeper:
    """Knows the token ``pass``."""

    source = "gate"
    grant = Grant("visitor", publish=("*",), agent=("*",), source=source)

    def known(self, token: str) -> Grant | None:
        return self.grant if token == "pass" else None

    def check(self, token: str) -> Any:
        return self.grant

    def still(self, grant: Grant) -> Grant | None:
        return grant

    def on_change(self, call: Callable[[], object]) -> None:
        pass


class Gate:
    """Doors where a plugin says who somebody is, beside a file of tokens that others use."""

    def __init__(self, folder: Path, hook: str, harm: str) -> None:
        clock = MemoryReactorClock()
        self.harming = True
        self.blocking = Blocking(clock, answer=None if hook == "on_change" else Gatekeeper.grant)
        self.harmful = self.blocking if harm == "blocks" else ANYWHERE[harm]
        gatekeeper = Gatekeeper()
        if hook == "check":
            gatekeeper.known = lambda token: None  # type: ignore[method-assign]  # who is known is not asked further
        setattr(gatekeeper, hook, lambda *about: self.harmful(*about) if self.harming else gatekeeper.grant)
        outside = Outside([plugin(IAuthenticatorPlugin, "chaos", provider=gatekeeper)], clock=clock)
        self.guarded = Guarded(folder / "auth.toml", outside.roster.providers(), clock)
        self.health = outside.roster.enlisted[0].health
        self.other = self.guarded.add("other", publish=("*",), agent=("*",))

    def post(self, token: str) -> int:
        return self.guarded.status("POST", "/v1/agents/a/messages", token, b"1")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Callable[[str, str], Gate]]:
    made: list[Gate] = []

    def make(hook: str, harm: str) -> Gate:
        made.append(Gate(tmp_path, hook, harm))
        return made[-1]

    yield make
    for each in made:
        each.guarded.close()


MakeGate = Callable[[str, str], Gate]


@about("known")
@pytest.mark.parametrize("harm", [*ANYWHERE, "blocks"])
def test_who_is_not_known_by_a_gatekeeper_that_goes_wrong_is_asked_for_all_the_same(gate: MakeGate, harm: str) -> None:
    place = gate("known", harm)
    assert (place.post("pass"), place.post(place.other)) == (200, 200)
    assert (place.health.failures > 0) == (harm != "blocks")
    assert (place.blocking.calls > 0) == (harm == "blocks")


@about("check")
@pytest.mark.parametrize("harm", [*ANYWHERE, "blocks"])
def test_nobody_is_let_in_by_a_gatekeeper_that_goes_wrong_and_others_are(gate: MakeGate, harm: str) -> None:
    place = gate("check", harm)
    client = place.guarded.begin("POST", "/v1/agents/a/messages", "pass", b"1")
    assert place.post(place.other) == 200
    place.guarded.pass_time(16)
    answer = client.answer("POST")
    if harm == "blocks":
        assert (answer.status, place.blocking.calls, place.health.failures) == (200, 1, 0)
    else:
        assert (answer.status, answer.problem, place.health.failures) == (503, "overloaded", 1)
    assert place.post(place.other) == 200


@about("still")
@pytest.mark.parametrize("harm", [*ANYWHERE, "blocks"])
def test_a_gatekeeper_that_cannot_say_whether_a_grant_still_holds_takes_it_back(gate: MakeGate, harm: str) -> None:
    place = gate("still", harm)
    place.harming = False
    visitor = place.guarded.agent(token="pass").say("register", agent="visitor")
    other = place.guarded.agent(token=place.other).say("register", agent="other")
    place.harming = True
    place.guarded.add("one-more")  # the tokens have changed: everybody's grant is looked at again
    place.guarded.relay.settle()
    if harm == "blocks":
        assert (visitor.end(), place.blocking.calls >= 1) == (None, True)
    else:
        assert visitor.end() == (4003, "revoked")
        assert place.health.failures >= 1
    assert other.end() is None


@about("on_change", harms=("hangs", "returns rubbish", "blocks"))
@pytest.mark.parametrize("harm", [*(harm for harm in ANYWHERE if harm != "raises"), "blocks"])
def test_what_comes_of_telling_a_gatekeeper_whom_to_tell_is_nobodys_business(gate: MakeGate, harm: str) -> None:
    place = gate("on_change", harm)
    assert (place.post("pass"), place.post(place.other)) == (200, 200)


@about("on_change", harms=("raises",))
def test_a_gatekeeper_that_would_not_tell_of_a_revoked_token_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(NotUsable, match=r"extensions\.chaos: on_change failed: RuntimeError: chaos"):
        Gate(tmp_path, "on_change", "raises")


# -- calls over HTTP


@about("route")
@pytest.mark.parametrize("harm", [*ANYWHERE, "blocks"])
def test_a_call_that_goes_wrong_is_answered_so_and_others_are_served(harm: str, house: House) -> None:
    mounted = Mounted(house)
    blocking = Blocking(house.reactor, answer=b"late")
    goes_wrong = blocking if harm == "blocks" else ANYWHERE[harm]
    mounted.shop.wrong = goes_wrong
    client = house.connect()
    client.send(get("/x/shop/wrong"))
    assert house.ask(get("/healthz")).status == 200
    house.pass_time(5.1)
    if harm in ("a number", "a Deferred of rubbish"):  # for Klein that is an empty answer
        assert client.taken().startswith(b"HTTP/1.1 200 ")
    else:
        answer = client.answer("GET")
        said = (answer.status, answer.body if answer.status == 200 else answer.problem, mounted.health.failures)
        hangs = "cancelled" in harm or harm == "hangs"
        assert said == (
            (200, b"late", 0) if harm == "blocks" else (503, "overloaded", 1) if hangs else (500, "internal", 1)
        )
    assert house.ask(get("/x/shop/")).body == b"front"


# -- what is looked at


@about("look", "reload")
@pytest.mark.parametrize("harm", [*ANYWHERE, "blocks"])
def test_who_goes_wrong_on_looking_for_changes_keeps_nobody_else_from_it(
    harm: str, logged_failures: LoggedFailures
) -> None:
    clock, others = Clock(), []
    watch = Watch(clock)
    harmful = Blocking(clock) if harm == "blocks" else ANYWHERE[harm]
    outside = Outside([plugin(IRelayServicePlugin)])
    outside.roster.enlisted[0].place.watch(harmful, harmful)
    for look, reload in (*outside.watched, (lambda: others.append("look"), lambda: others.append("reload"))):
        watch.looks.append(look)
        watch.reloads.append(reload)
    watch.start()
    clock.advance(INTERVAL)
    clock.advance(INTERVAL)
    watch.reload()
    assert others == ["look", "look", "reload"]
    watch.stop()
    assert len(logged_failures.flush(RuntimeError)) == (3 if harm in ("raises", "fails later") else 0)


# -- the whole table


def test_every_hook_of_every_interface_is_met_with_every_harm() -> None:
    assert test_chaos_start.covered is covered
    assert set(product([*MAKERS, *HOOKS], HARMS)) - covered == set()
