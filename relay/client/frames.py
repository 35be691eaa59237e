"""Bytes -> typed frames, as an agent receives them (protocol 2.2)."""

from __future__ import annotations

from typing import Any, Final

import msgspec


class BadFrame(ValueError):
    """What came is not a frame of the protocol."""


class Registered(msgspec.Struct, frozen=True):
    """The first frame of a session."""

    session: str
    agent: str | None = None  #: None: the session only publishes
    queued: int = 0  #: messages that wait
    heartbeat: float = 30.0  #: seconds
    ack_wait: float = 30.0  #: seconds until an unacknowledged message is sent again; 0 = never
    max_in_flight: int = 1000
    max_frame: int = 2 * 1024 * 1024  #: bytes: the largest frame that the relay takes
    durable: bool = True
    server: str = ""
    node: str = ""
    expires_at: str | None = None  #: of the token


class Delivery(msgspec.Struct, frozen=True):
    """A ``message`` frame. Its payload is the exact bytes that stand in it."""

    id: str
    payload: msgspec.Raw
    content_type: str = "application/json"
    encoding: str | None = None
    queued: bool = False
    attempt: int = 1
    created_at: str = ""
    expires_at: str = ""
    topic: str | None = None
    headers: dict[str, str] = {}


class Deliveries(msgspec.Struct, frozen=True):
    """A ``messages`` frame."""

    messages: list[Delivery] = []


class Acked(msgspec.Struct, frozen=True):
    """An ``acked`` frame: these are on the relay's disk; ``unknown`` it did not wait for (any more)."""

    ids: list[str] = []
    unknown: list[str] = []


class Result(msgspec.Struct):
    """A ``result`` frame. What became of the message is read from ``body``, the frame as it came."""

    ref: str = ""
    problem: msgspec.Raw = msgspec.Raw(b"")
    body: bytes = b""


class Authenticated(msgspec.Struct, frozen=True):
    """An ``authenticated`` frame: the fresh token is good."""

    expires_at: str | None = None


class Pong(msgspec.Struct, frozen=True):
    """A ``pong`` frame."""

    ref: str | None = None
    time: str = ""  #: the relay's


class Holder(msgspec.Struct, frozen=True):
    """Who holds the agent that we wanted."""

    since: str | None = None
    client: str | None = None
    node: str | None = None


class Error(msgspec.Struct, frozen=True):
    """An ``error`` frame: what the relay did not like."""

    code: str = ""
    detail: str = ""
    id: str | None = None
    ref: str | None = None
    holder: Holder | None = None


Frame = Registered | Delivery | Deliveries | Acked | Result | Authenticated | Pong | Error


class _Head(msgspec.Struct, frozen=True):
    type: str


_head: Final = msgspec.json.Decoder(_Head)
_kinds: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "registered": msgspec.json.Decoder(Registered),
    "message": msgspec.json.Decoder(Delivery),
    "messages": msgspec.json.Decoder(Deliveries),
    "acked": msgspec.json.Decoder(Acked),
    "result": msgspec.json.Decoder(Result),
    "authenticated": msgspec.json.Decoder(Authenticated),
    "pong": msgspec.json.Decoder(Pong),
    "error": msgspec.json.Decoder(Error),
}


def parse(data: bytes) -> Frame | None:
    """The frame; None for a type that needs no answer from us, or that we do not know. Raises BadFrame."""
    try:
        decoder = _kinds.get(_head.decode(data).type)
        frame: Frame | None = decoder.decode(data) if decoder is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame(f"not a frame of the protocol: {error}"[:200]) from None
    if isinstance(frame, Result):
        frame.body = data
        frame.problem = msgspec.Raw(bytes(frame.problem))
    return frame
