"""The publisher against an HTTP door in memory: a real ``twisted.web`` server that answers what the test says."""

from __future__ import annotations

from typing import Any

import pytest
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from relay.client import Answer, Publisher, Refused, Unreachable
from relay.client.door import LONGEST_ANSWER, MOST_CONNECTIONS

DELIVERED = b'{"id": "m1", "agent": "desk-1", "status": "delivered", "attempts": 1, "new": {}}'


class Doorway(Resource):
    """Notes what is asked, and answers it; with ``None`` it answers when the test says so."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body: bytes | None = DELIVERED
        self.requests: list[Request] = []
        self.bodies: list[bytes] = []

    def render(self, request: Request) -> bytes | int:
        assert request.content is not None
        self.requests.append(request)
        self.bodies.append(request.content.read())
        request.setResponseCode(self.status)
        for name, value in self.headers.items():
            request.setHeader(name, value)
        return NOT_DONE_YET if self.body is None else self.body


class House:
    """A publisher, the relay's door, and the clock."""

    def __init__(self, token: str | None = None) -> None:
        self.door = Doorway()
        self.clock = Clock()
        self.agent = RequestTraversalAgent(self.door)
        self.publisher = Publisher("http://127.0.0.1:8080", reactor=self.clock, token=token, http_agent=self.agent)

    def send(self, *args: Any, **fields: Any) -> Deferred[Answer]:
        sending = self.publisher.send(*args, **fields)
        self.agent.flush()
        return sending

    def header(self, name: str) -> list[str]:
        return list(self.door.requests[-1].requestHeaders.getRawHeaders(name, []))

    def finish(self) -> None:
        """The relay answers all that waits."""
        for request in self.door.requests:
            if not request.finished:
                request.write(DELIVERED)
                request.finish()
        self.agent.flush()


@pytest.fixture
def house() -> House:
    return House()


def result(sending: Deferred[Answer]) -> Answer:
    answers: list[Answer] = []
    sending.addCallback(answers.append)
    assert answers, "there is no answer yet"
    return answers[0]


def failure(sending: Deferred[Answer], kind: type[Exception]) -> Any:
    failures: list[Any] = []
    sending.addErrback(failures.append)
    assert failures, "it has not failed"
    failures[0].trap(kind)
    return failures[0].value


def test_a_message_is_posted_to_its_agent(house: House) -> None:
    answer = result(house.send("desk-1", "grüß dich"))
    request = house.door.requests[0]
    assert (request.method, request.path) == (b"POST", b"/v1/agents/desk-1/messages")
    assert house.door.bodies == ["grüß dich".encode()]
    assert house.header("content-type") == ["text/plain; charset=utf-8"]
    assert house.header("prefer") == []
    assert (answer.id, answer.agent, answer.status, answer.attempts) == ("m1", "desk-1", "delivered", 1)
    assert answer.delivered
    assert answer.body == DELIVERED


def test_characters_that_mean_something_in_a_url_are_encoded(house: House) -> None:
    house.send("a:b@c~d", b"x")
    assert house.door.requests[0].path == b"/v1/agents/a%3Ab%40c~d/messages"


@pytest.mark.parametrize(
    ("wishes", "prefer"),
    [
        ({"wait": 0}, "wait=0"),
        ({"wait": 30}, "wait=30"),
        ({"respond_async": True}, "respond-async"),
        ({"respond_async": True, "wait": 3}, "respond-async, wait=3"),
    ],
)
def test_wishes_are_told_in_prefer(house: House, wishes: dict[str, Any], prefer: str) -> None:
    house.send("desk-1", b"x", **wishes)
    assert house.header("prefer") == [prefer]


def test_bytes_are_bytes_unless_they_are_called_something_else(house: House) -> None:
    house.send("desk-1", b"{}")
    assert house.header("content-type") == ["application/octet-stream"]
    house.send("desk-1", b"{}", content_type="application/json")
    assert house.header("content-type") == ["application/json"]


def test_what_is_asked_of_a_message_stands_in_its_headers(house: House) -> None:
    house.send("desk-1", b"x", ttl=0, topic="mood", key="k1", callback="https://shop.example/told")
    told = [house.header(name) for name in ("ttl", "topic", "idempotency-key", "callback-url")]
    assert told == [["0"], ["mood"], ["k1"], ["https://shop.example/told"]]


def test_nothing_is_asked_that_was_not_given(house: House) -> None:
    house.send("desk-1", b"x")
    assert [house.header(name) for name in ("ttl", "topic", "idempotency-key", "callback-url")] == [[]] * 4


def test_headers_for_the_agent_are_marked_as_such_but_for_those_of_tracing(house: House) -> None:
    house.send("desk-1", b"x", headers={"room": "grün", "traceparent": "00-1"})
    assert house.header("relay-meta-room") == ["grün"]
    assert house.header("traceparent") == ["00-1"]


@pytest.mark.parametrize("wish", [{"key": "a\r\nEvil: 1"}, {"headers": {"room": "a\nb"}}, {"headers": {"a b": "x"}}])
def test_what_would_break_out_of_a_header_is_refused_without_a_request(house: House, wish: dict[str, Any]) -> None:
    failure(house.send("desk-1", b"x", **wish), ValueError)
    assert house.door.requests == []


def test_an_answer_of_the_first_message_with_its_key_says_so(house: House) -> None:
    assert not result(house.send("desk-1", b"x", key="k1")).replay
    house.door.headers = {"Idempotent-Replay": "true"}
    assert result(house.send("desk-1", b"x", key="k1")).replay


def test_a_token_is_sent_along() -> None:
    house = House(token="secret")
    house.send("desk-1", b"x")
    assert house.header("authorization") == ["Bearer secret"]


def test_why_it_is_queued_is_told(house: House) -> None:
    house.door.body = b'{"id":"m1","agent":"desk-1","status":"queued","attempts":0,"reason":"away","durable":false}'
    answer = result(house.send("desk-1", b"x"))
    assert (answer.status, answer.reason, answer.durable, answer.delivered) == ("queued", "away", False, False)


def test_a_reply_is_given_byte_for_byte(house: House) -> None:
    house.door.body = DELIVERED[:-1] + b', "reply": {"n": -0.0 }}'
    assert result(house.send("desk-1", b"x")).reply == b'{"n": -0.0 }'


def test_a_refusal_is_raised_with_its_problem(house: House) -> None:
    house.door.status = 429
    house.door.headers = {"Content-Type": "application/problem+json", "Retry-After": "7"}
    house.door.body = b'{"type":"/problems/queue-full","title":"The queue is full","status":429,"detail":"100000 wait"}'
    problem = failure(house.send("desk-1", b"x"), Refused).problem
    assert (problem.word, problem.status, problem.detail, problem.retry_after) == ("queue-full", 429, "100000 wait", 7)
    assert str(problem) == "queue-full: 100000 wait"


def test_a_problem_tells_of_the_message_that_it_is_about(house: House) -> None:
    house.door.status = 503
    house.door.body = b'{"type":"/problems/store-unavailable","id":"m1","attempts":1,"sent":true}'
    problem = failure(house.send("desk-1", b"x"), Refused).problem
    assert (problem.id, problem.attempts, problem.sent) == ("m1", 1, True)


@pytest.mark.parametrize("body", [b"<h1>Bad Gateway</h1>", b"", b"[]", b"\xff", b"[" * 5000])
def test_an_error_that_is_no_problem_is_a_refusal_all_the_same(house: House, body: bytes) -> None:
    house.door.status, house.door.body = 502, body
    problem = failure(house.send("desk-1", b"x"), Refused).problem
    assert (problem.word, problem.status) == ("unexpected-answer", 502)


def test_a_redirect_is_not_followed(house: House) -> None:
    house.door.status = 307
    house.door.headers = {"Location": "http://elsewhere.example/"}
    assert failure(house.send("desk-1", b"x"), Refused).problem.status == 307
    assert len(house.door.requests) == 1


@pytest.mark.parametrize("body", [b"hello", b"{}", b'{"id": 1}', b"[" * 5000])
def test_a_good_answer_that_is_none_of_a_relay_is_no_answer(house: House, body: bytes) -> None:
    house.door.body = body
    assert "not a relay" in str(failure(house.send("desk-1", b"x"), Unreachable))


def test_an_answer_without_end_is_not_read_to_its_end(house: House) -> None:
    house.door.body = b"x" * (LONGEST_ANSWER + 1)
    assert "longer" in str(failure(house.send("desk-1", b"x"), Unreachable))


@pytest.mark.parametrize(("wait", "limit"), [(None, 45), (0, 15), (10, 25)])
def test_a_relay_that_does_not_answer_is_waited_for_a_little_longer_than_it_may_take(
    house: House, wait: int | None, limit: int
) -> None:
    house.door.body = None
    sending = house.send("desk-1", b"x", wait=wait)
    house.clock.advance(limit - 0.1)
    assert not sending.called
    house.clock.advance(0.1)
    assert f"within {limit} s" in str(failure(sending, Unreachable))


def test_more_messages_at_a_time_than_connections_wait_for_one(house: House) -> None:
    house.door.body = None
    sendings = [house.send("desk-1", b"x") for _ in range(MOST_CONNECTIONS + 5)]
    assert len(house.door.requests) == MOST_CONNECTIONS
    house.finish()
    house.finish()
    assert [result(sending).status for sending in sendings] == ["delivered"] * (MOST_CONNECTIONS + 5)


@pytest.mark.parametrize(
    ("agent", "payload"), [("..", b"x"), ("a/b", b"x"), ("", b"x"), ("desk-1", b""), ("desk-1", "")]
)
def test_what_cannot_be_sent_is_refused_without_a_request(house: House, agent: str, payload: bytes | str) -> None:
    failure(house.send(agent, payload), ValueError)
    assert house.door.requests == []


def test_a_failed_connection_is_told_in_words(house: House) -> None:
    class Broken:
        def request(self, *args: Any, **fields: Any) -> Deferred[Any]:
            raise ConnectionRefusedError("refused")

    publisher = Publisher("http://127.0.0.1:8080", reactor=house.clock, http_agent=Broken())
    text = str(failure(publisher.send("desk-1", b"x"), Unreachable))
    assert text == "cannot reach http://127.0.0.1:8080: refused"
