"""Noise that knows the grammar: sound requests and conversations of every kind, and what an attacker makes of them.

All of it comes from a ``random.Random`` that is made from a seed and a number: the same number is the same bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from tests.e2e.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, upgrade

#: What parsers are known to trip over.
TRIPWIRES: Final = [
    b"\r\n", b"\n", b"\r", b"\0", b"\xff", b":", b" ", b"\t", b"%", b"%2e", b"%00", b"%zz", b"..", b"//", b"?", b"#",
    b"chunked", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n", b"Content-Length: 99\r\n", b"Host: x\r\n",
    b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"HTTP/1.0", b"HTTP/9.9", b"-1", b"0x10", b"1e9", b"NaN",
    b"\xef\xbb\xbf", b"\xed\xa0\x80", b'"', b"{", b"[" * 200, b"null", b'"\\ud800"', b"9" * 50, b"x" * 3000,
    b"\r\n ", b"\r\n\t", b"\r\n\r\n", b"0\r\n\r\n", b"ffffffffffffffff", b"\\", b"\x80", b"\xc0\x80",
    b"\xf4\x90\x80\x80",
]  # fmt: skip

#: In place of any value in JSON.
ODD_VALUES: Final[list[Any]] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**40, -0.0, 1e300, 0.1, "", "x", "\0", "\u2028", "grüße", "*",
    ".", "..", "a/b", "x" * 300, "9" * 30, [], {}, [[]], [None], ["a", "a"], {"a": {}}, {"": ""}, "2027-01-01",
]  # fmt: skip


def spoil(data: bytes, chance: Random, others: Sequence[bytes] = ()) -> bytes:
    """The same with one to four mistakes in it: bits, bytes, cuts, repeats, swaps, what parsers trip over, and pieces
    of ``others``.
    """
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(found) + 1)
        size = chance.choice([1, 1, 2, 5, 20])
        match chance.randrange(8):
            case 0:
                found[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del found[at : at + size]
            case 2:
                found[at:at] = found[at : at + size] * chance.choice([1, 1, 2, 50])
            case 3:
                other = chance.randrange(len(found) + 1)
                found[at : at + size], found[other : other + size] = found[other : other + size], found[at : at + size]
            case 4 if found:
                found[at % len(found)] ^= 1 << chance.randrange(8)
            case 5:
                del found[at:]
            case 6 if others:
                other_one = chance.choice(others)
                found[at:] = other_one[chance.randrange(len(other_one) + 1) :]
            case _:
                found[at:at] = chance.choice(TRIPWIRES)
    return bytes(found)


def twist(value: Any, chance: Random) -> Any:
    """The same JSON value with one thing in it that is not as it should be."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        name = chance.choice(list(value))
        match chance.randrange(5):
            case 0:
                return {key: each for key, each in value.items() if key != name}
            case 1:
                return {
                    **value,
                    chance.choice(["type", "id", "ids", "agent", "x", "", "\0"]): chance.choice(ODD_VALUES),
                }
            case _:
                return {**value, name: twist(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.7:
        at = chance.randrange(len(value))
        return [*value[:at], *[twist(value[at], chance)] * chance.choice([0, 1, 2, 40]), *value[at + 1 :]]
    return chance.choice(ODD_VALUES)


def in_json(value: Any, chance: Random) -> bytes:
    text = json.dumps(value, ensure_ascii=chance.random() < 0.3, separators=chance.choice([(",", ":"), (" , ", " : ")]))
    return text.encode("utf-8", "surrogatepass")


# -- requests


@dataclass(frozen=True)
class Request:
    """A request in pieces."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    chunked: bool = False
    version: str = "1.1"

    def encoded(self, chance: Random) -> bytes:
        headers, body = list(self.headers), self.body
        if self.chunked:
            headers.append(("Transfer-Encoding", "chunked"))
            body = in_chunks(body, chance)
        elif body or self.method == "POST":
            headers.append(("Content-Length", str(len(body))))
        lines = [f"{self.method} {self.path} HTTP/{self.version}", *(f"{name}: {value}" for name, value in headers)]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace") + body


def in_chunks(body: bytes, chance: Random) -> bytes:
    found, at = b"", 0
    while at < len(body):
        size = chance.choice([1, 3, 10, 1000])
        piece, at = body[at : at + size], at + size
        found += b"%x%b\r\n%b\r\n" % (len(piece), chance.choice([b"", b"", b";a=b"]), piece)
    return found + b"0\r\n" + chance.choice([b"", b"", b"A: b\r\n"]) + b"\r\n"


METHODS: Final = ["GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "PoSt", "A-B"]
#: In place of a header's value, whichever header it is.
ODD_HEADERS: Final = [
    "", " ", ",", "0", "-1", "+1", "0x1", "1,1", "1;1", "9" * 30, "x" * 2000, "grüße", "\t", '"', "chunked", "identity",
    "close", "keep-alive", "wait", "wait=", "wait=-1", "wait=1e9", "wait=0, wait=30", "text/plain; charset=", "a/b; c",
    "application/json; charset=utf-16", "text/plain; charset=iso-8859-1", "Bearer", "Basic YTpi", "Bearer a.b.c", "*/*",
    "bytes=0-1", "https://hooks.example/", "http://localhost", "null", "127.0.0.1", "localhost:", "[::1]",
    "evil.example",
]  # fmt: skip
OPTIONAL: Final = [
    ("Prefer", "wait=0"), ("Prefer", "respond-async"), ("TTL", "60"), ("TTL", "0"), ("Topic", "t"),
    ("Relay-Meta-A", "b"), ("Idempotency-Key", "k"), ("Callback-URL", "https://hooks.example/"),
    ("traceparent", "00-a"),
    ("Expect", "100-continue"),
    ("Origin", "http://localhost"), ("Origin", "null"), ("Content-Encoding", "gzip"), ("Connection", "close"),
    ("Accept", "*/*"),
    ("Relay-Session", "none"), ("Last-Event-ID", "0-1"), ("Upgrade", "websocket"), ("User-Agent", "x"),
    ("Cookie", "a=b"),
]  # fmt: skip


class Requests:
    """Sound requests of every call, and spoiled ones. ``tokens`` are those that requests may bring: None for none.

    Messages to ``keeper`` are only posted, and by the first of the tokens: whoever stands for it gets all of them.
    """

    def __init__(self, tokens: Sequence[str | None], agents: Sequence[str], keeper: str) -> None:
        self._tokens = tokens
        self._agents = agents
        self._keeper = keeper
        self._sound = [self.sound(Random(f"sound {number}")).encoded(Random(number)) for number in range(60)]

    def sound(self, chance: Random) -> Request:
        """Nothing is wrong with it."""
        keep = chance.random() < 0.3
        agent = self._keeper if keep else chance.choice(self._agents)
        token = self._tokens[0] if keep else chance.choice(self._tokens)
        headers = [("Host", "localhost"), *([("Authorization", f"Bearer {token}")] if token is not None else [])]
        made = _post(agent, chance) if keep or chance.random() < 0.3 else _any_call(agent, chance)
        more = [] if keep else chance.sample(OPTIONAL, chance.choice([0, 0, 0, 1, 2]))
        return replace(made, headers=(*headers, *made.headers, *more))

    def spoiled(self, chance: Random) -> bytes:
        """One that is wrong in its grammar, in its bytes, in both, or, now and then, in nothing."""
        made = self.sound(chance)
        for _ in range(chance.choice([0, 0, 1, 1, 2])):
            made = _bend(made, chance)
        data = made.encoded(chance)
        return spoil(data, chance, self._sound) if chance.random() < 0.6 else data


PAYLOADS: Final[list[tuple[str, bytes]]] = [
    ("application/json", b'{"a": [1, 2, {"b": null}], "c": "gr\xc3\xbc\xc3\x9fe"}'),
    ("application/json", b'"all is well"'),
    ("application/vnd.x+json; charset=utf-8", b"[1e400, -0.0, 12345678901234567890]"),
    ("text/plain; charset=utf-8", "grüße".encode()),
    ("text/plain; charset=iso-8859-1", b"gr\xfc\xdfe"),
    ("application/octet-stream", bytes(range(256))),
]


def _post(agent: str, chance: Random) -> Request:
    content_type, body = chance.choice(PAYLOADS)
    chunked = chance.random() < 0.2
    headers = (("Content-Type", content_type), ("Prefer", "wait=0"))
    plain = chance.random() < 0.3  # as the hot path wants it
    return Request("POST", f"/v1/agents/{agent}/messages", headers[: 1 if plain else 2], body, chunked and not plain)


def _line(agent: str, chance: Random) -> dict[str, Any]:
    """A message as a line of a batch, or in a ``publish`` frame."""
    made: dict[str, Any] = {"agent": agent, "payload": chance.choice([1, "x", {"a": [1]}, None]), "wait": 0}
    more: list[tuple[str, Any]] = [
        ("content_type", "text/plain"), ("headers", {"a": "b"}), ("ttl", 60), ("topic", "t"), ("async", True),
        ("idempotency_key", "k"), ("ref", "r"), ("callback_url", "https://hooks.example/"),
    ]  # fmt: skip
    made |= dict(chance.sample(more, chance.choice([0, 1, 2, 3])))
    return {**made, "payload": "AAEC", "encoding": "base64"} if chance.random() < 0.2 else made


def _batch(agent: str, chance: Random) -> Request:
    lines = [_line(agent, chance) for _ in range(chance.choice([1, 2, 10]))]
    if chance.random() < 0.5:
        lines[0] = twist(lines[0], chance)
    body = b"\n".join(in_json(line, chance) for line in lines) + chance.choice([b"\n", b"", b"\n\n"])
    return Request("POST", "/v1/messages", (("Content-Type", "application/x-ndjson"),), body, chance.random() < 0.3)


def _acks(agent: str, chance: Random) -> Request:
    said: Any = {"acks": [{"id": "a", "reply": {"b": 1}}], "nacks": [{"id": "c", "delay": 1}], "progress": ["d"]}
    headers = (("Content-Type", "application/json"), ("Relay-Session", "none"))
    body = in_json(twist(said, chance) if chance.random() < 0.5 else said, chance)
    return Request("POST", f"/v1/agents/{agent}/acks", headers, body)


def _any_call(agent: str, chance: Random) -> Request:
    made = chance.randrange(6)
    if made == 0:
        return _batch(agent, chance)
    if made == 1:
        return _acks(agent, chance)
    calls = [
        ("GET", f"/v1/agents/{agent}/messages?payload=true&limit=3"), ("DELETE", f"/v1/agents/{agent}/messages"),
        ("GET", "/v1/messages/m1"), ("DELETE", "/v1/messages/m1"), ("GET", f"/v1/agents/{agent}"),
        ("GET", "/v1/agents?limit=10&prefix=a&connected=true"), ("DELETE", f"/v1/agents/{agent}/session"),
        ("GET", f"/v1/agents/{agent}/next?wait=0&max=3&raw=true&client=x&ack_wait=1&max_in_flight=1&resume=x"),
        ("GET", "/v1/dead-letters?limit=3&cursor=m1"), ("POST", "/v1/dead-letters/m1/requeue"), ("HEAD", "/v1/agents"),
        ("DELETE", "/v1/dead-letters/m1"), ("GET", f"/v1/events?agent={agent}&types=message.queued"),
        ("GET", "/healthz"),
        ("GET", "/readyz"), ("GET", "/openapi.json"), ("GET", "/"), ("GET", "/metrics"), ("OPTIONS", "/v1/agents"),
        ("GET", "/v1/connect"),
    ]  # fmt: skip
    return Request(*chance.choice(calls))


def _bend(made: Request, chance: Random) -> Request:
    """One thing of it is not as it should be, though it is still a request to the eye."""
    headers = list(made.headers) or [("X", "y")]
    at = chance.randrange(len(headers))
    name, value = headers[at]
    bends: list[Callable[[], Request]] = [
        lambda: replace(made, method=chance.choice(METHODS)),
        lambda: replace(made, path=_bent_path(made.path, chance)),
        lambda: replace(made, headers=(*headers[:at], *headers[at + 1 :])),
        lambda: replace(made, headers=(*headers, headers[at])),
        lambda: replace(made, headers=(*headers[:at], (name, chance.choice(ODD_HEADERS)), *headers[at + 1 :])),
        lambda: replace(made, headers=(*headers, (chance.choice(OPTIONAL)[0], chance.choice(ODD_HEADERS)))),
        lambda: replace(made, headers=(*headers, ("Content-Length", chance.choice(ODD_HEADERS)))),
        lambda: replace(made, headers=(*headers, *[("X", "y")] * chance.choice([90, 110]))),
        lambda: replace(made, headers=((name, f"{value}\r\n {value}"), *headers)),
        lambda: replace(made, version=chance.choice(["1.0", "2.0", "1.2", "0.9", "1.1 ", "11"])),
        lambda: replace(made, chunked=not made.chunked),
        lambda: replace(made, body=spoil(made.body, chance) if made.body else b"[1]"),
        lambda: replace(made, body=made.body * chance.choice([0, 2, 100])),
    ]
    return chance.choice(bends)()


def _bent_path(path: str, chance: Random) -> str:
    at = chance.randrange(len(path) + 1)
    odd = [
        "/",
        "//",
        "/./",
        "/../",
        "%2f",
        "%",
        "%zz",
        "%00",
        "?",
        "#",
        ";",
        "&a=b",
        "?token=x",
        "+",
        "%C3%BC",
        "*",
        "~",
    ]
    if chance.random() < 0.2:
        return chance.choice(["http://localhost", "http://evil.example", "ftp://x", "//x", "*", ""]) + path
    return path[:at] + chance.choice(odd) + path[at + chance.choice([0, 0, 1]) :]


# -- conversations


FRAMES: Final[list[dict[str, Any]]] = [
    {"type": "ack", "ids": ["a", "b"]},
    {"type": "ack", "id": "a", "reply": {"b": [1, None]}, "confirm": True},
    {"type": "nack", "id": "a", "requeue": True, "delay": 3, "reason": "grüße"},
    {"type": "nack", "id": "a", "requeue": False},
    {"type": "progress", "id": "a"},
    {"type": "progress", "ids": ["a", "b"]},
    {"type": "window", "max_in_flight": 10},
    {"type": "window", "max_in_flight": 0},
    {"type": "ping", "ref": "r"},
    {"type": "ping"},
    {"type": "auth", "token": "wrong"},
    {"type": "register", "agent": "again"},
    {"type": "unheard", "of": []},
]
REGISTER: Final[dict[str, Any]] = {
    "client": "noise/1", "max_in_flight": 5, "ack_wait": 1, "max_frame": 70000, "raw": True, "batch": True,
    "resume": "none", "on_duplicate": "replace",
}  # fmt: skip


class Conversations:
    """What agents say, with their upgrade in front of it."""

    def __init__(self, agents: Sequence[str], keeper: str) -> None:
        self._agents = [*agents, keeper]

    def spoiled(self, port: int, agent: str, token: str | None, size: int, chance: Random) -> bytes:
        """An upgrade, a registration, ``size`` frames in all, and a close. ``agent`` is nobody else's meanwhile."""
        offers = ["relay.v1"] if token is None or chance.random() < 0.5 else ["relay.v1", f"bearer.{token}"]
        shown = {"token": token} if token is not None and len(offers) == 1 else {}
        wishes = dict(chance.sample(list(REGISTER.items()), chance.choice([0, 0, 1, 3])))
        register: Any = {"type": "register", "agent": agent, **shown, **wishes}
        if chance.random() < 0.1:
            register = twist(register, chance)
        said = [frame(in_json(register, chance), key=_key(chance))]
        said += [self._frame(chance) for _ in range(size - 1)]
        return (
            upgrade(port, protocols=offers) + b"".join(said) + frame(struct.pack("!H", 1000), CLOSE, key=_key(chance))
        )

    def _frame(self, chance: Random) -> bytes:
        payload = self._payload(chance)
        match chance.random():
            case lot if lot < 0.75:
                return frame(payload, key=_key(chance))
            case lot if lot < 0.90:
                return self._in_pieces(payload, chance)
            case lot if lot < 0.96:
                return frame(payload[: chance.choice([0, 1, 125])], chance.choice([PING, PONG]), key=_key(chance))
            case lot if lot < 0.985:
                return _unlawful(payload, chance)
            case _:
                return spoil(frame(payload, key=_key(chance)), chance)

    def _payload(self, chance: Random) -> bytes:
        told: Any = chance.choice(FRAMES)
        if chance.random() < 0.2:
            told = {"type": "publish", **_line(chance.choice(self._agents), chance)}
        match chance.random():
            case lot if lot < 0.3:
                told = twist(told, chance)
            case lot if lot < 0.6:
                return spoil(in_json(told, chance), chance)
        return in_json(told, chance)

    def _in_pieces(self, payload: bytes, chance: Random) -> bytes:
        """The same message in fragments, empty ones too, with control frames in between."""
        cuts = sorted(chance.randrange(len(payload) + 1) for _ in range(chance.choice([1, 2, 5, 40])))
        pieces = [payload[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
        said = b""
        for number, piece in enumerate(pieces):
            opcode = CONTINUATION if number else TEXT
            said += frame(piece, opcode, fin=number == len(pieces) - 1, key=_key(chance))
            if chance.random() < 0.2 and number < len(pieces) - 1:
                said += frame(b"between", chance.choice([PING, PONG]), key=_key(chance))
        return said


def _key(chance: Random) -> bytes:
    return chance.choice([b"\0\0\0\0", b"\x5a\x01\xff\x10", chance.randbytes(4)])


def _unlawful(payload: bytes, chance: Random) -> bytes:
    """A frame that RFC 6455 forbids: the relay must end the connection, and in order."""
    size = len(payload)
    return chance.choice(
        [
            frame(payload, key=None),
            frame(payload, BINARY),
            frame(payload, chance.choice([3, 7, 11, 15])),
            frame(payload, rsv=chance.randint(1, 7)),
            frame(payload, CONTINUATION),
            frame(payload, fin=False) + frame(payload),
            frame(payload[:9], PING, fin=False),
            frame(payload * 10, PING),
            frame(b"\x03", CLOSE),
            frame(struct.pack("!H", chance.choice([0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535])), CLOSE),
            frame(struct.pack("!H", 1000) + b"\xff\xfe", CLOSE),
            b"\x81\xfe" + struct.pack("!H", size % 126) + b"\0\0\0\0" + payload[: size % 126],
            b"\x81\xff"
            + struct.pack("!Q", chance.choice([5, 2**21, 2**21 + 1, 2**32, 2**63, 2**64 - 1]))
            + b"\0\0\0\0",
        ]
    )
