"""The courier on a fake clock, with a receiver that is a list; and the sender, speaking HTTP in memory."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from relay.core.webhooks import Answer, Verdict
from relay.extensions import Notice, SettingsError
from relay.outward.post import failed
from relay_webhook.courier import Courier
from relay_webhook.making import courier as make_courier
from relay_webhook.sender import Batch, TreqSender, read_trust
from relay_webhook.settings import EVENTS, read

NOW = 1_800_000_000.0
URL = "https://hooks.example.org/relay/s3cret"
SECRET = b"s" * 32
WRITTEN = "whsec_" + base64.b64encode(SECRET).decode()
TAKEN, FAILED = Answer(Verdict.TAKEN), Answer(Verdict.FAILED, "500")


class Relay:
    """What a plugin asks of the relay."""

    def __init__(self) -> None:
        self.reactor = Clock()
        self.counts: dict[str, int] = {}

    def wall(self) -> float:
        return NOW + float(self.reactor.seconds())

    def count(self, name: str, number: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + number


class Receiver:
    """Implements Sender: what was posted, and what is answered: the next of ``answers``, the last one for ever.

    None: nothing is answered.
    """

    def __init__(self) -> None:
        self.answers: list[Answer | None] = [TAKEN]
        self.batches: list[Batch] = []
        self.pending: Deferred[Answer] | None = None
        self.closed = False

    def send(self, batch: Batch) -> Deferred[Answer]:
        self.batches.append(batch)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        told: Deferred[Answer] = Deferred(lambda told: told.callback(FAILED))
        if answer is None:
            self.pending = told
        else:
            told.callback(answer)
        return told

    def close(self) -> None:
        self.closed = True

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(batch.body) for batch in self.batches]

    @property
    def told(self) -> list[list[str]]:
        """The ids of the messages in each POST."""
        return [[event["id"] for event in body["events"]] for body in self.bodies]


class World:
    """A started courier, its relay and its receiver."""

    def __init__(self, *, started: bool = True, **settings: Any) -> None:
        self.relay = Relay()
        self.receiver = Receiver()
        self.courier = Courier(read({"url": URL, **settings}), self.relay, self.receiver, Random(1))
        if started:
            self.courier.startService()

    def hear(self, *ids: str, event: str = "message.delivered", agent: str = "desk-1", **fields: Any) -> None:
        for id in ids:
            self.courier.hear(Notice(7, event, agent, NOW, {"id": id, **fields}))

    def pass_time(self, seconds: float) -> None:
        # In steps: what is begun on the way takes its own time.
        self.relay.reactor.pump([0.25] * int(seconds * 4))

    def stop(self) -> list[None]:
        ended: list[None] = []
        self.courier.stopService().addCallback(ended.append)
        return ended


@pytest.fixture
def world() -> World:
    return World()


def test_events_go_together_when_they_have_waited_long_enough(world: World) -> None:
    world.hear("a", "b")
    assert world.receiver.told == []
    world.pass_time(1)
    assert world.receiver.told == [["a", "b"]]
    assert world.relay.counts == {"posted": 2}
    world.pass_time(10)
    assert len(world.receiver.batches) == 1


def test_a_batch_that_is_full_goes_at_once() -> None:
    world = World(batch=2)
    world.hear("a", "b", "c")
    assert world.receiver.told == [["a", "b"]]
    world.pass_time(1)
    assert world.receiver.told == [["a", "b"], ["c"]]


def test_an_event_is_posted_as_the_stream_of_events_has_it(world: World) -> None:
    world.hear("a", event="message.rejected", detail="no")
    world.pass_time(1)
    at = "2027-01-15T08:00:00.000Z"
    event = {"event": "message.rejected", "at": at, "agent": "desk-1", "id": "a", "detail": "no"}
    assert world.receiver.bodies == [{"events": [event], "dropped": 0}]


def test_what_an_agent_gives_as_its_reason_is_cut(world: World) -> None:
    world.hear("a", detail="x" * 100_000)
    world.pass_time(1)
    assert len(world.receiver.batches[0].body) < 1200


def test_one_batch_is_under_way_at_a_time_and_the_order_stays() -> None:
    world = World(batch=1)
    world.receiver.answers = [None, TAKEN]
    world.hear("a", "b", "c")
    world.pass_time(5)
    assert world.receiver.told == [["a"]]
    assert world.receiver.pending is not None
    world.receiver.pending.callback(TAKEN)
    world.pass_time(1)
    assert world.receiver.told == [["a"], ["b"], ["c"]]


def test_only_what_is_wanted_is_told() -> None:
    world = World(events=["message.dead"], agents=["desk-*"])
    world.hear("a")
    world.hear("b", event="message.dead")
    world.hear("c", event="message.dead", agent="lab")
    world.hear("d", event="agent.connected")
    world.pass_time(1)
    assert world.receiver.told == [["b"]]


def test_what_is_heard_before_the_start_is_told_after_it() -> None:
    world = World(started=False, batch=1)
    world.hear("a")
    world.pass_time(5)
    assert world.receiver.told == []
    world.courier.startService()
    world.pass_time(1)
    assert world.receiver.told == [["a"]]


def test_a_batch_that_was_not_taken_comes_again_as_it_was(world: World) -> None:
    world.receiver.answers = [FAILED, FAILED, TAKEN]
    world.hear("a")
    world.pass_time(1)
    world.hear("b")
    world.pass_time(4)
    first, second, third, *_ = world.receiver.batches
    assert first == second == third
    assert world.receiver.told == [["a"], ["a"], ["a"], ["b"]]
    assert world.relay.counts == {"failed_posts": 2, "posted": 2}


def test_each_batch_has_an_id_of_its_own() -> None:
    world = World(batch=1)
    world.hear(*"abc")
    assert len({batch.id for batch in world.receiver.batches}) == 3


def pauses(world: World, tries: int) -> Iterator[float]:
    """Seconds from each try to the next, as far as a quarter of a second tells."""
    while len(world.receiver.batches) < tries:
        before, count = world.relay.reactor.seconds(), len(world.receiver.batches)
        while len(world.receiver.batches) == count:
            world.pass_time(0.25)
        yield world.relay.reactor.seconds() - before


def test_the_pause_doubles_up_to_a_minute_and_is_spread(world: World) -> None:
    world.receiver.answers = [FAILED]
    world.hear("a")
    world.pass_time(1)
    found = list(pauses(world, 12))
    for pause, most in zip(found, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60], strict=True):
        assert most / 2 - 0.25 <= pause <= most + 0.25
    assert len(set(found[-5:])) > 1


def test_a_receiver_may_put_the_next_try_off_but_not_for_ever() -> None:
    world = World(retry_seconds=86_400)
    world.receiver.answers = [Answer(Verdict.FAILED, "503", 120.0), Answer(Verdict.FAILED, "503", 1e9), TAKEN]
    world.hear("a")
    world.pass_time(1)
    assert [round(pause) for pause in pauses(world, 3)] == [120, 3600]


def test_after_a_while_a_batch_is_given_up_and_the_next_one_says_so() -> None:
    world = World(retry_seconds=10)
    world.receiver.answers = [FAILED]
    world.hear("a", "b")
    world.pass_time(20)
    assert world.relay.counts["dropped"] == 2
    world.receiver.answers = [TAKEN]
    world.hear("c")
    world.pass_time(1)
    assert world.receiver.bodies[-1]["dropped"] == 2
    assert world.receiver.told[-1] == ["c"]


def test_past_a_full_queue_the_newest_are_dropped_counted_and_told_of() -> None:
    world = World(batch=2, queue=3)
    world.receiver.answers = [None, TAKEN]
    world.hear("a", "b")
    world.hear(*"cdefg")
    assert world.relay.counts == {"dropped": 2}
    assert world.receiver.pending is not None
    world.receiver.pending.callback(TAKEN)
    world.pass_time(2)
    assert world.receiver.told == [["a", "b"], ["c", "d"], ["e"]]
    assert [body["dropped"] for body in world.receiver.bodies] == [0, 2, 0]


def test_a_receiver_that_is_gone_is_left_alone(world: World) -> None:
    world.receiver.answers = [Answer(Verdict.GONE, "410")]
    world.hear("a")
    world.pass_time(1)
    world.hear("b")
    world.pass_time(100)
    assert len(world.receiver.batches) == 1
    assert world.relay.counts == {"dropped": 2}
    assert world.receiver.closed
    assert world.stop() == [None]


def test_what_waits_is_posted_when_the_relay_stops() -> None:
    world = World(batch=2)
    world.receiver.answers = [None, TAKEN]
    world.hear(*"abcde")
    ended = world.stop()
    assert ended == []
    assert world.receiver.pending is not None
    world.receiver.pending.callback(TAKEN)
    assert world.receiver.told == [["a", "b"], ["c", "d"], ["e"]]
    assert ended == [None]
    assert world.receiver.closed
    assert world.relay.reactor.getDelayedCalls() == []


def test_with_nothing_to_tell_it_stops_at_once(world: World) -> None:
    assert world.stop() == [None]
    assert world.relay.reactor.getDelayedCalls() == []


def test_what_waits_for_its_next_try_gets_it_when_the_relay_stops(world: World) -> None:
    world.receiver.answers = [FAILED, TAKEN]
    world.hear("a")
    world.pass_time(1)
    assert world.stop() == [None]
    assert world.receiver.told == [["a"], ["a"]]
    assert world.relay.reactor.getDelayedCalls() == []


def test_a_receiver_that_fails_at_the_end_is_not_waited_for(world: World) -> None:
    world.receiver.answers = [FAILED]
    world.hear("a")
    assert world.stop() == [None]
    assert world.relay.counts["dropped"] == 1


def test_a_receiver_that_is_silent_at_the_end_is_left_alone_in_time() -> None:
    world = World(batch=1)
    world.receiver.answers = [None]
    world.hear("a", "b")
    ended = world.stop()
    world.pass_time(2.5)
    assert ended == []
    world.pass_time(1)
    assert ended == [None]
    assert world.receiver.told == [["a"]]
    assert world.relay.counts["dropped"] == 2
    assert world.relay.reactor.getDelayedCalls() == []


def test_what_is_heard_after_the_end_is_dropped(world: World) -> None:
    world.stop()
    world.hear("a")
    assert world.relay.counts == {"dropped": 1}
    assert world.relay.reactor.getDelayedCalls() == []


# -- the sender


class Hook(Resource):
    """The far end of the sender."""

    isLeaf = True

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        super().__init__()
        self.answer = answer
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []

    def render(self, request: Request) -> Any:
        headers = {
            name.decode().lower(): values[-1].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        assert request.content is not None
        self.seen.append((request.method.decode(), request.uri.decode(), headers, request.content.read()))
        return self.answer(request)


class Line:
    """A sender and its far end, joined in memory."""

    def __init__(self, answer: Callable[[Request], Any], secrets: tuple[bytes, ...] = ()) -> None:
        self.clock = Clock()
        self.hook = Hook(answer)
        self.agent = RequestTraversalAgent(self.hook)
        self.sender = TreqSender(self.agent, URL, clock=self.clock, wall=lambda: NOW, secrets=secrets, timeout=15)

    def send(self) -> list[Answer]:
        answers: list[Answer] = []
        self.attempt = self.sender.send(Batch("b1", b'{"events":[]}', 0, 0))
        self.attempt.addCallback(answers.append)
        self.agent.flush()
        return answers


def answering(code: int, body: bytes = b"", **headers: str) -> Callable[[Request], bytes]:
    def answer(request: Request) -> bytes:
        request.setResponseCode(code)
        for name, value in headers.items():
            request.setHeader(name.replace("_", "-"), value)
        return body

    return answer


def test_a_batch_is_posted_and_signed_in_the_manner_of_standard_webhooks() -> None:
    line = Line(answering(204), (SECRET, b"t" * 24))
    assert line.send() == [TAKEN]
    ((method, uri, headers, body),) = line.hook.seen
    assert (method, uri, body) == ("POST", "/relay/s3cret", b'{"events":[]}')
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("relay-webhook/")
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("b1", "1800000000")
    signed = b"b1.1800000000." + body
    digests = [hmac.digest(secret, signed, hashlib.sha256) for secret in (SECRET, b"t" * 24)]
    assert headers["webhook-signature"] == " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
    assert line.clock.getDelayedCalls() == []


def test_without_a_secret_nothing_is_signed() -> None:
    line = Line(answering(200))
    line.send()
    assert "webhook-signature" not in line.hook.seen[0][2]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (answering(200, b"thanks"), TAKEN),
        (answering(302, location="https://elsewhere.example/"), Answer(Verdict.FAILED, "302")),
        (answering(307, location="https://elsewhere.example/"), Answer(Verdict.FAILED, "307")),
        (answering(404), Answer(Verdict.FAILED, "404")),
        (answering(410), Answer(Verdict.GONE, "410")),
        (answering(429, retry_after="7"), Answer(Verdict.FAILED, "429", 7.0)),
    ],
)
def test_an_answer_is_judged_by_its_status_and_no_redirect_is_followed(answer: Any, expected: Answer) -> None:
    line = Line(answer)
    assert line.send() == [expected]
    assert len(line.hook.seen) == 1


def test_no_cookie_is_kept() -> None:
    line = Line(answering(200, set_cookie="a=b"))
    line.send()
    line.send()
    assert ["cookie" in headers for _, _, headers, _ in line.hook.seen] == [False, False]


def test_a_long_answer_is_not_read_to_its_end() -> None:
    written: list[int] = []

    def answer(request: Request) -> int:
        request.notifyFinish().addErrback(lambda _: written.append(-1))  # the other side hung up
        request.write(b"x" * 5000)
        return NOT_DONE_YET

    line = Line(answer)
    assert line.send() == [TAKEN]
    line.agent.flush()
    assert written == [-1]


def test_who_does_not_answer_is_not_waited_for() -> None:
    line = Line(lambda _: NOT_DONE_YET)
    answers = line.send()
    line.clock.advance(14.9)
    assert answers == []
    line.clock.advance(0.2)
    assert answers == [Answer(Verdict.FAILED, "no answer in 15 s")]


def test_a_verdict_stands_although_its_body_does_not_end() -> None:
    def answer(request: Request) -> int:
        request.write(b"x")
        return NOT_DONE_YET

    line = Line(answer)
    answers = line.send()
    line.clock.advance(16)
    assert answers == [TAKEN]


def test_a_failure_says_what_was_beneath_it() -> None:
    told = failed(Failure(ResponseNeverReceived([Failure(ValueError("certificate verify failed"))])))
    assert told == Answer(Verdict.FAILED, "ValueError: certificate verify failed")


# -- the settings


def test_the_defaults_tell_of_everything() -> None:
    webhook = read({"url": URL})
    assert webhook.events == set(EVENTS)
    assert (webhook.batch, webhook.batch_seconds, webhook.queue) == (500, 1.0, 20_000)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/x", "http://[::1]/", "http://localhost/", "https://[::1]:8/"])
def test_a_receiver_may_be_on_this_machine(url: str) -> None:
    assert read({"url": url}).url == url


def test_beyond_this_machine_plain_http_must_be_asked_for() -> None:
    assert read({"url": "http://hooks.lan/", "plain_http": True}).url == "http://hooks.lan/"
    with pytest.raises(SettingsError, match="plain_http"):
        read({"url": "http://hooks.lan/"})


@pytest.mark.parametrize(
    ("table", "key", "allowed"),
    [
        ({}, "url", "https URL"),
        ({"url": "ftp://x/"}, "url", "https URL"),
        ({"url": "https:///x"}, "url", "https URL"),
        ({"url": "https://me:word@x/"}, "url", "https URL"),
        ({"url": "https://x/#y"}, "url", "https URL"),
        ({"url": "https://x:99999/"}, "url", "https URL"),
        ({"url": URL, "events": ["message.lost"]}, "events", "message.delivered"),
        ({"url": URL, "events": []}, "events", "message.delivered"),
        ({"url": URL, "agents": ["a/b"]}, "agents", "patterns of agent ids"),
        ({"url": URL, "batch": 0}, "batch", "from 1 to 10000"),
        ({"url": URL, "batch": 100, "queue": 50}, "batch", "at most queue, which is 50"),
        ({"url": URL, "batch_seconds": 61}, "batch_seconds", "from 0 to 60"),
        ({"url": URL, "queue": "many"}, "queue", "from 1 to 1000000"),
        ({"url": URL, "timeout": 0}, "timeout", "from 1 to 60"),
        ({"url": URL, "retry_seconds": -1}, "retry_seconds", "from 0 to 86400"),
        ({"url": URL, "stop_seconds": 31}, "stop_seconds", "from 0 to 30"),
        ({"url": "http://localhost/", "ca_file": "ca.pem"}, "ca_file", "only where url is https"),
        ({"url": URL, "secret": "whsec_"}, "secret", "secret_file"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_their_key(table: dict[str, Any], key: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        read(table)
    assert refusal.value.key == key
    assert allowed in refusal.value.allowed


def test_a_url_is_never_shown() -> None:
    with pytest.raises(SettingsError) as refusal:
        read({"url": "https://x/#s3cret"})
    assert "s3cret" not in str(refusal.value)


def secrets(tmp_path: Path, text: str) -> dict[str, str]:
    (tmp_path / "secrets").write_text(text)
    return {"url": URL, "secret_file": str(tmp_path / "secrets")}


@pytest.mark.parametrize("text", ["", "whsec_short", "no secret\n", WRITTEN + "\nx"])
def test_a_file_of_secrets_that_cannot_be_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        make_courier(read(secrets(tmp_path, text)), Relay())
    assert refusal.value.key == "secret_file"
    assert WRITTEN not in str(refusal.value)


@pytest.mark.parametrize("key", ["secret_file", "ca_file"])
def test_a_file_that_is_not_there_is_refused_by_its_key(key: str) -> None:
    with pytest.raises(SettingsError, match="No such file") as refusal:
        make_courier(read({"url": URL, key: "absent"}), Relay())
    assert refusal.value.key == key


def test_certificates_that_cannot_be_read_are_refused() -> None:
    for pem in (b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(ValueError, match="certificate"):
            read_trust(pem)


def test_the_listener_and_the_service_of_a_relay_are_one(tmp_path: Path) -> None:
    settings = read(secrets(tmp_path, WRITTEN))
    one, other = Relay(), Relay()
    assert make_courier(settings, one) is make_courier(settings, one)
    assert make_courier(settings, one) is not make_courier(settings, other)


def test_the_description_is_a_plugin() -> None:
    from twisted.plugin import IPlugin
    from zope.interface.verify import verifyObject

    from relay.extensions import IDeliveryListenerPlugin, IRelayServicePlugin
    from relay.plugins.relay_webhook import webhook

    assert verifyObject(IDeliveryListenerPlugin, webhook)
    assert verifyObject(IRelayServicePlugin, webhook)
    assert IPlugin.providedBy(webhook)
    settings, relay = webhook.read({"url": URL}), Relay()
    assert webhook.listener(settings, relay) == webhook.service(settings, relay).hear
