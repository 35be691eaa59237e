"""Events as they are read from a stream: resumed where it broke, never lost without a word, never without bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers

from relay.client import Admin, Event, Refused
from relay.client.events import LONGEST_EVENT, MOST
from tests.client.test_speaking import failure

HELLO = b"event: hello\nid: b-7\ndata: {}\n\n"


def notice(number: int, event: str = "message.queued") -> bytes:
    return f'event: {event}\nid: b-{number}\ndata: {{"at":"now","agent":"a","id":"m{number}"}}\n\n'.encode()


class Response:
    """An answer whose body comes when the test says so. Also its connection."""

    def __init__(self, code: int, headers: dict[str, str]) -> None:
        self.code = code
        self.headers = Headers({name: [value] for name, value in headers.items()})
        self.reading = True
        self.closed = False

    def deliverBody(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    def say(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def end(self, error: Exception | None = None) -> None:
        self.protocol.connectionLost(Failure(error or ResponseDone()))

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def loseConnection(self) -> None:
        self.closed = True


class Watching:
    """Somebody who iterates, and the relay at the other end."""

    def __init__(self, **fields: Any) -> None:
        self.clock = Clock()
        self.requests: list[tuple[bytes, Headers]] = []
        self.responses: list[Deferred[Any]] = []
        self.pauses: list[tuple[str, float]] = []
        self.seen: list[Event] = []
        self.slow: Deferred[None] | None = None  # held until the test lets it go on
        admin = Admin("http://127.0.0.1:8080", reactor=self.clock, http_agent=self)
        self.events = admin.events(chance=lambda: 0.5, pausing=lambda *pause: self.pauses.append(pause), **fields)
        self.work: Deferred[None] = Deferred.fromCoroutine(self.watch())

    def request(self, method: bytes, uri: bytes, headers: Headers, body: object) -> Deferred[Any]:
        self.requests.append((uri, headers))
        self.responses.append(Deferred())
        return self.responses[-1]

    async def watch(self) -> None:
        async for event in self.events:
            self.seen.append(event)
            if self.slow is not None:
                await self.slow

    def answer(self, code: int = 200, **headers: str) -> Response:
        response = Response(code, headers)
        self.responses[-1].callback(response)
        return response

    def types(self) -> list[str]:
        return [event.type for event in self.seen]

    def resumed_from(self) -> Sequence[str] | None:
        return self.requests[-1][1].getRawHeaders("last-event-id")


@pytest.fixture
def watching() -> Iterator[Watching]:
    watching = Watching()
    yield watching
    watching.events.stop()
    assert watching.work.called
    assert watching.clock.getDelayedCalls() == []


def test_events_come_one_by_one_whatever_the_network_makes_of_them(watching: Watching) -> None:
    response = watching.answer()
    for byte in HELLO + b":\n\n" + notice(8):
        response.say(bytes([byte]))
    assert watching.types() == ["hello", "message.queued"]
    event = watching.seen[1]
    assert (event.id, event.at, event.agent, event.fields["id"]) == ("b-8", "now", "a", "m8")
    assert watching.resumed_from() is None


def test_only_what_is_wanted_is_asked_for() -> None:
    watching = Watching(agent="desk@1", types=("message.dead", "agent.conflict"), since="b-1")
    assert watching.requests[0][0].endswith(b"/v1/events?agent=desk%401&types=message.dead%2Cagent.conflict")
    assert watching.resumed_from() == ["b-1"]
    watching.events.stop()


def test_a_stream_that_breaks_is_resumed_after_the_last_event_that_was_seen(watching: Watching) -> None:
    response = watching.answer()
    response.say(HELLO + notice(8) + notice(9)[:-5])
    response.end(ConnectionLost())
    assert watching.pauses[0][1] == 0.5
    watching.clock.advance(0.5)
    assert watching.resumed_from() == ["b-8"]
    # The greeting of a stream that goes on names what is newest, and not what was seen.
    response = watching.answer()
    response.say(HELLO.replace(b"b-7", b"b-9"))
    response.end(ConnectionLost())
    watching.clock.advance(1)
    assert watching.resumed_from() == ["b-8"]


def test_what_is_lost_is_told_and_it_goes_on_from_there(watching: Watching) -> None:
    watching.answer().say(HELLO + notice(8))
    assert [event.lost for event in watching.seen] == [False, False]
    watching.clock.advance(60)
    watching.clock.advance(0.5)
    watching.answer().say(b'event: hello\nid: c-1\ndata: {"lost":true}\n\n')
    assert watching.seen[-1].lost
    watching.clock.advance(60)
    watching.clock.advance(1)
    assert watching.resumed_from() == ["c-1"]


def test_a_stream_that_ends_in_order_is_opened_again(watching: Watching) -> None:
    response = watching.answer()
    response.say(HELLO)
    response.end()
    watching.clock.advance(0.5)
    assert watching.resumed_from() == ["b-7"]
    assert watching.pauses == [("the relay ended the stream", 0.5)]


@pytest.mark.parametrize(("code", "after", "seconds"), [(503, "7", 7.5), (429, "2", 2.5), (502, "", 0.5)])
def test_a_relay_that_is_busy_is_asked_again_when_it_may_be(
    watching: Watching, code: int, after: str, seconds: float
) -> None:
    watching.answer(code, **{"Retry-After": after}).end()
    assert watching.pauses[0][1] == seconds
    watching.clock.advance(seconds)
    assert len(watching.requests) == 2


@pytest.mark.parametrize("code", [400, 401, 403, 404])
def test_one_that_says_no_is_not_asked_again(code: int) -> None:
    watching = Watching()
    watching.answer(code).end()
    assert failure(watching.work, Refused).problem.status == code
    assert watching.clock.getDelayedCalls() == []


def test_delays_double_while_nothing_comes(watching: Watching) -> None:
    for seconds in (0.5, 1, 2, 4, 8, 16, 30, 30):
        watching.responses[-1].errback(ConnectionRefusedError())
        assert watching.pauses[-1][1] == seconds
        watching.clock.advance(seconds)


def test_a_stream_that_says_nothing_for_a_minute_is_left(watching: Watching) -> None:
    response = watching.answer()
    response.say(HELLO)
    watching.clock.advance(59)
    response.say(b":\n\n")
    watching.clock.advance(59)
    assert not response.closed
    watching.clock.advance(1)
    assert response.closed
    assert watching.pauses[0][0] == "nothing came for 60 s"


def test_who_is_slow_is_not_given_more_than_there_is_room_for(watching: Watching) -> None:
    response = watching.answer()
    watching.slow = Deferred()
    response.say(HELLO)
    for number in range(8, 8 + MOST + 1):
        assert response.reading
        response.say(notice(number))
    assert not response.reading
    # What is not read cannot come: that is no silence.
    watching.clock.advance(200)
    assert not response.closed
    slow, watching.slow = watching.slow, None
    slow.callback(None)
    assert response.reading
    assert len(watching.seen) == MOST + 2


@pytest.mark.parametrize(
    "data", [b"data: x\n\n", b"data: []\n\n", b"event: \xff\ndata: {}\n\n", b"x" * LONGEST_EVENT + b"x"]
)
def test_what_is_no_event_ends_the_stream_and_not_the_watching(watching: Watching, data: bytes) -> None:
    response = watching.answer()
    response.say(data)
    assert response.closed
    assert "not a relay" in watching.pauses[0][0]


def test_it_ends_when_it_is_told_to(watching: Watching) -> None:
    response = watching.answer()
    response.say(HELLO)
    watching.events.stop()
    assert watching.work.called
    assert response.closed
    assert watching.pauses == []


def test_it_ends_while_it_waits_for_the_next_try(watching: Watching) -> None:
    watching.responses[0].errback(ConnectionRefusedError())
    watching.events.stop()
    assert watching.work.called
