"""Bytes -> typed frames, as an agent receives them (protocol 2.2)."""

from __future__ import annotations

from typing import Any, Final

import msgspec


class BadFrame(ValueError):
    """What came is not a frame of the protocol."""


class Registered(msgspec.Struct, frozen=True):
    """The first frame of a session."""

    agent: str
    session: str
    queued: int = 0  #: messages that wait
    heartbeat: float = 30.0  #: seconds
    ack_wait: float = 30.0  #: seconds until an unacknowledged message is sent again; 0 = never
    max_in_flight: int = 1000
    max_frame: int = 2 * 1024 * 1024  #: bytes: the largest frame that the relay takes
    durable: bool = True
    server: str = ""
    node: str = ""


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
    holder: Holder | None = None


Frame = Registered | Delivery | Error


class _Head(msgspec.Struct, frozen=True):
    type: str


_head: Final = msgspec.json.Decoder(_Head)
_kinds: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "registered": msgspec.json.Decoder(Registered),
    "message": msgspec.json.Decoder(Delivery),
    "error": msgspec.json.Decoder(Error),
}


def parse(data: bytes) -> Frame | None:
    """The frame; None for a type that needs no answer from us, or that we do not know. Raises BadFrame."""
    try:
        decoder = _kinds.get(_head.decode(data).type)
        frame: Frame | None = decoder.decode(data) if decoder is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame(f"not a frame of the protocol: {error}"[:200]) from None
    return frame
