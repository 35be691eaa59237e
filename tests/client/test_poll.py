"""An agent by long polls: the same handler over two calls, with the same rules for coming back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from relay.client import Agent, Joined, Message, Nack, Parted, Settings
from tests.client.support import LIFE
from tests.client.test_speaking import failure


class Relay(Resource):
    """The relay's two calls: ``next`` is answered when the test says so, ``acks`` at once."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Request] = []
        self.acks: list[dict[str, Any]] = []
        self.errors: list[dict[str, str]] = []

    def render(self, request: Request) -> bytes | int:
        if request.path.endswith(b"/next"):
            self.calls.append(request)
            return NOT_DONE_YET
        assert request.content is not None
        self.acks.append({kind: said for kind, said in json.loads(request.content.read()).items() if said})
        return json.dumps({"errors": self.errors}).encode()


class Stage:
    """An agent that polls, the relay, and the time between them."""

    def __init__(self, handler: Callable[[Message], Any] | None = None, **settings: Any) -> None:
        self.relay = Relay()
        self.clock = MemoryReactorClock()
        self.messages: list[Message] = []
        self.notices: list[Joined | Parted] = []
        self.http = RequestTraversalAgent(self.relay)
        self.agent = Agent(
            "http://127.0.0.1:8080",
            "desk-1",
            handler or self.collect,
            reactor=self.clock,
            settings=Settings(poll=True, **settings),
            notice=self.notices.append,
            chance=lambda: 0.5,
            http_agent=self.http,
        )
        self.agent.startService()
        self.http.flush()

    async def collect(self, message: Message) -> str:
        self.messages.append(message)
        return f"got {message.id}"

    @property
    def call(self) -> Request:
        return self.relay.calls[-1]

    def asked(self) -> dict[str, str]:
        args: dict[bytes, list[bytes]] = self.call.args or {}
        return {name.decode(): values[0].decode() for name, values in args.items()}

    def answer(self, *ids: str, code: int = 200, after: float = 2.0, body: Any = None) -> None:
        """Answer the open call, after so many seconds: with these messages, or with a problem."""
        self.clock.advance(after)
        frames = [{"type": "message", "id": id, "payload": "hello", "content_type": "text/plain", **LIFE} for id in ids]
        self.call.setResponseCode(code)
        self.call.write(json.dumps(body if body is not None else {"session": "s1", "messages": frames}).encode())
        self.call.finish()
        self.flush()

    def flush(self) -> None:
        for _ in range(5):
            self.http.flush()

    def sentence(self) -> str:
        assert isinstance(self.notices[-1], Parted)
        return self.notices[-1].verdict.sentence


@pytest.fixture
def make() -> Iterator[Callable[..., Stage]]:
    stages: list[Stage] = []

    def start(*args: Any, **fields: Any) -> Stage:
        stages.append(Stage(*args, **fields))
        return stages[-1]

    yield start
    for stage in stages:
        stopped = stage.agent.stopService()
        stage.flush()
        stage.clock.advance(30)
        assert stopped.called
        assert stage.clock.getDelayedCalls() == []


def test_it_begins_a_session_without_waiting_and_polls_on_in_it(make: Callable[..., Stage]) -> None:
    stage = make(client="typist/2", max_in_flight=7, ack_wait=12.0, raw=True)
    assert stage.asked() == {
        "wait": "0", "max": "100", "max_in_flight": "7", "ack_wait": "12.0", "client": "typist/2", "raw": "true"
    }  # fmt: skip
    assert stage.call.requestHeaders.getRawHeaders("relay-session") is None
    stage.answer()
    assert isinstance(stage.notices[0], Joined)
    assert stage.asked() == {"wait": "30", "max": "100"}
    assert stage.call.requestHeaders.getRawHeaders("relay-session") == ["s1"]


def test_messages_are_handled_and_answered_in_as_few_calls_as_can_be(make: Callable[..., Stage]) -> None:
    async def handle(message: Message) -> str | None:
        stage.messages.append(message)
        if message.id == "m2":
            raise Nack("later", delay=5)
        return "here" if message.id == "m3" else None

    stage = make(handle)
    stage.answer("m1")
    stage.answer("m2", "m3", "m4")
    assert [message.id for message in stage.messages] == ["m1", "m2", "m3", "m4"]
    said: dict[str, list[Any]] = {"acks": [], "nacks": []}
    for call in stage.relay.acks:
        for kind, each in call.items():
            said[kind] += each
    assert sorted(said["acks"], key=lambda ack: ack["id"]) == [
        {"id": "m1"},
        {"id": "m3", "reply": "here"},
        {"id": "m4"},
    ]
    assert said["nacks"] == [{"id": "m2", "delay": 5.0, "reason": "later"}]
    assert len(stage.relay.acks) <= 4


def test_an_answer_that_came_back_empty_at_once_is_no_reason_to_hurry(make: Callable[..., Stage]) -> None:
    stage = make()
    stage.answer()
    stage.answer(after=0.0)
    assert len(stage.relay.calls) == 2
    stage.clock.advance(1)
    stage.flush()
    assert len(stage.relay.calls) == 3


def test_a_closed_window_stops_the_polling_until_it_is_open_again(make: Callable[..., Stage]) -> None:
    stage = make()
    stage.answer()
    stage.agent.window(0)
    stage.answer("m1")
    assert len(stage.relay.calls) == 2
    stage.agent.window(10)
    stage.flush()
    assert len(stage.relay.calls) == 3


@pytest.mark.parametrize(
    ("code", "word", "sentence", "again"),
    [
        (409, "duplicate", "another connection holds this agent", 60.5),
        (410, "ended", "the connection was lost", 0.5),
        (503, "draining", "not taking connections", 0.5),
        (401, "unauthenticated", "wants a valid token", None),
        (403, "forbidden", "does not allow", None),
    ],
)
def test_what_ends_a_session_is_judged_as_over_a_websocket(
    make: Callable[..., Stage], code: int, word: str, sentence: str, again: float | None
) -> None:
    stage = make()
    stage.answer(code=code, body={"type": f"/problems/{word}", "status": code, "detail": "so it is"})
    assert sentence in stage.sentence() and "so it is" in stage.sentence()
    assert isinstance(stage.notices[-1], Parted)
    assert stage.notices[-1].again_in == again


def test_it_comes_back_with_the_session_that_it_had(make: Callable[..., Stage]) -> None:
    stage = make()
    stage.answer()
    stage.answer(code=410, body={"type": "/problems/ended", "status": 410})
    stage.clock.advance(0.5)
    stage.flush()
    assert stage.asked()["resume"] == "s1"


def test_a_call_that_is_never_answered_is_given_up(make: Callable[..., Stage]) -> None:
    stage = make()
    stage.answer()
    stage.clock.advance(45)
    assert "did not answer" in stage.sentence()


@pytest.mark.parametrize("body", [[], {"session": 7}, "hello", {"session": "s1", "messages": [1]}])
def test_something_that_is_no_relay_is_left_for_another_try_or_does_no_harm(
    make: Callable[..., Stage], body: Any
) -> None:
    stage = make()
    stage.answer(body=body)
    assert stage.messages == []


def test_errors_about_answers_are_told_and_nothing_else(make: Callable[..., Stage]) -> None:
    stage = make()
    stage.relay.errors = [{"code": "reply-too-large", "detail": "70000 bytes", "id": "m1"}]
    stage.answer("m1")
    assert isinstance(stage.notices[-1], Joined)


def test_it_says_that_it_is_still_working(make: Callable[..., Stage]) -> None:
    held: list[Deferred[None]] = []

    def hold(message: Message) -> Deferred[None]:
        held.append(Deferred())
        return held[-1]

    stage = make(hold, ack_wait=6)
    stage.answer("m1")
    stage.clock.advance(2)
    stage.flush()
    assert {"progress": ["m1"]} in stage.relay.acks
    held[0].callback(None)
    stage.flush()
    assert {"acks": [{"id": "m1"}]} in stage.relay.acks


def test_it_tells_what_it_has_handled_before_it_leaves(make: Callable[..., Stage]) -> None:
    async def enough(message: Message) -> None:
        stage.agent.stopService()

    stage = make(enough)
    stage.answer("m1")
    assert {"acks": [{"id": "m1"}]} in stage.relay.acks
    stopped = stage.agent.when_stopped()
    stage.clock.advance(5)
    assert stopped.called


def test_what_a_poll_cannot_do_is_refused(make: Callable[..., Stage]) -> None:
    stage = make()
    stage.answer("m1")
    assert "polls" in str(failure(stage.agent.publish("desk-2", "x"), ValueError))
    assert "polls" in str(failure(stage.agent.acknowledge(stage.messages[0]), ValueError))
