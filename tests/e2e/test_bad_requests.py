"""Bad input at the HTTP door: each has its documented answer, and nothing else is disturbed (protocol 1).

The tests of this module share one relay, and one bystander: a publisher and an agent that are at it all the time.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.bystander import undisturbed
from tests.e2e.door import converse, dial, get, post, request, rest_of, take_answer
from tests.e2e.support import Daemon

pytestmark = pytest.mark.e2e
Join = Callable[..., Agent]
IMPATIENT = {
    "RELAY_LIMITS_HEAD_SECONDS": "2",
    "RELAY_LIMITS_BODY_GRACE": "1",
    "RELAY_LIMITS_IDLE_SECONDS": "2",
}


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A relay with short patience, beside which a bystander goes about its business all the time."""
    with Daemon(tmp_path_factory.mktemp("relay"), environment=IMPATIENT) as daemon, undisturbed(daemon):
        yield daemon
    assert not daemon.complaints(), daemon.past


NOT_JSON = {
    "cut off": b"{",
    "a bare word": b"nul",
    "a comma too many": b"[1,]",
    "single quotes": b"{'a': 1}",
    "two values": b"1 2",
    "only blanks": b"   ",
    "NaN": b"NaN",
    "NaN within": b'{"a": [NaN]}',
    "Infinity": b"Infinity",
    "minus Infinity": b"[-Infinity]",
    "a leading zero": b"01",
    "a leading plus": b"+1",
    "a raw newline in a string": b'"a\nb"',
    "a bad escape": b'"\\x41"',
    "a lone high surrogate": b'"\\ud800"',
    "a lone low surrogate": b'{"\\udc00": 1}',
    "invalid UTF-8": b'"\xff"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "a BOM": b"\xef\xbb\xbf{}",
    "UTF-16": '"hello"'.encode("utf-16"),
    "129 deep": b"[" * 129 + b"]" * 129,
    "2,000 deep": b"[" * 2000 + b"]" * 2000,
    "2,000 deep objects": b'{"a":' * 2000 + b"1" + b"}" * 2000,
    "500,000 deep and never closed": b"[" * 500_000,
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_json_is_refused(relay: Daemon, body: bytes) -> None:
    answer = post(relay.port, "json", body)
    assert (answer.status, answer.problem) == (400, "invalid-json")
    assert get(relay.port, "/v1/agents/json").status == 404


ODD_BUT_JSON = {
    "5,000 digits": b"1" * 5000,
    "minus zero": b"[-0.0, -0, 0e0]",
    "beyond any float": b"[1e400, -1e-400, 1E+999]",
    "30 digits": b'{"amount": 123456789012345678901234567890.123456789}',
    "128 deep": b"[" * 128 + b"]" * 128,
    "brackets in a string": b'"' + b"[{" * 3000 + b'"',
    "repeated names": b'{"a": 1, "a": 2}',
    "blanks": b' \t\r\n{ "a" :\n1 } \n',
    "escapes": rb'"\u00e9\ud83d\ude00\/\u0000"',
}


@pytest.mark.parametrize(("name", "body"), ODD_BUT_JSON.items(), ids=ODD_BUT_JSON)
def test_odd_but_valid_json_arrives_byte_for_byte(relay: Daemon, join: Join, name: str, body: bytes) -> None:
    agent = f"odd-{list(ODD_BUT_JSON).index(name)}"
    assert post(relay.port, agent, body).outcome == "queued: away"
    listener = join(relay, agent, acknowledge)
    listener.next()
    assert post(relay.port, agent, body, wait=10).outcome == "delivered"
    assert [payload.strip() for payload in listener.slices] == [body.strip()] * 2


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("text/plain; charset=utf-8", b"\xff\xfe", "400 invalid-text"),
        ("text/plain; charset=us-ascii", "é".encode(), "400 invalid-text"),
        ("text/plain; charset=koi8-r", b"hello", "415 unsupported-media-type"),
        ("text/plain; charset=utf-16", "hello".encode("utf-16"), "415 unsupported-media-type"),
        (None, b"no json, no type", "415 unsupported-media-type"),
        ("application/json", b"", "400 empty-body"),
        ("text/plain", b"", "400 empty-body"),
    ],
)
def test_a_body_that_is_not_what_it_says_is_refused(
    relay: Daemon, content_type: str | None, body: bytes, expected: str
) -> None:
    assert post(relay.port, "typed", body, content_type=content_type).outcome == expected


def test_a_compressed_body_is_refused(relay: Daemon) -> None:
    answer = post(relay.port, "zipped", b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    assert answer.problem == "unsupported-media-type"


@pytest.mark.parametrize(
    "agent",
    [
        ".",
        "..",
        "%2e",
        "%2E%2e",
        "a%20b",
        "a%2Fb",
        "a%2525b",
        "%252e",
        "%C3%A4",
        "%00",
        "%",
        "%zz",
        "x" * 129,
        "a+b",
        "*",
    ],
)
def test_what_is_no_agent_id_is_refused(relay: Daemon, agent: str) -> None:
    line = f"POST /v1/agents/{agent}/messages HTTP/1.1\r\n"
    head = "Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 1\r\nConnection: close\r\n\r\n1"
    answer = converse(relay.port, (line + head).encode())
    assert (answer.status, answer.problem) == (400, "invalid-agent-id")


def test_an_agent_id_is_decoded_once(relay: Daemon) -> None:
    assert post(relay.port, "mail%3ame%40example.org", "1").json["agent"] == "mail:me@example.org"
    assert post(relay.port, "...", "1").json["agent"] == "..."


@pytest.mark.parametrize(
    "header",
    ["TTL: soon", "Topic: two words", "Idempotency-Key: ", "Callback-URL: https://example.org/", "Relay-Meta-: 1"],
)
def test_a_malformed_header_is_never_ignored(relay: Daemon, header: str) -> None:
    name, _, value = header.partition(": ")
    answer = post(relay.port, "headers", "1", headers={name: value})
    assert answer.outcome == "400 invalid-header"


OUT_OF_BOUNDS = {
    "a time to live below zero": "TTL: -1",
    "a time to live in parts": "TTL: 1.5",
    "an empty time to live": "TTL:",
    "a time to live of 400 digits": f"TTL: 1{'0' * 400}",
    "a topic of 33 characters": f"Topic: {'x' * 33}",
    "a topic with a dot": "Topic: a.b",
    "an empty topic": "Topic:",
    "a key of 256 characters": f"Idempotency-Key: {'x' * 256}",
    "a key with a blank": "Idempotency-Key: a b",
    "a key that is not visible": "Idempotency-Key: \xe9",
    "a callback without TLS": "Callback-URL: http://example.org/",
    "a callback to nowhere": "Callback-URL: nonsense",
    "a callback to nobody's port": "Callback-URL: https://example.org:0/",
    "a callback of 3,000 characters": f"Callback-URL: https://example.org/{'x' * 3000}",
    "a header for the agent that is not UTF-8": "Relay-Meta-Room: \xe9",
    "33 headers for the agent": "\r\n".join(f"Relay-Meta-H{number}: x" for number in range(33)),
    "headers for the agent of more than 8 KiB": f"Relay-Meta-A: {'x' * 5000}\r\nRelay-Meta-B: {'x' * 5000}",
    "two content types": "Content-Type: application/json",
    "two times to live": "TTL: 60\r\nTTL: 60",
    "two topics": "Topic: a\r\nTopic: a",
    "two keys": "Idempotency-Key: a\r\nIdempotency-Key: b",
    "two callbacks": "Callback-URL: https://example.org/\r\nCallback-URL: https://example.org/",
    "a header for the agent twice": "Relay-Meta-Room: 1\r\nrelay-meta-room: 1",
    "now or never, later": "TTL: 0\r\nPrefer: respond-async",
}


@pytest.mark.parametrize("headers", OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS)
def test_a_header_that_is_out_of_bounds_or_doubled_is_refused_and_nothing_is_kept(relay: Daemon, headers: str) -> None:
    head = "POST /v1/agents/doubled/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    answer = converse(relay.port, f"{head}{headers}\r\nContent-Length: 1\r\n\r\n1".encode("latin-1"))
    assert (answer.status, answer.problem) == (400, "invalid-header")
    assert get(relay.port, "/v1/agents/doubled").status == 404


def test_traces_and_unknown_preferences_are_let_through(relay: Daemon) -> None:
    told = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=1"}
    assert post(relay.port, "traced", "1", headers=told).outcome == "queued: away"
    for prefer in ("wait=soon", "wait=-1", "handling=lenient", "wait", "respond-later; x=1", ",,;="):
        assert post(relay.port, "traced", "1", headers={"Prefer": prefer}).outcome == "queued: away"


@pytest.mark.parametrize(("asked", "applied"), [("wait=0", "wait=0"), ("wait=9999", "wait=30"), ('wait="3"', "wait=3")])
def test_a_wait_is_clamped_and_the_answer_says_so(relay: Daemon, asked: str, applied: str) -> None:
    answer = post(relay.port, "clamped", "1", headers={"Prefer": asked})
    assert answer.headers["preference-applied"] == applied


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/agents/x/messages/y/z", "404 not-found"),
        ("GET", "/nowhere", "404 not-found"),
        ("PUT", "/v1/agents/x/messages", "405 method-not-allowed"),
        ("DELETE", "/v1/agents", "405 method-not-allowed"),
        ("POST", "/healthz", "405 method-not-allowed"),
    ],
)
def test_an_unknown_path_or_method_is_a_problem(relay: Daemon, method: str, path: str, expected: str) -> None:
    answer = request(relay.port, method, path)
    assert answer.outcome == expected
    assert answer.status == 404 or answer.headers["allow"]


def test_a_token_in_the_query_is_refused(relay: Daemon) -> None:
    assert request(relay.port, "POST", "/v1/agents/x/messages?token=secret", b"1").status == 400


ATTACKS = {
    "a page on the internet": {"Origin": "https://evil.example"},
    "a page that is nowhere": {"Origin": "null"},
    "a page on another port": {"Origin": "http://127.0.0.1:1"},
    "a look-alike": {"Origin": "http://127.0.0.1.evil.example"},
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_foreign_page_may_not_post(relay: Daemon, attack: dict[str, str]) -> None:
    answer = post(relay.port, "paged", "hi", content_type="text/plain", headers=attack)
    assert (answer.status, answer.problem) == (403, "forbidden-origin")
    assert get(relay.port, "/healthz", headers=attack).status == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "a@127.0.0.1"]
)
def test_a_name_that_was_bound_to_loopback_is_not_answered_to(relay: Daemon, host: str) -> None:
    head = f"POST /v1/agents/rebound/messages HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\n"
    answer = converse(relay.port, f"{head}Content-Length: 2\r\nConnection: close\r\n\r\nhi".encode())
    assert answer.status in (421, 400)
    assert answer.status == 400 or answer.problem == "misdirected"
    assert get(relay.port, "/v1/agents/rebound").status == 404


@pytest.mark.parametrize("host", ["localhost", "localhost:{port}", "127.0.0.1", "[::1]:{port}", "127.0.0.1:{port}"])
def test_addresses_and_localhost_are_answered_to(relay: Daemon, host: str) -> None:
    assert get(relay.port, "/healthz", headers={"Host": host.format(port=relay.port)}).status == 200


def test_the_relays_own_page_may_post(relay: Daemon) -> None:
    own = {"Origin": f"http://127.0.0.1:{relay.port}"}
    assert post(relay.port, "own", "hi", content_type="text/plain", headers=own).outcome == "queued: away"


def send_until_stopped(line: socket.socket, piece: bytes, limit: int) -> int:
    """Send the piece again and again, up to ``limit`` bytes or until the other side says something; how much went."""
    sent = 0
    while sent < limit:
        readable, writable, _ = select.select([line], [line], [], 20)
        if readable or not writable:
            break
        try:
            sent += line.send(piece)
        except ConnectionError:
            break
    return sent


LARGE = 50 * 1024 * 1024


def test_a_body_of_50_mb_is_refused_without_being_taken(relay: Daemon) -> None:
    before = relay.resident()
    with dial(relay.port) as line:
        head = f"POST /v1/agents/large/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LARGE}\r\n"
        line.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode())
        send_until_stopped(line, b"1" * 65536, LARGE)
        answer, _ = take_answer(line)
    assert (answer.status, answer.problem) == (413, "payload-too-large")
    assert relay.resident() - before < 16 * 1024 * 1024


def test_a_body_of_50_mb_in_chunks_is_refused_when_it_passes_the_limit(relay: Daemon) -> None:
    before = relay.resident()
    with dial(relay.port) as line:
        line.sendall(
            b"POST /v1/agents/large/messages HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: application/json\r\n\r\n"
        )
        send_until_stopped(line, b"10000\r\n" + b"1" * 65536 + b"\r\n", LARGE)
        answer, _ = take_answer(line)
    assert (answer.status, answer.problem) == (413, "payload-too-large")
    assert relay.resident() - before < 16 * 1024 * 1024


def test_a_body_of_the_largest_size_is_taken_and_one_byte_more_is_not(relay: Daemon) -> None:
    assert post(relay.port, "edge", b"x" * 1024 * 1024, content_type="text/plain").outcome == "queued: away"
    answer = post(relay.port, "edge", b"x" * (1024 * 1024 + 1), content_type="text/plain")
    assert answer.problem == "payload-too-large"


def test_a_body_that_stalls_is_timed_out(relay: Daemon) -> None:
    head = "POST /v1/agents/stalled/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    answer = converse(relay.port, f'{head}Content-Length: 1000\r\n\r\n"begun'.encode())
    assert (answer.status, answer.problem) == (408, "request-timeout")


def drip(line: socket.socket, piece: bytes, count: int) -> None:
    """One piece each tenth of a second, until the other side says something. The pace is the attack, not a wait."""
    for _ in range(count):
        readable, _, _ = select.select([line], [], [], 0.1)
        if readable:
            return
        line.sendall(piece)
    raise AssertionError("nobody minded")


def test_a_body_that_drips_is_timed_out(relay: Daemon) -> None:
    with dial(relay.port) as line:
        head = "POST /v1/agents/dripping/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        line.sendall(f"{head}Content-Length: 1000\r\n\r\n".encode())
        drip(line, b"1", 200)
        answer, _ = take_answer(line)
    assert (answer.status, answer.problem) == (408, "request-timeout")


def test_a_head_that_drips_is_timed_out(relay: Daemon) -> None:
    with dial(relay.port) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        drip(line, b"z", 200)
        answer, _ = take_answer(line)
    assert (answer.status, answer.problem) == (408, "request-timeout")


def test_a_connection_without_a_request_is_closed(relay: Daemon) -> None:
    with dial(relay.port) as line:
        rest_of(line)
    with dial(relay.port) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert rest_of(line).startswith(b"HTTP/1.1 200 ")


def test_a_head_that_is_too_large_is_refused(relay: Daemon) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    big = converse(relay.port, head + b"X-Big: " + b"y" * 20_000 + b"\r\n\r\n")
    assert (big.status, big.problem) == (431, "headers-too-large")
    many = converse(relay.port, head + b"".join(b"X-%d: 1\r\n" % number for number in range(200)) + b"\r\n")
    assert (many.status, many.problem) == (431, "headers-too-large")


@pytest.mark.parametrize(
    "head",
    [
        "Host: localhost\r\nHost: 127.0.0.1",
        "X-Nothing: 1",
        "Host: localhost\r\nContent-Length: 1\r\nContent-Length: 2",
        "Host: localhost\r\nContent-Length: -1",
        "Host: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
        "Host: localhost\r\nContent-Length : 1",
        "Host: localhost\r\nTransfer-Encoding: identity, chunked",
    ],
)
def test_a_head_that_two_readers_may_read_differently_is_refused(relay: Daemon, head: str) -> None:
    line = "POST /v1/agents/smuggled/messages HTTP/1.1\r\n"
    assert converse(relay.port, f"{line}{head}\r\nConnection: close\r\n\r\n1".encode()).status == 400


def test_noise_is_not_answered_with_a_trace(relay: Daemon) -> None:
    for noise in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + b"\x00" * 64 + b"\r\n\r\n",
        b"\r\n" * 100,
        b"SSH-2.0-x\r\n",
    ):
        with dial(relay.port) as line:
            line.sendall(noise)
            assert b"Traceback" not in rest_of(line)
