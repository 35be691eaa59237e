"""The bytes of both doors, as a client writes and reads them: just enough of HTTP/1.1 and RFC 6455 for the load."""

from __future__ import annotations

import base64
import re
import struct
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
RETRY_AFTER: Final = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)


class Answer(NamedTuple):
    """A whole HTTP answer."""

    status: int
    head: bytes
    body: bytes


class Frame(msgspec.Struct):
    """What the generator looks at in a frame of the server."""

    type: str
    id: str = ""


class Outcome(msgspec.Struct):
    """What the generator looks at in the answer to a POST."""

    id: str = ""
    status: str = ""


def post(port: int, agent: str, body: bytes) -> bytes:
    """A POST of a message."""
    return (
        f"POST /v1/agents/{agent}/messages HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def upgrade(port: int) -> bytes:
    """The upgrade of an agent's connection."""
    key = base64.b64encode(b"the load generat").decode()
    return (
        f"GET /v1/connect HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: relay.v1\r\n\r\n"
    ).encode()


def masked(opcode: int, payload: bytes) -> bytes:
    """A frame as a client must send it. ``payload`` is at most 125 bytes: nothing longer is sent."""
    size = len(payload)
    hidden = (int.from_bytes(payload, "big") ^ PADS[size]).to_bytes(size, "big")
    return bytes((0x80 | opcode, 0x80 | size)) + KEY + hidden


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
