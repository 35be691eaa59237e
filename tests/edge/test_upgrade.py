"""From a request to a conversation: what is taken over, in order, and what is refused (protocol 2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from relay.core.problems import Problem
from tests.edge.support import PING, House, frame, get, join, post, queued, request, upgrade

Build = Callable[..., House]


def test_an_upgrade_is_answered_as_the_standard_says(house: House) -> None:
    agent = join(house)
    line, *fields = agent.head.split("\r\n")
    headers = dict(field.lower().split(": ", 1) for field in fields)
    assert line == "HTTP/1.1 101 Switching Protocols"
    assert headers["upgrade"] == "websocket"
    assert headers["connection"] == "upgrade"
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in fields  # RFC 6455 section 1.3
    assert set(headers) == {"upgrade", "connection", "sec-websocket-accept"}
    assert agent.conversation.transport.peer == "192.0.2.7:5000"


@pytest.mark.parametrize(
    ("offer", "chosen"),
    [
        (None, False),
        ("relay.v1", True),
        ("chat, relay.v1", True),
        ("relay.v1,bearer.secret", True),
        (" relay.v2 ,\trelay.v1 ", True),
    ],
)
def test_the_subprotocol_is_chosen_when_it_is_offered(house: House, offer: str | None, chosen: bool) -> None:
    agent = join(house, sec_websocket_protocol=offer)
    assert ("Sec-WebSocket-Protocol: relay.v1" in agent.head) == chosen
    assert "secret" not in agent.head


def test_an_extension_that_is_offered_is_not_chosen(house: House) -> None:
    assert "Extensions" not in join(house, sec_websocket_extensions="permessage-deflate").head


@pytest.mark.parametrize(
    "headers",
    [
        {"upgrade": "WebSocket"},
        {"upgrade": "h2c, websocket"},
        {"connection": "keep-alive, Upgrade"},
        {"connection": "upgrade"},
        {"content_length": "0"},
        {"origin": "http://localhost"},
        {"expect": "100-continue", "content_length": "0"},
    ],
)
def test_an_upgrade_may_be_written_in_other_words(house: House, headers: dict[str, str | None]) -> None:
    join(house, b"", **headers)


# -- what follows in the same segment


def test_frames_in_the_segment_of_the_upgrade_are_read_in_order(house: House) -> None:
    assert join(house, frame(b"one")).conversation.frames == [b"one"]
    agent = join(house, frame(b"one") + frame(b"two") + frame(b"", PING) + frame(b"three"))
    assert agent.conversation.frames == [b"one", b"two", b"three"]
    assert agent.conversation.heard_count == 1


@pytest.mark.parametrize("cut", [1, 2, 5, 6, 7, 200, 206])
def test_half_a_frame_in_the_segment_of_the_upgrade_is_joined_with_its_rest(house: House, cut: int) -> None:
    whole = frame(b"x" * 200)
    agent = join(house, whole[:cut])
    assert agent.conversation.frames == []
    agent.send(whole[cut:] + frame(b"next"))
    assert agent.conversation.frames == [b"x" * 200, b"next"]


def test_200_kb_in_the_segment_of_the_upgrade_are_read_whole(house: House) -> None:
    assert join(house, frame(b"y" * 200_000)).conversation.frames == [b"y" * 200_000]
    many = [b"%d" % number for number in range(20_000)]
    assert join(house, b"".join(map(frame, many))).conversation.frames == many


def test_an_upgrade_in_single_bytes_is_understood(house: House) -> None:
    client = house.connect()
    for byte in upgrade() + frame(b"one") + frame(b"two"):
        client.send(bytes([byte]))
    assert house.floor.conversations[0].frames == [b"one", b"two"]


def test_an_upgrade_may_follow_other_requests_on_its_connection(house: House) -> None:
    house.floor.patient = True
    client = house.connect()
    client.send(post("a", b"1") + upgrade() + frame(b"one") + frame(b"two"))
    assert house.floor.conversations == []
    house.floor.undecided[0].callback(queued("a"))
    client.socket.run()
    assert client.taken().count(b"HTTP/1.1 ") == 2
    assert house.floor.conversations[0].frames == [b"one", b"two"]
    client.send(frame(b"three"))
    assert house.floor.conversations[0].frames[2:] == [b"three"]


def test_the_deadlines_of_http_are_off_after_the_upgrade(house: House) -> None:
    agent = join(house)
    assert house.reactor.getDelayedCalls() == []
    house.pass_time(100)
    assert not agent.client.closed


def test_the_http_channel_is_forgotten(house: House) -> None:
    agent = join(house)
    assert type(agent.socket.protocol).__name__ == "AgentProtocol"
    producer: object = agent.socket.producer
    assert producer is agent.conversation.transport


# -- what is refused


def test_a_plain_get_is_told_to_upgrade(house: House) -> None:
    answer = house.ask(get("/v1/connect"))
    assert (answer.status, answer.problem) == (426, "upgrade-required")
    assert answer.headers["upgrade"] == "websocket"
    assert "Upgrade" in answer.headers["connection"]


@pytest.mark.parametrize("version", ["8", "12", "14", "99"])
def test_another_version_is_told_which_is_spoken(house: House, version: str) -> None:
    answer = house.ask(upgrade(sec_websocket_version=version))
    assert (answer.status, answer.problem) == (426, "upgrade-required")
    assert answer.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize(
    "headers",
    [
        {"connection": None},
        {"connection": "close"},
        {"connection": "upgraded"},
        {"sec_websocket_version": None},
        {"sec_websocket_version": "x"},
        {"sec_websocket_version": "²"},
        {"sec_websocket_version": "13, 8"},
        {"sec_websocket_key": None},
        {"sec_websocket_key": ""},
        {"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ"},
        {"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZR=="},
        {"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==x"},
        {"sec_websocket_key": "dGhl IHNhbXBsZSBub25jZ=="},
        {"sec_websocket_protocol": "chat"},
        {"sec_websocket_protocol": "RELAY.V1"},
        {"sec_websocket_protocol": "bearer.secret"},
        {"sec_websocket_protocol": ""},
        {"content_length": "5"},
        {"transfer_encoding": "chunked"},
    ],
)
def test_a_malformed_upgrade_is_refused(house: House, headers: dict[str, str | None]) -> None:
    client = house.connect()
    client.send(upgrade(**headers) + b"0\r\n\r\n")
    answer = client.answers()[0]
    assert (answer.status, answer.problem) == (400, "invalid-request")
    assert house.floor.conversations == []


def test_a_body_of_an_upgrade_is_never_taken_for_frames(house: House) -> None:
    body = frame(b"injected")
    answer = house.ask(upgrade(content_length=str(len(body))) + body)
    assert (answer.status, answer.problem) == (400, "invalid-request")
    assert house.floor.conversations == []


@pytest.mark.parametrize("twice", ["sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version: 13"])
def test_what_may_stand_once_is_refused_twice(house: House, twice: str) -> None:
    answer = house.ask(upgrade()[:-2] + twice.encode() + b"\r\n\r\n")
    assert (answer.status, answer.problem) == (400, "invalid-request")


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "OPTIONS"])
def test_an_upgrade_by_another_method_is_refused(house: House, method: str) -> None:
    client = house.connect()
    client.send(upgrade(content_length="0").replace(b"GET", method.encode(), 1))
    (answer,) = client.answers(to=method)
    assert answer.status == 400
    assert house.floor.conversations == []


def test_an_upgrade_by_http_1_0_is_refused(house: House) -> None:
    answer = house.ask(upgrade().replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (answer.status, answer.problem) == (400, "invalid-request")


def test_an_upgrade_on_another_path_is_none(house: House) -> None:
    assert house.ask(upgrade().replace(b"/v1/connect", b"/v1/agents")).status == 200
    assert house.ask(upgrade().replace(b"/v1/connect", b"/v1/connect/")).status == 404
    assert house.floor.conversations == []


def test_a_foreign_page_may_not_upgrade(house: House) -> None:
    assert house.ask(upgrade(origin="https://evil.example")).problem == "forbidden-origin"
    assert house.ask(upgrade(origin="null")).problem == "forbidden-origin"
    assert house.ask(upgrade(host="evil.example", origin="http://evil.example")).problem == "misdirected"
    assert house.floor.conversations == []


def test_a_token_in_the_query_of_an_upgrade_is_refused(house: House) -> None:
    assert house.ask(upgrade().replace(b"/v1/connect", b"/v1/connect?access_token=x")).status == 400
    assert house.floor.conversations == []


def test_while_draining_nobody_is_upgraded(house: House) -> None:
    house.floor.closed = Problem("draining", "the relay is shutting down", retry_after=3)
    answer = house.ask(upgrade())
    assert (answer.status, answer.problem, answer.headers["retry-after"]) == (503, "draining", "3")
    assert house.ask(request("POST", "/v1/agents/a/messages", b"1")).status == 200


REFUSED_UPGRADES = {
    "an older version": upgrade(sec_websocket_version="8"),
    "no key": upgrade(sec_websocket_key=None),
    "a foreign page": upgrade(origin="https://evil.example"),
    "a token in the query": upgrade().replace(b"/v1/connect", b"/v1/connect?token=x"),
    "another path": upgrade().replace(b"/v1/connect", b"/healthz"),
    "no path": upgrade().replace(b"/v1/connect", b"/nowhere"),
    "other words": upgrade(upgrade="WebSocket, h2c", sec_websocket_version="9"),
}


@pytest.mark.parametrize("data", REFUSED_UPGRADES.values(), ids=REFUSED_UPGRADES)
def test_what_follows_an_upgrade_that_was_refused_is_never_read_as_a_request(house: House, data: bytes) -> None:
    """A proxy that did not look at the answer passes on frames, and a frame may hold a whole request."""
    client = house.connect()
    client.send(data + post("a", b"1"))
    (answer,) = client.answers()
    assert "close" in answer.headers["connection"]
    client.send(post("a", b"1"))
    assert client.taken() == b""
    assert house.floor.submissions == []
    house.pass_time(6)
    assert client.closed


def test_what_follows_an_upgrade_is_never_read_as_a_request(house: House) -> None:
    agent = join(house, post("a", b"1"))
    assert agent.close_code() == 1002
    assert house.floor.submissions == []
