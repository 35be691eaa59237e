"""A WebSocket client that can be told to do anything, over a plain blocking socket (RFC 6455).

Half a frame, a wrong mask, a binary frame, no reading at all: a real client library would refuse to do what these tests
need. ``Wire`` does nothing by itself but answer pings while it is being read.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.e2e.door import Answer, take_answer

PATIENCE = 25.0  #: seconds until a test gives up: less than a heartbeat, or pings would let it wait for ever
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Ended(Exception):
    """The connection is over: ``code`` is the close code, or 1006 when there was none."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class Frame(NamedTuple):
    """One frame as it came."""

    fin: bool
    opcode: int
    payload: bytes


def masked(payload: bytes, key: bytes) -> bytes:
    """XOR with the key. As one big number: byte by byte would take minutes for 50 MB."""
    size = len(payload)
    pattern = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(pattern)).to_bytes(size)


def frame(
    payload: bytes | str, opcode: int = TEXT, *, fin: bool = True, rsv: int = 0, key: bytes | None = b"\x5a\x01\xff\x10"
) -> bytes:
    """A client's frame. ``key`` None leaves it unmasked, which no relay may take."""
    data = payload.encode() if isinstance(payload, str) else payload
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    mask = 0 if key is None else 0x80
    if len(data) < 126:
        head = struct.pack("!BB", first, mask | len(data))
    elif len(data) < 65536:
        head = struct.pack("!BBH", first, mask | 126, len(data))
    else:
        head = struct.pack("!BBQ", first, mask | 127, len(data))
    return head + data if key is None else head + key + masked(data, key)


def text(**fields: Any) -> bytes:
    """A frame that holds one JSON object."""
    return frame(json.dumps(fields, ensure_ascii=False))


def upgrade(
    port: int,
    *,
    path: str = "/v1/connect",
    protocols: Sequence[str] = ("relay.v1",),
    headers: Mapping[str, str | None] | None = None,
    method: str = "GET",
    version: str = "1.1",
) -> bytes:
    """An upgrade request. A header given as None is left out."""
    told: dict[str, str | None] = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": ", ".join(protocols) or None,
    }
    told |= headers or {}
    lines = [f"{name}: {value}" for name, value in told.items() if value is not None]
    return "\r\n".join([f"{method} {path} HTTP/{version}", *lines, "", ""]).encode("latin-1")


def accepts(request: bytes, answer: Answer) -> bool:
    """Was the key answered as RFC 6455 section 4.2.2 asks?"""
    key = next(line[19:] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: "))
    expected = base64.b64encode(hashlib.sha1(key + MAGIC).digest()).decode()
    return answer.headers.get("sec-websocket-accept") == expected


class Wire:
    """One upgraded connection.

    ``after`` is sent with the upgrade, in the same call and so in the same segment as far as it fits.
    ``receive_buffer`` makes the kernel's buffer small, so that not reading is noticed soon.
    """

    def __init__(
        self,
        port: int,
        *,
        after: bytes = b"",
        request: bytes | None = None,
        receive_buffer: int | None = None,
        timeout: float = PATIENCE,
        **options: Any,
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = upgrade(port, **options) if request is None else request
        try:
            self.socket.sendall(asked + after)
            self.answer, self._taken = take_answer(self.socket)
            assert self.answer.status != 101 or accepts(asked, self.answer)
        except BaseException:
            self.drop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drop()

    def drop(self) -> None:
        """End the connection without a word."""
        self.socket.close()

    def reset(self) -> None:
        """End it by a TCP reset, as a machine does that has forgotten the connection."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # sending

    def put(self, data: bytes) -> None:
        """Send these bytes as they are."""
        self.socket.sendall(data)

    def say(self, **fields: Any) -> None:
        """Send one JSON object."""
        self.put(text(**fields))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake."""
        self.put(frame(struct.pack("!H", code) + reason.encode(), CLOSE))

    # receiving

    def _more(self) -> None:
        try:
            chunk = self.socket.recv(1 << 18)
        except ConnectionError:
            chunk = b""
        if not chunk:
            raise Ended(1006, "")
        self._taken += chunk

    def _take(self, size: int) -> bytes:
        while len(self._taken) < size:
            self._more()
        found, self._taken = self._taken[:size], self._taken[size:]
        return found

    def frame(self) -> Frame:
        """The next frame, of any kind. Raises Ended when the connection ends first, TimeoutError when none comes."""
        first, second = self._take(2)
        assert not second & 0x80, "a server's frame must not be masked"
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._take(8))
        return Frame(bool(first & 0x80), first & 0x0F, self._take(size))

    def raw(self) -> bytes:
        """The next text frame. Pings are answered, pongs skipped; a close is answered and raised as Ended."""
        while True:
            found = self.frame()
            if found.opcode == TEXT:
                assert found.fin
                return found.payload
            if found.opcode == PING:
                with contextlib.suppress(ConnectionError):  # the end may be next, behind frames that we have not read
                    self.put(frame(found.payload, PONG))
            if found.opcode == CLOSE:
                self._farewell(found.payload)

    def _farewell(self, payload: bytes) -> None:
        code = struct.unpack("!H", payload[:2])[0] if payload else 1005
        with contextlib.suppress(ConnectionError):
            self.put(frame(payload, CLOSE))
        raise Ended(code, payload[2:].decode())

    def hear(self, kind: str | None = None) -> dict[str, Any]:
        """The next JSON object; with ``kind`` it must be of that type."""
        found = json.loads(self.raw())
        assert kind is None or found["type"] == kind, found
        assert isinstance(found, dict)
        return found

    def ended(self) -> Ended:
        """Read on until the end, and say how it came."""
        try:
            while True:
                self.raw()
        except Ended as end:
            return end

    # the protocol's first steps

    def register(self, agent: str, **fields: Any) -> dict[str, Any]:
        """Register, and return the ``registered`` frame."""
        self.say(type="register", agent=agent, **fields)
        return self.hear("registered")

    def barrier(self) -> list[dict[str, Any]]:
        """All that came before the answer to a ``ping`` of ours: shows what did *not* come, without waiting."""
        mark = os.urandom(6).hex()
        self.say(type="ping", ref=mark)
        before = []
        while (found := self.hear()).get("ref") != mark:
            before.append(found)
        assert found["type"] == "pong"
        return before
