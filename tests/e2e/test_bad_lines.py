"""Bad messages where a message is JSON: as lines of a batch (protocol 1.2) and in ``publish`` frames (2.1).

The tests of this module share one relay, and one bystander: a publisher and an agent that are at it all the time.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.bystander import undisturbed
from tests.e2e.door import converse, dial, get, parse_head, post, request, rest_of
from tests.e2e.support import Daemon
from tests.e2e.wire import Wire, frame

pytestmark = pytest.mark.e2e
OpenWire = Callable[..., Wire]
MIB = 1024 * 1024
NDJSON = {"Content-Type": "application/x-ndjson"}
#: So little that a publisher who does not read is noticed soon.
IMPATIENT = {"RELAY_LIMITS_UNREAD": "65536", "RELAY_LIMITS_STALLED_SECONDS": "1"}


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A relay with short patience, beside which a bystander goes about its business all the time."""
    with Daemon(tmp_path_factory.mktemp("relay"), environment=IMPATIENT) as daemon, undisturbed(daemon):
        yield daemon
    assert not daemon.complaints(), daemon.past


DIGITS = "1" + "0" * 400

#: What is wrong with it, its members, the word that it is refused with.
MESSAGES: dict[str, tuple[str, str]] = {
    "nothing": ("", "invalid-json"),
    "no payload": ('"agent":"bad"', "invalid-json"),
    "no agent": ('"payload":1', "invalid-json"),
    "an agent that is a number": ('"agent":7,"payload":1', "invalid-json"),
    "an agent that is two dots": ('"agent":"..","payload":1', "invalid-agent-id"),
    "an agent with a blank": ('"agent":"a b","payload":1', "invalid-agent-id"),
    "an agent of 129 characters": (f'"agent":"{"x" * 129}","payload":1', "invalid-agent-id"),
    "NaN": ('"agent":"bad","payload":NaN', "invalid-json"),
    "a lone surrogate": ('"agent":"bad","payload":"\\ud800"', "invalid-json"),
    "a payload of more than a MiB": (f'"agent":"bad","payload":"{"x" * MIB}"', "payload-too-large"),
    "another encoding": ('"agent":"bad","payload":"YQ==","encoding":"gzip"', "invalid-json"),
    "no base64": ('"agent":"bad","payload":"$","encoding":"base64"', "invalid-json"),
    "base64 of nothing": ('"agent":"bad","payload":"","encoding":"base64"', "empty-body"),
    "base64 that is no text": (
        '"agent":"bad","payload":"/w==","encoding":"base64","content_type":"text/plain"',
        "invalid-text",
    ),
    "base64 that is no JSON": (
        '"agent":"bad","payload":"ew==","encoding":"base64","content_type":"application/json"',
        "invalid-json",
    ),
    "a content type with a line in it": ('"agent":"bad","payload":1,"content_type":"a/b\\r\\nc"', "invalid-header"),
    "a content type of 256 characters": (f'"agent":"bad","payload":1,"content_type":"{"x" * 256}"', "invalid-header"),
    "a time to live that is text": ('"agent":"bad","payload":1,"ttl":"60"', "invalid-json"),
    "a time to live in parts": ('"agent":"bad","payload":1,"ttl":1.5', "invalid-json"),
    "a time to live below zero": ('"agent":"bad","payload":1,"ttl":-1', "invalid-header"),
    "now or never, later": ('"agent":"bad","payload":1,"ttl":0,"async":true', "invalid-header"),
    "a topic with a blank": ('"agent":"bad","payload":1,"topic":"two words"', "invalid-header"),
    "a topic of 33 characters": (f'"agent":"bad","payload":1,"topic":"{"x" * 33}"', "invalid-header"),
    "a key of 256 characters": (f'"agent":"bad","payload":1,"idempotency_key":"{"x" * 256}"', "invalid-header"),
    "an empty key": ('"agent":"bad","payload":1,"idempotency_key":""', "invalid-header"),
    "a callback to anybody": ('"agent":"bad","payload":1,"callback_url":"https://example.org/"', "invalid-header"),
    "headers that are a list": ('"agent":"bad","payload":1,"headers":["a"]', "invalid-json"),
    "a header that is a number": ('"agent":"bad","payload":1,"headers":{"a":1}', "invalid-json"),
    "a header with a line in it": ('"agent":"bad","payload":1,"headers":{"a":"x\\r\\ny: z"}', "invalid-header"),
    "a header without a name": ('"agent":"bad","payload":1,"headers":{"":"x"}', "invalid-header"),
    "33 headers": (
        f'"agent":"bad","payload":1,"headers":{json.dumps({f"h{number}": "x" for number in range(33)})}',
        "invalid-header",
    ),
    "headers of 8 KiB": (f'"agent":"bad","payload":1,"headers":{{"a":"{"x" * 8192}"}}', "invalid-header"),
    "a wait that is text": ('"agent":"bad","payload":1,"wait":"long"', "invalid-json"),
    "a wait of 400 digits": (f'"agent":"bad","payload":1,"wait":{DIGITS}', "invalid-json"),
    "async that is no bool": ('"agent":"bad","payload":1,"async":"yes"', "invalid-json"),
}

ODD: dict[str, str] = {
    "fields that nobody knows": '"colour":{"a":[1]},"priority":1e999',
    "a time to live of 400 digits": f'"ttl":{DIGITS}',
    "a time to live of 31 days": f'"ttl":{31 * 86400}',
    "a wait below zero": '"wait":-1',
    "a name that is given twice": '"topic":"two words","topic":"one"',
    "fields that are null": '"topic":null,"ttl":null,"idempotency_key":null,"headers":null,"wait":null,"ref":null',
}


def batch(relay: Daemon, *lines: bytes) -> dict[int, dict[str, Any]]:
    """The results by line."""
    answer = request(relay.port, "POST", "/v1/messages", b"\n".join(lines) + b"\n", NDJSON)
    assert answer.status == 200, answer.body
    results = [json.loads(line) for line in answer.body.splitlines()]
    found = {result["line"]: result for result in results}
    assert len(found) == len(results)
    return found


def word(result: dict[str, Any]) -> str:
    return str(result["problem"]["type"]).removeprefix("/problems/")


def test_each_bad_line_is_told_what_is_wrong_with_it_and_spoils_itself_alone(relay: Daemon) -> None:
    good = b'{"agent":"good","payload":1}'
    lines = [line for members, _ in MESSAGES.values() for line in (f"{{{members}}}".encode(), good)]
    found = batch(relay, *lines)
    told = {name: word(found[number]) for number, name in zip(range(1, len(lines), 2), MESSAGES, strict=True)}
    assert told == {name: expected for name, (_, expected) in MESSAGES.items()}
    assert {found[number]["status"] for number in range(2, len(lines) + 1, 2)} == {"queued"}
    assert get(relay.port, "/v1/agents/good").json["queued"] == len(MESSAGES)
    assert get(relay.port, "/v1/agents/bad").status == 404


NO_LINES = {
    "no object": b"7",
    "a list": b'[{"agent":"bad","payload":1}]',
    "half an object": b'{"agent":"bad"',
    "two objects": b'{"agent":"bad","payload":1}{"agent":"bad","payload":1}',
    "a BOM": b'\xef\xbb\xbf{"agent":"bad","payload":1}',
    "no UTF-8": b'{"agent":"bad","payload":"\xff"}',
    "UTF-16": '{"agent":"bad","payload":1}'.encode("utf-16-le").replace(b"\n", b""),
    "129 deep": b'{"agent":"bad","payload":' + b"[" * 129 + b"]" * 129 + b"}",
    "100,000 deep": b'{"agent":"bad","payload":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "noise": bytes(range(11, 256)),
}


@pytest.mark.parametrize("bad", NO_LINES.values(), ids=NO_LINES)
def test_what_is_no_line_at_all_is_invalid_json(relay: Daemon, bad: bytes) -> None:
    found = batch(relay, bad, b'{"agent":"beside","payload":1,"ref":"good"}\r', b"", b"  \t", bad)
    assert {number: word(found[number]) for number in (1, 5)} == {1: "invalid-json", 5: "invalid-json"}
    assert (found[2]["ref"], found[2]["status"]) == ("good", "queued")
    assert sorted(found) == [1, 2, 5]


@pytest.mark.parametrize("members", ODD.values(), ids=ODD)
def test_what_is_odd_but_allowed_is_taken(relay: Daemon, open_wire: OpenWire, members: str) -> None:
    line = f'{{"agent":"odd","payload":1,{members}'
    assert batch(relay, f"{line}}}".encode())[1]["status"] == "queued"
    wire = open_wire(relay)
    register_as_publisher(wire)
    if '"ref"' not in members:
        wire.put(frame(f'{line},"ref":"r","type":"publish"}}'))
        assert wire.hear("result")["status"] == "queued"


@pytest.mark.parametrize("ref", ["7", f'"{"x" * 65}"', "{}"])
def test_a_ref_that_is_none_is_refused_and_not_repeated(relay: Daemon, ref: str) -> None:
    found = batch(relay, f'{{"agent":"bad","payload":1,"ref":{ref}}}'.encode())[1]
    assert (word(found), "ref" in found) == ("invalid-json", False)


def register_as_publisher(wire: Wire) -> None:
    wire.say(type="register")
    wire.hear("registered")


@pytest.mark.parametrize(("members", "expected"), MESSAGES.values(), ids=MESSAGES)
def test_a_bad_publication_is_told_what_is_wrong_and_has_no_effect(
    relay: Daemon, open_wire: OpenWire, members: str, expected: str
) -> None:
    wire = open_wire(relay)
    register_as_publisher(wire)
    tail = f",{members}" if members else ""
    wire.put(frame(f'{{"type":"publish","ref":"r"{tail}}}') + frame(f'{{"type":"publish"{tail}}}'))
    # What is no JSON is no frame; what is no message is a publication that failed.
    told = [wire.hear(), wire.hear()]
    if told[0]["type"] == "result":
        assert (told[0]["ref"], word(told[0]), told[1]["code"]) == ("r", expected, expected)
    else:
        assert [each["code"] for each in told] == ["invalid-frame"] * 2
    assert wire.barrier() == []
    assert get(relay.port, "/v1/agents/bad").status == 404


# -- batches that do not behave


def open_batch(relay: Daemon, length: int | None = None) -> socket.socket:
    """A batch of which the head is written."""
    line = dial(relay.port)
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    head = (
        "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n"
    )
    line.sendall(f"{head}{size}\r\n\r\n".encode())
    return line


def test_a_line_of_10_mb_is_skipped_without_being_kept(relay: Daemon) -> None:
    good = b'{"agent":"after-10-mb","payload":1}\n'
    batch(relay, good)
    relay.forget_peak()
    before = relay.peak()
    long = b'{"agent":"after-10-mb","payload":"' + b"x" * 10_000_000 + b'"}\n'
    with open_batch(relay, 2 * len(long) + 2 * len(good)) as line:
        for part in (good, long, long, good):
            line.sendall(part)
        told = rest_of(line)
    assert told.count(b'"status":"queued"') == 2
    assert told.count(b"payload-too-large") == 2
    assert relay.peak() - before < 8 * MIB


def test_a_line_without_an_end_is_never_kept(relay: Daemon) -> None:
    relay.forget_peak()
    before = relay.peak()
    with open_batch(relay) as line:
        for _ in range(800):
            line.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        line.sendall(b"0\r\n\r\n")
        assert rest_of(line).count(b"payload-too-large") == 1
    assert relay.peak() - before < 8 * MIB


def test_a_batch_that_is_cut_off_in_the_middle_of_a_chunk_counts_as_far_as_it_came(relay: Daemon) -> None:
    data = b'{"agent":"torn","payload":1}\n{"agent":"torn","payload":2}\n{"agent":"torn","payload":3}'
    with open_batch(relay) as line:
        line.sendall(b"%x\r\n%b" % (len(data) + 1, data))
        line.shutdown(socket.SHUT_WR)
        rest_of(line)
    assert post(relay.port, "nobody", "0", wait=0).outcome == "queued: away"
    assert get(relay.port, "/v1/agents/torn").json["queued"] == 2


def test_who_sends_without_end_and_never_reads_is_cut_off_and_what_was_taken_is_kept(relay: Daemon) -> None:
    relay.forget_peak()
    before = relay.peak()
    lines = b'{"agent":"deaf","payload":1,"wait":0}\n' * 1000
    piece = b"%x\r\n%b\r\n" % (len(lines), lines)
    line = dial(relay.port)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with line:
        line.sendall(
            b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        with pytest.raises(ConnectionError):
            for _ in range(5000):
                line.sendall(piece)
    assert post(relay.port, "nobody", "0", wait=0).outcome == "queued: away"
    assert get(relay.port, "/v1/agents/deaf").json["queued"] >= 1000
    assert relay.peak() - before < 32 * MIB


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-ndjson, application/json"])
def test_what_does_not_say_that_it_is_a_batch_is_refused(relay: Daemon, content_type: str) -> None:
    answer = request(
        relay.port, "POST", "/v1/messages", b'{"agent":"bad","payload":1}\n', {"Content-Type": content_type}
    )
    assert answer.problem == "unsupported-media-type"


def test_a_batch_that_is_no_batch_by_its_head_is_refused_before_its_body(relay: Daemon) -> None:
    head = "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
    for name in ("Content-Encoding: gzip", "Content-Type: application/x-ndjson\r\nContent-Type: application/json"):
        line = "" if name.startswith("Content-Type") else "Content-Type: application/x-ndjson\r\n"
        answer = converse(relay.port, f"{head}{line}{name}\r\nContent-Length: 99\r\n\r\n".encode())
        assert answer.problem == "unsupported-media-type"


def test_an_empty_batch_is_answered_with_nothing(relay: Daemon) -> None:
    with open_batch(relay, 0) as line:
        head, _, body = rest_of(line).partition(b"\r\n\r\n")
    assert parse_head(head).status == 200
    assert body == b"0\r\n\r\n"
