"""The bytes of both doors, as a client writes and reads them: just enough of HTTP/1.1 and RFC 6455 for the load."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

#: A server must unmask what it gets; a key of zeros would let some of them skip that.
KEY: Final = b"\x37\xfa\x21\x3d"
PADS: Final = {size: int.from_bytes((KEY * (size // 4 + 1))[:size], "big") for size in range(126)}

LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
RETRY_AFTER: Final = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)


class Answer(NamedTuple):
    """A whole HTTP answer."""

    status: int
    head: bytes
    body: bytes


class Item(msgspec.Struct):
    """What the generator looks at in one of several messages of a frame."""

    id: str


class Frame(msgspec.Struct):
    """What the generator looks at in a frame of the server."""

    type: str
    id: str = ""
    session: str = ""
    status: str = ""
    messages: list[Item] = []


class Outcome(msgspec.Struct):
    """What the generator looks at in the answer to a POST, and in a line of the answer to a batch."""

    id: str = ""
    status: str | int = ""


class Queue(msgspec.Struct):
    """What the generator looks at in an agent of the list."""

    agent: str
    queued: int


class Queues(msgspec.Struct):
    """The answer to a look at the agents."""

    items: list[Queue]


def post(port: int, agent: str, body: bytes) -> bytes:
    """A POST of a message."""
    return _post(port, f"/v1/agents/{agent}/messages", "application/json", body)


def batch(port: int, lines: Sequence[bytes]) -> bytes:
    """A POST of a batch; each line with its end."""
    return _post(port, "/v1/messages", "application/x-ndjson", b"".join(lines))


def _post(port: int, path: str, kind: str, body: bytes) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def look(port: int, prefix: str) -> bytes:
    """A GET of the agents whose names begin so."""
    return f"GET /v1/agents?limit=1000&prefix={prefix} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


def line(agent: str, payload: bytes) -> bytes:
    """A line of a batch."""
    return b'{"agent":"%s","payload":%s}\n' % (agent.encode(), payload)


def publish(agent: str, payload: bytes) -> bytes:
    """A masked ``publish`` frame. It has a ``ref``, because only then its outcome is told."""
    return masked(TEXT, b'{"type":"publish","ref":"r","agent":"%s","payload":%s}' % (agent.encode(), payload))


def register(agent: str | None = None, *, batch: bool = False, resume: str = "") -> bytes:
    """A masked ``register`` frame; without an agent, of a session that only publishes."""
    fields = {"type": "register", "agent": agent, "batch": batch or None, "resume": resume or None}
    return masked(TEXT, msgspec.json.encode({name: value for name, value in fields.items() if value is not None}))


def ack(ids: Sequence[str]) -> bytes:
    """A masked ``ack`` frame, of one message or of several."""
    if len(ids) == 1:
        return masked(TEXT, b'{"type":"ack","id":"%s"}' % ids[0].encode())
    return masked(TEXT, b'{"type":"ack","ids":["%s"]}' % '","'.join(ids).encode())


def upgrade(port: int) -> bytes:
    """The upgrade of an agent's connection."""
    key = base64.b64encode(b"the load generat").decode()
    return (
        f"GET /v1/connect HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: relay.v1\r\n\r\n"
    ).encode()


def masked(opcode: int, payload: bytes) -> bytes:
    """A frame as a client must send it."""
    size = len(payload)
    if size < 126:
        length, pad = bytes((0x80 | size,)), PADS[size]
    else:
        length = b"\xfe" + struct.pack("!H", size) if size < 65536 else b"\xff" + struct.pack("!Q", size)
        pad = int.from_bytes((KEY * (size // 4 + 1))[:size], "big")
    hidden = (int.from_bytes(payload, "big") ^ pad).to_bytes(size, "big")
    return bytes((0x80 | opcode,)) + length + KEY + hidden


def take_answer(data: bytes) -> tuple[Answer | None, bytes]:
    """The first whole answer in ``data``, and what follows it. Raises ValueError for one without Content-Length."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None, data
    head = data[: end + 2]
    status = int(head[9:12])
    if status == 101:
        return Answer(status, head, b""), data[end + 4 :]
    found = LENGTH.search(head)
    if found is None:
        raise ValueError(f"an answer without Content-Length: {head[:200]!r}")
    whole = end + 4 + int(found[1])
    if len(data) < whole:
        return None, data
    return Answer(status, head, data[end + 4 : whole]), data[whole:]


class Chunks:
    """The body of an answer that comes in chunks (RFC 9112 section 7.1), cut out of what is fed."""

    def __init__(self) -> None:
        self.ended = False
        self.rest = b""  #: after the end: what follows the answer

    def feed(self, data: bytes) -> bytes:
        """What these bytes add to the body. Raises ValueError for what is no chunk."""
        data = self.rest + data if self.rest else data
        pieces: list[bytes] = []
        at = 0
        while not self.ended:
            end = data.find(b"\r\n", at)
            if end < 0:
                break
            size = int(data[at:end], 16)
            after = end + 2 + size + 2
            if after > len(data):
                break
            pieces.append(data[end + 2 : after - 2])
            at, self.ended = after, size == 0
        self.rest = data[at:]
        return b"".join(pieces)


def take_head(data: bytes) -> tuple[Answer | None, bytes]:
    """The head of an answer whose body comes in chunks, and what follows it. Raises ValueError for any other."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None, data
    head = data[: end + 2]
    if CHUNKED.search(head) is None:
        raise ValueError(f"an answer that does not come in chunks: {data[:400]!r}")
    return Answer(int(head[9:12]), head, b""), data[end + 4 :]


def take_frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The whole frames in ``data`` as (opcode, payload), and what follows them. Raises ValueError for a fragment."""
    frames: list[tuple[int, bytes]] = []
    at, size = 0, len(data)
    while size - at >= 2:
        first, length = data[at], data[at + 1]
        start = at + 2
        if length == 126:
            start += 2
            length = struct.unpack_from("!H", data, at + 2)[0] if size >= start else size
        elif length == 127:
            start += 8
            length = struct.unpack_from("!Q", data, at + 2)[0] if size >= start else size
        if start + length > size:
            break
        if not first & 0x80:
            raise ValueError("a fragment: no server has a reason to send one here")
        frames.append((first & 0x0F, data[start : start + length]))
        at = start + length
    return frames, data[at:]
