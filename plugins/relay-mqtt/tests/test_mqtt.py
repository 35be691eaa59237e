"""The bridge on a fake clock, between a relay and a broker that are lists; and what becomes of a message on the way."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.core.limits import Limits
from relay.extensions import Form, Outcome, Problem, Received, SettingsError, Submission
from relay_mqtt.bridge import Bridge
from relay_mqtt.complaints import short
from relay_mqtt.making import bridge as make_bridge
from relay_mqtt.ports import Answer, Arrived, Leaving, Listener, Properties, Welcome
from relay_mqtt.settings import Mqtt, read
from relay_mqtt.translate import leaving, submission

NOW = 1_800_000_000.0
URL = "mqtts://broker.example.org"
TAKEN, DENIED, BUSY = Answer(0, "Success"), Answer(0x87, "Not authorized"), Answer(0x97, "Quota exceeded")
FULL = Problem("queue-full", "desk-1 has 100000", retry_after=30, limit="queue_count")
NO_STORE = Problem("store-unavailable", "no disk", retry_after=5)


class Relay:
    """What a plugin asks of the relay. Each submission is answered by the test, or at once by ``answers``."""

    def __init__(self) -> None:
        self.reactor = Clock()
        self.limits = Limits(payload=1000)
        self.counts: dict[str, int] = {}
        self.submissions: list[Submission] = []
        self.waiting: list[Deferred[Outcome]] = []
        self.answers: Callable[[Submission], Outcome | Problem | None] = lambda submission: queued(submission)
        self.handler: Callable[[Received], Deferred[None]] | None = None
        self.lost: Callable[[Problem], object] | None = None
        self.refusal: Problem | None = None
        self.attached: list[tuple[str, int]] = []

    def wall(self) -> float:
        return NOW + float(self.reactor.seconds())

    def count(self, name: str, number: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + number

    def publish(self, submission: Submission) -> Deferred[Outcome]:
        self.submissions.append(submission)
        told: Deferred[Outcome] = Deferred()
        answer = self.answers(submission)
        if answer is None:
            self.waiting.append(told)
        elif isinstance(answer, Exception):
            told.errback(answer)
        else:
            told.callback(answer)
        return told

    def attach(self, agent: str, handler: Any, lost: Any, *, max_in_flight: int) -> Deferred[Any]:
        self.attached.append((agent, max_in_flight))
        told: Deferred[Any] = Deferred()
        if self.refusal is not None:
            told.errback(self.refusal)
            return told
        self.handler, self.lost = handler, lost

        def end() -> None:
            self.handler = None

        told.callback(end)
        return told

    @property
    def payloads(self) -> list[bytes]:
        return [each.payload for each in self.submissions]


def queued(submission: Submission) -> Outcome:
    return Outcome("m", submission.agent, "queued", 0)


class Wire:
    """Implements Link: what was said to the broker."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.acknowledged: list[int] = []
        self.published: list[Leaving] = []
        self.pending: list[Deferred[Answer]] = []
        self.held = False
        self.closed = False
        self.over = False

    def open(self) -> None:
        pass

    def publish(self, leaving: Leaving) -> Deferred[Answer]:
        self.published.append(leaving)
        told: Deferred[Answer] = Deferred()
        self.pending.append(told)
        return told

    def acknowledge(self, number: int) -> None:
        self.acknowledged.append(number)

    def hold(self, holding: bool) -> None:
        self.held = holding

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.break_off("it was closed")

    def break_off(self, why: str = "the connection was lost", **more: Any) -> None:
        self.over = True
        self.listener.lost(why, **more)
        for told in self.pending:
            if not told.called:
                told.errback(ConnectionError(why))

    def bring(self, number: int, agent: str = "desk-1", *, payload: bytes | None = None, **more: Any) -> None:
        """A message comes, its payload its number."""
        body = b"%d" % number if payload is None else payload
        self.listener.arrived(Arrived(f"relay/to/{agent}", body, number, **more))


class World:
    """A started bridge."""

    def __init__(self, *, up: bool = True, **settings: Any) -> None:
        self.relay = Relay()
        self.wires: list[Wire] = []
        self.bridge = Bridge(read({"url": URL, **settings}), self.relay, self.link, Random(1))
        self.bridge.startService()
        if up:
            self.come_up(resumed=False)

    def link(self, listener: Listener) -> Wire:
        self.wires.append(Wire(listener))
        return self.wires[-1]

    def come_up(self, *, resumed: bool = True, in_flight: int = 65_535) -> None:
        self.bridge.connected(Welcome(resumed, in_flight))
        self.bridge.subscribed()

    @property
    def wire(self) -> Wire:
        return self.wires[-1]

    def again(self, *, resumed: bool = True) -> None:
        """The connection breaks, and there is another one."""
        self.wire.break_off()
        self.pass_time(2)
        self.come_up(resumed=resumed)

    def pass_time(self, seconds: float) -> None:
        self.relay.reactor.pump([0.25] * int(seconds * 4))

    def send(self, payload: bytes = b"1", **fields: Any) -> Handed:
        assert self.relay.handler is not None
        return Handed(self.relay.handler(received(payload=payload, **fields)))

    def stop(self) -> list[None]:
        ended: list[None] = []
        self.bridge.stopService().addCallback(ended.append)
        return ended

    def nothing_is_left(self) -> None:
        assert self.relay.reactor.getDelayedCalls() == []


class Handed:
    """What became of a message that was sent to the bridge: ``told`` holds None, or why it was not taken."""

    def __init__(self, work: Deferred[None]) -> None:
        self.told: list[Any] = []
        work.addCallbacks(self.told.append, lambda failure: self.told.append(failure.value))


def received(**fields: Any) -> Received:
    given: dict[str, Any] = {
        "id": "m-1",
        "agent": "mqtt",
        "payload": b"1",
        "content_type": "application/json",
        "attempt": 1,
        "headers": {},
        "publisher": "desk-1",
        "expires_at": NOW + 60,
    }
    return Received(**{**given, **fields})


@pytest.fixture
def world() -> World:
    return World()


# -- to the agents


def test_the_broker_is_told_when_the_relay_has_it_and_not_before(world: World) -> None:
    world.relay.answers = lambda _: None
    world.wire.bring(7)
    assert (world.relay.payloads, world.wire.acknowledged) == ([b"7"], [])
    world.relay.waiting[0].callback(queued(world.relay.submissions[0]))
    assert world.wire.acknowledged == [7]
    assert world.relay.counts == {"connections": 1, "received": 1, "passed_on": 1}


def test_with_qos_0_nobody_waits_for_an_answer(world: World) -> None:
    world.wire.bring(0)
    assert (world.relay.payloads, world.wire.acknowledged) == ([b"0"], [])


@pytest.mark.parametrize(
    ("agent", "payload"),
    [("no agent", b"1"), ("", b"1"), ("..", b"1"), ("mqtt", b"1"), ("desk-1", b""), ("desk-1", b"x" * 1001)],
)
def test_what_can_be_no_message_is_refused_for_good_and_the_broker_need_not_keep_it(
    world: World, agent: str, payload: bytes
) -> None:
    world.wire.bring(7, agent, payload=payload)
    assert (world.relay.submissions, world.wire.acknowledged) == ([], [7])
    assert world.relay.counts["refused"] == 1


@pytest.mark.parametrize("problem", [FULL, Problem("rejected", "no"), Problem("undeliverable", "late")])
def test_what_the_relay_refuses_for_good_is_not_brought_again(world: World, problem: Problem) -> None:
    world.relay.answers = lambda _: problem
    world.wire.bring(7)
    assert world.wire.acknowledged == [7]
    assert world.relay.counts["refused"] == 1
    world.pass_time(120)
    assert len(world.relay.submissions) == 1


@pytest.mark.parametrize(
    "problem", [NO_STORE, Problem("overloaded", "busy"), Problem("queue-full", "all", limit="total_count")]
)
def test_what_is_refused_for_now_is_tried_again_until_it_is_taken(world: World, problem: Problem) -> None:
    world.relay.answers = lambda _: problem
    world.wire.bring(7)
    world.pass_time(100)
    assert world.wire.acknowledged == []
    assert 4 <= len(world.relay.submissions) <= 8
    world.relay.answers = queued
    world.pass_time(60)
    assert world.wire.acknowledged == [7]
    world.nothing_is_left()


def test_an_agents_messages_keep_their_order_while_one_waits_and_others_do_not_wait(world: World) -> None:
    world.relay.answers = lambda submission: NO_STORE if submission.agent == "desk-1" else queued(submission)
    world.wire.bring(1)
    world.wire.bring(2)
    world.wire.bring(3, "desk-2")
    assert world.wire.acknowledged == [3]
    world.relay.answers = queued
    world.pass_time(10)
    assert world.relay.payloads == [b"1", b"3", b"1", b"2"]
    assert world.wire.acknowledged == [3, 1, 2]


def test_those_under_way_together_come_back_in_their_order(world: World) -> None:
    world.relay.answers = lambda _: None
    for number in (1, 2, 3):
        world.wire.bring(number)
    for waiting in reversed(world.relay.waiting):
        waiting.errback(NO_STORE)
    world.relay.answers = queued
    world.pass_time(10)
    assert world.relay.payloads[3:] == [b"1", b"2", b"3"]


def test_a_message_at_which_the_relay_breaks_is_not_tried_for_ever(world: World, logged_failures: Any) -> None:
    broken: Any = ZeroDivisionError()
    world.relay.answers = lambda _: broken
    world.wire.bring(7)
    world.pass_time(900)
    assert len(world.relay.submissions) == 10
    assert world.wire.acknowledged == [7]
    assert len(logged_failures.flush(ZeroDivisionError)) == 10


def test_a_broker_that_does_not_wait_is_read_no_further_while_too_much_is_undecided() -> None:
    world = World(in_flight=2)
    world.relay.answers = lambda _: None
    for _ in range(3):
        world.wire.bring(0)
    assert world.wire.held
    world.relay.waiting[0].callback(queued(world.relay.submissions[0]))
    assert not world.wire.held


def test_what_comes_again_after_a_break_is_known_and_handed_in_once(world: World) -> None:
    world.relay.answers = lambda _: None
    world.wire.bring(7)
    world.again()
    world.wire.bring(7, again=True)
    world.relay.waiting[0].callback(queued(world.relay.submissions[0]))
    assert (len(world.relay.submissions), world.wire.acknowledged) == (1, [7])
    assert world.relay.counts["repeated"] == 1


def test_what_was_decided_during_a_break_is_acknowledged_when_it_comes_again(world: World) -> None:
    world.relay.answers = lambda _: None
    world.wire.bring(7)
    world.wire.break_off()
    world.relay.waiting[0].callback(queued(world.relay.submissions[0]))
    world.pass_time(2)
    world.come_up()
    assert world.wire.acknowledged == []
    world.wire.bring(7, again=True)
    assert (len(world.relay.submissions), world.wire.acknowledged) == (1, [7])


def test_what_was_acknowledged_and_comes_again_cannot_be_told_from_a_new_one(world: World) -> None:
    world.wire.bring(7)
    world.again()
    world.wire.bring(7, again=True)
    assert len(world.relay.submissions) == 2


def test_a_number_that_is_used_anew_means_another_message(world: World) -> None:
    world.relay.answers = lambda _: None
    world.wire.bring(7)
    world.again()
    world.wire.bring(7, payload=b"8")
    assert world.relay.payloads == [b"7", b"8"]
    world.relay.waiting[0].callback(queued(world.relay.submissions[0]))
    assert world.wire.acknowledged == []
    world.relay.waiting[1].callback(queued(world.relay.submissions[1]))
    assert world.wire.acknowledged == [7]


def test_a_broker_that_has_forgotten_us_means_other_messages_by_its_numbers(world: World) -> None:
    world.relay.answers = lambda _: None
    world.wire.bring(7)
    world.again(resumed=False)
    world.wire.bring(7, again=True, payload=b"8")
    assert world.relay.payloads == [b"7", b"8"]
    world.relay.waiting[0].callback(queued(world.relay.submissions[0]))
    assert world.wire.acknowledged == []


@pytest.mark.parametrize(("take", "payloads"), [(False, []), (True, [b"7"])])
def test_what_was_retained_before_comes_in_where_that_is_asked_for(take: bool, payloads: list[bytes]) -> None:
    world = World(take_retained=take)
    world.wire.bring(7, retained=True)
    assert (world.relay.payloads, world.wire.acknowledged) == (payloads, [7])


# -- from the agents


def test_a_message_is_acknowledged_when_the_broker_has_acknowledged_it(world: World) -> None:
    handed = world.send(b'"hello"')
    assert [(each.topic, each.payload) for each in world.wire.published] == [("relay/from/desk-1", b'"hello"')]
    assert handed.told == []
    world.wire.pending[0].callback(TAKEN)
    assert handed.told == [None]
    assert world.relay.counts["sent"] == 1


def test_what_the_broker_refuses_for_good_is_refused_for_good(world: World) -> None:
    handed = world.send()
    world.wire.pending[0].callback(DENIED)
    [problem] = handed.told
    assert isinstance(problem, Problem)
    assert problem.detail == "the MQTT broker refuses it: Not authorized"


def test_what_the_broker_does_not_take_now_comes_again(world: World) -> None:
    handed = world.send()
    world.wire.pending[0].callback(BUSY)
    [error] = handed.told
    assert not isinstance(error, Problem)


def test_the_bridge_is_an_agent_only_while_the_broker_is_there() -> None:
    world = World(up=False)
    assert world.relay.attached == []
    world.come_up()
    assert world.relay.handler is not None
    handed = world.send()
    world.wire.break_off()
    assert world.relay.handler is None  # what is sent to it meanwhile is queued
    assert isinstance(handed.told[0], ConnectionError)
    world.pass_time(2)
    world.come_up()
    assert world.relay.handler is not None


def test_no_more_is_under_way_than_the_broker_takes() -> None:
    world = World(up=False, in_flight=50)
    world.come_up(in_flight=20)
    world.again()
    assert world.relay.attached == [("mqtt", 20), ("mqtt", 50)]


def test_without_an_agent_nothing_goes_out() -> None:
    assert World(agent="").relay.attached == []


def test_it_asks_again_for_its_place_as_an_agent() -> None:
    world = World(up=False)
    world.relay.refusal = Problem("duplicate", "another one")
    world.come_up()
    world.pass_time(10)
    assert 3 <= len(world.relay.attached) <= 6
    world.relay.refusal = None
    world.pass_time(10)
    assert world.relay.handler is not None
    assert world.relay.lost is not None
    world.relay.handler = None
    world.relay.lost(Problem("ended", "closed by an operator"))
    world.pass_time(2)
    assert world.relay.handler is not None


def test_a_place_that_comes_after_the_link_was_lost_is_given_back(world: World) -> None:
    asked: Deferred[Any] = Deferred()
    other = World(up=False)
    other.relay.attach = lambda *_, **__: asked
    other.come_up()
    other.wire.break_off()
    ended: list[bool] = []
    asked.callback(lambda: ended.append(True))
    assert ended == [True]


# -- one link after the other


def test_what_the_broker_has_kept_may_come_before_it_has_taken_our_subscription() -> None:
    world = World(up=False)
    world.relay.answers = lambda _: None
    world.come_up()
    world.wire.bring(7)
    world.wire.break_off()
    world.pass_time(2)
    world.bridge.connected(Welcome(resumed=True))
    world.wire.bring(7, again=True)
    world.wire.bring(8)
    assert world.relay.payloads == [b"7", b"8"]
    assert world.relay.counts["connections"] == 1
    world.bridge.subscribed()
    assert world.relay.counts["connections"] == 2


def test_a_broker_that_is_not_there_is_tried_again_and_again_but_not_often() -> None:
    world = World(up=False)
    for _ in range(600):
        if not world.wire.over:
            world.wire.break_off("no route")
        world.pass_time(1)
    assert 10 <= len(world.wires) <= 20


def test_after_a_steady_link_the_next_try_comes_soon(world: World) -> None:
    for _ in range(8):
        world.wire.break_off()
        world.pass_time(60)
    world.come_up()
    world.pass_time(61)
    tries = len(world.wires)
    world.wire.break_off()
    world.pass_time(1.25)
    assert len(world.wires) == tries + 1


def test_two_of_one_name_do_not_throw_each_other_out_some_times_a_second(world: World) -> None:
    world.wire.break_off("it says: Session taken over", taken_over=True)
    world.pass_time(59)
    assert len(world.wires) == 1
    world.pass_time(2)
    assert len(world.wires) == 2


def test_the_end_waits_for_what_is_under_way_and_says_goodbye(world: World) -> None:
    world.relay.answers = lambda _: None
    world.wire.bring(7)
    handed = world.send()
    ended = world.stop()
    world.wire.bring(8)
    assert len(world.relay.submissions) == 1  # the broker keeps it
    world.wire.pending[0].callback(TAKEN)
    assert (handed.told, world.wire.closed) == ([None], False)
    world.relay.waiting[0].callback(queued(world.relay.submissions[0]))
    assert (world.wire.acknowledged, world.wire.closed, ended) == ([7], True, [None])
    world.nothing_is_left()


def test_the_end_does_not_wait_for_ever(world: World) -> None:
    world.relay.answers = lambda _: None
    world.wire.bring(7)
    handed = world.send()
    ended = world.stop()
    world.pass_time(3)
    assert (world.wire.closed, ended, world.wire.acknowledged) == (True, [None], [])
    assert isinstance(handed.told[0], ConnectionError)
    world.relay.waiting[0].callback(queued(world.relay.submissions[0]))
    world.nothing_is_left()


def test_what_waits_for_a_better_moment_stays_with_the_broker_at_the_end(world: World) -> None:
    world.relay.answers = lambda _: NO_STORE
    world.wire.bring(7)
    ended = world.stop()
    assert (ended, world.wire.acknowledged) == ([None], [])
    world.nothing_is_left()


@pytest.mark.parametrize("connecting", [True, False])
def test_it_stops_while_there_is_no_broker(connecting: bool) -> None:
    world = World(up=False)
    if not connecting:
        world.wire.break_off()
    assert world.stop() == [None]
    world.nothing_is_left()


# -- a message on its way


def incoming(settings: dict[str, Any] | None = None, topic: str = "relay/to/desk-1", **fields: Any) -> Submission:
    payload = fields.pop("payload", b"1")
    arrived = Arrived(topic, payload, 1, properties=Properties(**fields))
    return submission(arrived, read({"url": URL, **(settings or {})}), Limits())


def test_all_that_has_a_meaning_on_the_other_side_is_passed_on() -> None:
    found = incoming(
        topic="relay/to/desk-1/lamp/set",
        payload=b"on",
        content_type="text/plain",
        expiry=60,
        response_topic="relay/from/desk-1/lamp",
        correlation=b"\x00\xff",
        user=(("Room", "kitchen"), ("room", "hall"), ("Idempotency-Key", "k-1"), ("topic", "lamp")),
    )
    assert (found.agent, found.payload, found.content_type, found.form) == ("desk-1", b"on", "text/plain", Form.TEXT)
    assert (found.ttl, found.key, found.topic, found.wait) == (60.0, "k-1", "lamp", 0.0)
    assert dict(found.headers) == {
        "room": "kitchen",
        "mqtt-topic": "lamp/set",
        "mqtt-response-topic": "relay/from/desk-1/lamp",
        "mqtt-correlation": base64.b64encode(b"\x00\xff").decode(),
    }


@pytest.mark.parametrize("user", [("bad name", "x"), ("a", "line\nline"), ("mqtt-from", "root"), ("", "x"), ("é", "x")])
def test_a_user_property_that_can_be_no_header_is_left_out(user: tuple[str, str]) -> None:
    assert incoming(user=(user,)).headers == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"topic": "relay/to"},
        {"topic": "relay/to/"},
        {"topic": "other/to/desk-1"},
        {"topic": "relay/to/dés"},
        {"topic": "relay/to/desk-1/\x01"},
        {"topic": "relay/to/mqtt"},
        {"payload": b""},
        {"payload": b"{", "content_type": "application/json"},
        {"payload": b"\xff", "text": True},
        {"content_type": "nonsense"},
        {"user": (("idempotency-key", "two words"),)},
        {"user": (("topic", "a/b"),)},
        {"user": tuple((f"n{number}", "x") for number in range(33))},
        {"user": (("long", "x" * 9000),)},
    ],
)
def test_what_cannot_be_a_message_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Problem):
        incoming(**fields)


@pytest.mark.parametrize(
    ("settings", "fields", "form", "content_type"),
    [
        ({}, {"payload": b"1.0"}, Form.JSON, "application/json"),
        ({}, {"payload": b"on"}, Form.BINARY, "application/octet-stream"),
        ({}, {"payload": b"on", "text": True}, Form.TEXT, "text/plain; charset=utf-8"),
        ({"content_type": "text/plain"}, {"payload": b"1.0"}, Form.TEXT, "text/plain"),
        ({"content_type": "text/plain"}, {"content_type": "image/png"}, Form.BINARY, "image/png"),
    ],
)
def test_a_payload_is_what_its_sender_says_or_else_what_the_settings_say(
    settings: dict[str, Any], fields: dict[str, Any], form: Form, content_type: str
) -> None:
    found = incoming(settings, **fields)
    assert (found.form, found.content_type) == (form, content_type)


def test_what_has_less_than_a_second_left_is_not_now_or_never() -> None:
    assert incoming(expiry=0).ttl == 1.0


def outgoing(settings: dict[str, Any] | None = None, **fields: Any) -> Leaving:
    return leaving(received(**fields), read({"url": URL, **(settings or {})}), NOW)


def test_a_message_goes_out_under_its_publishers_name() -> None:
    found = outgoing(headers={"mqtt-topic": "lamp/state", "mqtt-correlation": "AP8=", "room": "kitchen"})
    assert found.topic == "relay/from/desk-1/lamp/state"
    assert found.properties == Properties(
        expiry=60,
        content_type="application/json",
        text=True,
        correlation=b"\x00\xff",
        user=(("room", "kitchen"), ("relay-id", "m-1")),
    )


@pytest.mark.parametrize(
    ("publisher", "level"),
    [("auth0|7", "auth0%7C7"), ("a/b", "a%2Fb"), ("a+#", "a%2B%23"), ("me@x.org", "me@x.org"), ("50%", "50%25")],
)
def test_a_name_is_one_level_of_a_topic_whatever_is_in_it(publisher: str, level: str) -> None:
    assert outgoing(publisher=publisher).topic == f"relay/from/{level}"


def test_where_nobody_has_to_say_who_they_are_a_header_does() -> None:
    assert outgoing(publisher="", headers={"mqtt-from": "desk-2"}).topic == "relay/from/desk-2"
    assert outgoing(publisher="desk-1", headers={"mqtt-from": "root"}).topic == "relay/from/desk-1"


@pytest.mark.parametrize(
    ("headers", "publisher"),
    [({}, ""), ({"mqtt-topic": "a/#"}, "x"), ({"mqtt-topic": "+"}, "x"), ({"mqtt-correlation": "?"}, "x")],
)
def test_what_cannot_go_out_is_refused_for_good(headers: dict[str, str], publisher: str) -> None:
    world = World()
    handed = world.send(headers=headers, publisher=publisher)
    assert isinstance(handed.told[0], Problem)
    assert world.wire.published == []


def test_a_strangers_text_does_not_break_a_line_of_the_log() -> None:
    assert short("a\nb\x1b") == "a?b?"
    assert len(short("x" * 10_000)) == 200


# -- the settings


def test_the_defaults() -> None:
    found = read({"url": URL})
    assert (found.broker.host, found.broker.port, found.broker.tls) == ("broker.example.org", 8883, True)
    assert (found.prefix, found.agent, found.client_id, found.in_flight) == ("relay", "mqtt", "relay", 100)


@pytest.mark.parametrize(
    "url", ["mqtt://127.0.0.1", "mqtt://[::1]:1884", "mqtt://localhost/", "mqtt+unix:///run/broker"]
)
def test_on_this_machine_no_tls_is_needed(url: str) -> None:
    assert not read({"url": url}).broker.tls


def test_beyond_this_machine_plain_text_must_be_asked_for() -> None:
    assert read({"url": "mqtt://broker.lan", "plain_text": True}).broker.port == 1883
    with pytest.raises(SettingsError, match="plain_text"):
        read({"url": "mqtt://broker.lan"})


@pytest.mark.parametrize(
    ("table", "key", "allowed"),
    [
        ({}, "url", "mqtts://HOST"),
        ({"url": "https://x"}, "url", "mqtts://HOST"),
        ({"url": "mqtts://me:word@x"}, "url", "without a user or a password"),
        ({"url": "mqtts://x/path"}, "url", "mqtts://HOST"),
        ({"url": "mqtts://x:0"}, "url", "mqtts://HOST"),
        ({"url": "mqtts://x:99999"}, "url", "mqtts://HOST"),
        ({"url": "mqtt+unix://host/path"}, "url", "mqtt+unix:///PATH"),
        ({"url": URL, "prefix": "a/+"}, "prefix", "levels"),
        ({"url": URL, "prefix": "/a"}, "prefix", "levels"),
        ({"url": URL, "prefix": "$SYS"}, "prefix", "levels"),
        ({"url": URL, "prefix": "x" * 201}, "prefix", "200 characters"),
        ({"url": URL, "agent": "no agent"}, "agent", "an agent id"),
        ({"url": URL, "client_id": ""}, "client_id", "1 to 128"),
        ({"url": URL, "in_flight": 0}, "in_flight", "from 1 to 1000"),
        ({"url": URL, "session_seconds": 1}, "session_seconds", "from 60"),
        ({"url": URL, "keepalive": 1}, "keepalive", "from 5"),
        ({"url": URL, "content_type": "text"}, "content_type", "a media type"),
        ({"url": URL, "key_file": "key.pem"}, "key_file", "beside certificate_file"),
        ({"url": URL, "password_file": "word"}, "password_file", "beside user"),
        ({"url": "mqtt://localhost", "ca_file": "ca.pem"}, "ca_file", "only where url is mqtts"),
        ({"url": URL, "password": "word"}, "password", "password_file"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_their_key(table: dict[str, Any], key: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        read(table)
    assert refusal.value.key == key
    assert allowed in refusal.value.allowed
    assert "word@" not in str(refusal.value)


@pytest.mark.parametrize("key", ["ca_file", "certificate_file", "password_file"])
@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_cannot_be_used_is_refused_by_its_key(tmp_path: Path, key: str, there: bool) -> None:
    file = tmp_path / "file"
    if there:
        file.write_bytes(b"\xff not PEM")
    with pytest.raises(SettingsError) as refusal:
        make_bridge(read({"url": URL, "user": "me", key: str(file)}), Relay())
    assert refusal.value.key == key


def test_the_description_is_a_plugin() -> None:
    from twisted.plugin import IPlugin
    from zope.interface.verify import verifyObject

    from relay.extensions import IRelayServicePlugin
    from relay.plugins.relay_mqtt import mqtt

    assert verifyObject(IRelayServicePlugin, mqtt)
    assert IPlugin.providedBy(mqtt)
    assert isinstance(mqtt.read({"url": URL}), Mqtt)
    assert isinstance(mqtt.service(mqtt.read({"url": URL}), Relay()), Bridge)
