"""What a publisher and an operator may look at and mend: the calls, and what is made of their answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.client import Admin, Answer, Outgoing, Publisher, Refused, Unreachable
from tests.client.test_batch import done, refused
from tests.client.test_publisher import Doorway
from tests.client.test_speaking import failure, result

MESSAGE = {
    "id": "m1",
    "agent": "desk-1",
    "status": "delivered",
    "attempts": 2,
    "created_at": "2026-01-01T00:00:00.000Z",
    "expires_at": "2026-01-08T00:00:00.000Z",
    "ended_at": "2026-01-01T00:00:01.000Z",
    "reply": {"n": 1},
    "timeline": [{"at": "2026-01-01T00:00:00.000Z", "event": "accepted"}],
    "new": "unheard of",
}


class Office:
    """An operator, a publisher, and the relay's door."""

    def __init__(self) -> None:
        self.door = Doorway()
        self.clock = Clock()
        self.agent = RequestTraversalAgent(self.door)
        where: dict[str, Any] = {"reactor": self.clock, "http_agent": self.agent}
        self.admin = Admin("http://127.0.0.1:8080", **where)
        self.publisher = Publisher("http://127.0.0.1:8080", **where)

    def answer(self, body: object) -> None:
        self.door.body = json.dumps(body).encode()

    def asked(self) -> list[str]:
        """The calls, as ``METHOD path?query``."""
        return [f"{each.method.decode()} {each.uri.decode()}" for each in self.door.requests]

    def done(self, work: Deferred[Any]) -> Deferred[Any]:
        self.agent.flush()
        return work

    def all(self, items: AsyncIterator[Any]) -> list[Any]:
        async def collect() -> list[Any]:
            return [item async for item in items]

        work = Deferred.fromCoroutine(collect())
        for _ in range(5):
            self.agent.flush()
        found: list[Any] = result(work)
        return found


@pytest.fixture
def office() -> Office:
    return Office()


def both(office: Office) -> list[Publisher | Admin]:
    return [office.publisher, office.admin]


def test_a_message_is_shown_with_all_that_is_known_of_it(office: Office) -> None:
    office.answer(MESSAGE)
    for who in both(office):
        view = result(office.done(who.message("m1")))
        assert (view.id, view.status, view.attempts, view.ended) == ("m1", "delivered", 2, True)
        assert (bytes(view.reply), view.timeline[0].event) == (b'{"n": 1}', "accepted")
        assert json.loads(view.body)["new"] == "unheard of"
    assert office.asked() == ["GET /v1/messages/m1"] * 2
    assert office.door.requests[0].requestHeaders.getRawHeaders("prefer") is None


def test_a_message_is_waited_for_until_it_has_ended(office: Office) -> None:
    office.door.body = None
    work = office.done(office.publisher.message("m1", wait=10))
    assert office.door.requests[0].requestHeaders.getRawHeaders("prefer") == ["wait=10"]
    office.clock.advance(25)
    assert "within 25 s" in str(failure(work, Unreachable))


@pytest.mark.parametrize(("status", "ended"), [("queued", False), ("sent", False), ("rejected", True), ("new", True)])
def test_what_is_queued_or_sent_has_not_ended(office: Office, status: str, ended: bool) -> None:
    office.answer(MESSAGE | {"status": status})
    assert result(office.done(office.publisher.message("m1"))).ended is ended


def test_an_id_cannot_lead_elsewhere(office: Office) -> None:
    office.answer({"deleted": 1})
    office.done(office.publisher.cancel("../agents?x"))
    assert office.asked() == ["DELETE /v1/messages/..%2Fagents%3Fx"]


CALLS: dict[str, tuple[Callable[[Office], Deferred[Any]], Any, Any]] = {
    "DELETE /v1/messages/m1": (lambda office: office.publisher.cancel("m1"), {"deleted": 1}, None),
    "GET /v1/agents/desk%401": (
        lambda office: office.publisher.agent("desk@1").addCallback(lambda view: (view.agent, view.queued)),
        {"agent": "desk@1", "connected": True, "queued": 3},
        ("desk@1", 3),
    ),
    "DELETE /v1/agents/desk-1/session": (lambda office: office.admin.disconnect("desk-1"), {"deleted": 0}, False),
    "DELETE /v1/agents/desk-1/messages": (lambda office: office.admin.empty("desk-1"), {"deleted": 7}, 7),
    "DELETE /v1/dead-letters/m1": (lambda office: office.admin.discard("m1"), {"deleted": 1}, None),
    "POST /v1/dead-letters/m1/requeue": (
        lambda office: office.admin.requeue("m1").addCallback(lambda view: view.status),
        MESSAGE | {"status": "queued"},
        "queued",
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_each_call_asks_what_it_says_and_tells_what_was_answered(office: Office, call: str) -> None:
    do, answer, told = CALLS[call]
    office.answer(answer)
    assert result(office.done(do(office))) == told
    assert office.asked() == [call]


@pytest.mark.parametrize("call", CALLS)
def test_each_call_fails_with_what_the_relay_said(office: Office, call: str) -> None:
    office.door.status = 403
    office.answer({"type": "/problems/forbidden", "detail": "not you"})
    assert failure(office.done(CALLS[call][0](office)), Refused).problem.word == "forbidden"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("body", [b"hello", b"[]", b"\xff"])
def test_what_is_no_answer_of_a_relay_is_none(office: Office, call: str, body: bytes) -> None:
    office.door.body = body
    assert "not a relay" in str(failure(office.done(CALLS[call][0](office)), Unreachable))


def test_a_list_is_read_a_page_at_a_time(office: Office) -> None:
    class Pages(Doorway):
        def render(self, request: Any) -> bytes | int:
            first = b"cursor" not in request.args
            page = {"items": [{"agent": "a" if first else "b"}], "next": "a/1" if first else None}
            self.body = json.dumps(page).encode()
            return super().render(request)

    office.door.__class__ = Pages
    assert [view.agent for view in office.all(office.admin.agents(connected=True, prefix="x&y"))] == ["a", "b"]
    wanted = "GET /v1/agents?limit=1000&connected=true&prefix=x%26y"
    assert office.asked() == [wanted, wanted + "&cursor=a%2F1"]


def test_queues_and_dead_letters_are_lists_too(office: Office) -> None:
    office.answer({"items": [MESSAGE | {"status": "queued", "payload": [-0.0], "reason": "attempts"}], "next": None})
    (queued,) = office.all(office.admin.queue("desk-1", payload=True))
    (dead,) = office.all(office.admin.dead_letters())
    assert bytes(queued.payload) == b"[-0.0]"
    assert dead.reason == "attempts"
    assert office.asked() == [
        "GET /v1/agents/desk-1/messages?limit=1000&payload=true",
        "GET /v1/dead-letters?limit=10",
    ]


def test_a_token_is_asked_for_at_each_call_and_may_come_late() -> None:
    office, tokens = Office(), [Deferred[str](), Deferred[str]()]
    waiting = iter(tokens)
    admin = Admin("http://127.0.0.1:8080", reactor=office.clock, token=lambda: next(waiting), http_agent=office.agent)
    office.answer({"deleted": 1})
    for number, token in enumerate(tokens):
        work = admin.empty("desk-1")
        assert len(office.door.requests) == number
        token.callback(f"token-{number}")
        result(office.done(work))
        carried = office.door.requests[-1].requestHeaders.getRawHeaders("authorization")
        assert carried == [f"Bearer token-{number}"]


def test_a_token_that_cannot_be_had_is_a_failure_of_the_call() -> None:
    def gone() -> str:
        raise OSError("the vault is closed")

    office = Office()
    admin = Admin("http://127.0.0.1:8080", reactor=office.clock, token=gone, http_agent=office.agent)
    assert "the vault is closed" in str(failure(admin.empty("desk-1"), Unreachable))


# a batch by the library


def test_a_batch_tells_of_each_message_what_became_of_it(office: Office) -> None:
    told: list[tuple[str, Answer | Refused]] = []
    messages = [Outgoing("a", "one", key="k1"), Outgoing("b", b"{}", content_type="application/json", wait=0)]
    office.door.body = done(2, "queued") + refused(1, "forbidden")
    sent = office.publisher.send_batch(messages, lambda message, outcome: told.append((message.agent, outcome)))
    assert result(office.done(sent)) is None
    (first, queued), (second, problem) = told
    assert (first, second) == ("b", "a")
    assert isinstance(queued, Answer) and queued.status == "queued"
    assert isinstance(problem, Refused) and problem.problem.word == "forbidden"
    lines = [json.loads(line) for line in office.door.bodies[0].splitlines()]
    assert [line["agent"] for line in lines] == ["a", "b"]
    assert lines[0]["idempotency_key"] == "k1"
    assert lines[1]["payload"] == {}


def test_a_batch_is_read_no_further_than_it_is_sent(office: Office) -> None:
    drawn = 0

    def endless() -> Any:
        nonlocal drawn
        while True:
            drawn += 1
            yield Outgoing("a", "x")

    office.door.body = None
    sending = office.done(office.publisher.send_batch(endless(), lambda message, outcome: None))
    assert 10_000 <= drawn <= 10_001
    sending.cancel()
    sending.addErrback(lambda _: None)
    content = office.door.requests[0].content  # twisted.web keeps what is large in a file
    assert content is not None
    content.close()
