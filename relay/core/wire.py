"""Bytes <-> typed frames: the only parser of the WebSocket protocol (protocol 2.1 and 2.2)."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from relay.core.ids import is_agent_id
from relay.core.json import NotJson, check
from relay.core.limits import Limits
from relay.core.model import Form, Message

SUBPROTOCOL: Final = "relay.v1"
LONGEST_CLIENT: Final = 128  #: characters
LONGEST_NAME: Final = 64  #: characters of an ``id`` or ``ref`` that is repeated in an ``error`` frame
SMALLEST_MAX_FRAME: Final = 65536  #: bytes
LONGEST_NACK_DELAY: Final = 86400.0  #: seconds

LAST_SECOND: Final = 253402300799.0  #: Unix time: the calendar (RFC 3339) ends with the year 9999

_DEEPEST = 128
ENVELOPE: Final = 1024  #: bytes of a message frame beside payload and content type, at most


class BadFrame(Exception):
    """A frame that has no effect. ``code`` is the word for its ``error`` frame."""

    def __init__(self, code: str, detail: str, kind: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.kind = kind  #: the frame's type, if that much could be read


class Frame(msgspec.Struct, frozen=True):
    """What every frame from an agent is."""


class Register(Frame, frozen=True):
    agent: str | None = None  #: None: the session only publishes
    token: str | None = None
    resume: str | None = None
    client: str | None = None
    max_in_flight: int | None = None
    ack_wait: float | None = None
    max_frame: int | None = None
    on_duplicate: str | None = None
    raw: bool = False
    batch: bool = False


class Ids(Frame, frozen=True):
    id: str | None = None
    ids: list[str] | None = None

    def all(self) -> list[str]:
        """The ids that it speaks of."""
        return [self.id] if self.id is not None else self.ids or []


class Ack(Ids, frozen=True):
    reply: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    confirm: bool = False


class Nack(Frame, frozen=True):
    id: str
    requeue: bool = True
    delay: float | None = None
    reason: str | None = None


class Progress(Ids, frozen=True):
    pass


class Window(Frame, frozen=True):
    max_in_flight: int


class Auth(Frame, frozen=True):
    token: str


class Ping(Frame, frozen=True):
    ref: str | None = None


class Publish(Frame, frozen=True):
    """What it publishes is read by ``core.posting``; here only that it is a publication."""

    line: bytes = b""


class _Head(msgspec.Struct, frozen=True):
    type: str


class _About(msgspec.Struct, frozen=True):
    id: msgspec.Raw = msgspec.Raw(b"")
    ref: msgspec.Raw = msgspec.Raw(b"")


_head: Final = msgspec.json.Decoder(_Head)
_about: Final = msgspec.json.Decoder(_About)
_text: Final = msgspec.json.Decoder(str)
_kinds: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "register": msgspec.json.Decoder(Register),
    "ack": msgspec.json.Decoder(Ack),
    "nack": msgspec.json.Decoder(Nack),
    "progress": msgspec.json.Decoder(Progress),
    "window": msgspec.json.Decoder(Window),
    "auth": msgspec.json.Decoder(Auth),
    "ping": msgspec.json.Decoder(Ping),
    "publish": msgspec.json.Decoder(Publish),
}
_ACK: Final = b'{"type":"ack",'  #: how nearly every frame begins …
#: … and what it is as a whole, with the blanks that some libraries write.
_PLAIN_ACK: Final = re.compile(rb'\{"type": ?"ack", ?"id": ?"([0-9a-f-]{36})"\}')
PUBLISH: Final = (b'{"type":"publish",', b'{"type": "publish",')  #: how nearly every publication does
_encode: Final = msgspec.json.Encoder().encode


def parse(data: bytes) -> tuple[str, Frame]:
    """The type of a frame and the frame. Raises BadFrame (``invalid-frame`` or ``unknown-type``)."""
    if data.count(b"[") + data.count(b"{") > _DEEPEST:
        _check_depth(data)
    try:
        # Of a name that is there twice any may count (RFC 8259 section 4): of an ACK and a publication it is the first.
        kind = "ack" if data.startswith(_ACK) else _head.decode(data).type
        if data.startswith(PUBLISH):
            kind = "publish"
        decoder = _kinds.get(kind)
        if decoder is None:
            raise BadFrame("unknown-type", f"no frame type {kind[:40]!r}; known are {', '.join(_kinds)}", kind)
        frame: Frame = decoder.decode(data) if kind != "publish" else Publish(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame("invalid-frame", f"not a frame of the protocol: {error}"[:200], _kind_of(data)) from None
    complaint = _complaint(frame)
    if complaint:
        raise BadFrame("invalid-frame", complaint, kind)
    return kind, frame


def acknowledged(data: bytes) -> str | None:
    """The id in a frame that says nothing but that this one message is processed; None: ``parse`` it."""
    plain = _PLAIN_ACK.fullmatch(data)
    return None if plain is None else plain[1].decode("ascii")


def _check_depth(data: bytes) -> None:
    try:
        check(data, _DEEPEST)
    except NotJson as error:
        raise BadFrame("invalid-frame", f"not a frame of the protocol: {error}"[:200]) from None


def _kind_of(data: bytes) -> str:
    try:
        return _head.decode(data).type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def about(data: bytes) -> dict[str, str]:
    """``id`` and ``ref`` of a frame without effect, as far as they can be read: its ``error`` frame has them too."""
    found: dict[str, str] = {}
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        subject = _about.decode(data)
        for name, value in (("id", subject.id), ("ref", subject.ref)):
            with suppress(msgspec.DecodeError):
                found[name] = _text.decode(value)
    return {name: value for name, value in found.items() if len(value) <= LONGEST_NAME}


def _complaint(frame: Frame) -> str:
    """What is wrong with a frame whose types are right, or nothing."""
    if isinstance(frame, Ids):
        if frame.id is None and frame.ids is None:
            return "'id' or 'ids' is missing"
        if frame.id is not None and frame.ids is not None:
            return "'id' and 'ids' exclude each other"
        if isinstance(frame, Ack) and frame.id is None and frame.reply is not msgspec.UNSET:
            return "'reply' goes with 'id' only"
        return ""
    match frame:
        case Nack(delay=float() as delay) if not delay >= 0:
            return "'delay' must be 0 to 86400 seconds"
        case Window(max_in_flight=wanted) if wanted < 0:
            return "'max_in_flight' must be 0 to 10000"
        case Register():
            return _registration_complaint(frame)
    return ""


def _registration_complaint(frame: Register) -> str:
    if frame.agent is not None and not is_agent_id(frame.agent):
        return "'agent' must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ -, but not '.' or '..'"
    if frame.client is not None and len(frame.client) > LONGEST_CLIENT:
        return f"'client' must have at most {LONGEST_CLIENT} characters"
    if frame.max_in_flight is not None and frame.max_in_flight < 1:
        return "'max_in_flight' must be 1 to 10000"
    if frame.ack_wait is not None and not frame.ack_wait >= 0:
        return "'ack_wait' must be 0 to 3600 seconds"
    if frame.max_frame is not None and frame.max_frame < SMALLEST_MAX_FRAME:
        return f"'max_frame' must be at least {SMALLEST_MAX_FRAME} bytes"
    if frame.on_duplicate not in (None, "reject", "replace"):
        return "'on_duplicate' must be 'reject' or 'replace'"
    return ""


def stamp(at: float) -> str:
    """A Unix time (seconds) as RFC 3339 in UTC with milliseconds."""
    return _millisecond(int(at * 1000))


@lru_cache(maxsize=64)
def _second(at: int) -> str:
    # Two stamps a message, and thousands of messages a second: they share their seconds.
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=256)
def _millisecond(millis: int) -> str:
    # Thousands of messages a second share their times, and those which came in one batch do.
    return f"{_second(millis // 1000)}.{millis % 1000:03d}Z"


def encode(kind: str, **fields: Any) -> bytes:
    """A frame, of either side; fields that are None are left out."""
    return _encode({"type": kind, **{name: value for name, value in fields.items() if value is not None}})


def error(code: str, detail: str, **fields: Any) -> bytes:
    """An ``error`` frame."""
    return encode("error", code=code, detail=detail, **fields)


def registered(
    *,
    agent: str | None,
    session: str,
    queued: int,
    heartbeat: float,
    ack_timeout: float,
    ack_wait: float,
    max_in_flight: int,
    durable: bool,
    server: str,
    node: str,
    limits: Limits,
    expires_at: float | None = None,
) -> bytes:
    """The ``registered`` frame, always the first to an agent. Times in seconds; ``expires_at`` is a Unix time."""
    return encode(
        "registered",
        agent=agent,
        session=session,
        queued=queued,
        heartbeat=_number(heartbeat),
        ack_timeout=_number(ack_timeout),
        ack_wait=_number(ack_wait),
        max_in_flight=max_in_flight,
        max_frame=limits.frame,
        durable=durable,
        server=server,
        node=node,
        expires_at=_end(expires_at),
    )


def authenticated(expires_at: float | None) -> bytes:
    """The answer to ``auth``; ``expires_at`` (Unix time) is that of the new token, if it has an end."""
    return encode("authenticated", expires_at=_end(expires_at))


def _end(at: float | None) -> str | None:
    """The end of a token, as a stamp if it has one. Who signs tokens may mean for ever, or write milliseconds."""
    return None if at is None else stamp(min(at, LAST_SECOND))


def _number(seconds: float) -> float:
    """30 rather than 30.0: some strict clients read these as integers."""
    return int(seconds) if seconds == int(seconds) else seconds


_START: Final = b'{"type":"message","id":"%b","payload":%b'


def message(item: Message, *, queued: bool, attempt: int, raw: bool = False, publisher: bool = False) -> bytes:
    """A ``message`` frame. A JSON payload stands in it byte for byte as it came; no re-serialising.

    With ``raw`` every payload is base64 of the bytes received. With ``publisher`` it says who handed the message in,
    which is for agents within the relay's own process alone.
    """
    payload, is_base64 = _payload(item, raw)
    encoding = ',"encoding":"base64"' if is_base64 else ""
    created_at, expires_at = _millisecond(int(item.created_at * 1000)), _millisecond(int(item.expires_at * 1000))
    head = f'{{"type":"message","id":"{item.id}","payload":'
    tail = (
        f',"content_type":{_quoted(item.content_type)}{encoding},"queued":{"true" if queued else "false"}'
        f',"attempt":{attempt},"created_at":"{created_at}","expires_at":"{expires_at}"'
    )
    extras = _extras(item, publisher) if publisher or item.topic is not None or item.headers else b""
    return b"%b%b%b%b}" % (head.encode(), payload, tail.encode(), extras)


def _payload(item: Message, raw: bool) -> tuple[bytes, bool]:
    return (_base64(item.payload), True) if raw else in_frame(item)


@lru_cache(maxsize=256)
def _quoted(content_type: str) -> str:
    return _encode(content_type).decode()


def first_messages(items: Sequence[Message], *, raw: bool = False, publisher: bool = False) -> list[bytes]:
    """The ``message`` frames of several that were accepted at the same time and are sent at once, all for as long, by
    the same publisher, and with nothing but a payload: as ``message`` makes them, what they have in common made once.
    """
    frames = []
    tails: dict[tuple[str, Form], bytes] = {}  #: what follows the payload
    for item in items:
        start = _START % (item.id.encode(), _payload(item, raw)[0])
        alike = item.content_type, item.form
        tail = tails.get(alike)
        if tail is None:
            whole = message(item, queued=False, attempt=1, raw=raw, publisher=publisher)
            tail = tails[alike] = whole[len(start) :]
        frames.append(start + tail)
    return frames


def _extras(item: Message, publisher: bool) -> bytes:
    extras = b',"topic":' + _encode(item.topic) if item.topic is not None else b""
    if publisher:
        extras += b',"publisher":' + _encode(item.publisher)
    return extras + b',"headers":' + _encode(dict(item.headers)) if item.headers else extras


def messages(frames: list[bytes]) -> bytes:
    """A ``messages`` frame of several ``message`` frames."""
    return b'{"type":"messages","messages":[' + b",".join(frames) + b"]}"


def in_frame(item: Message) -> tuple[bytes, bool]:
    """The payload as the JSON that stands in a frame, and whether that is base64 (RFC 4648 section 4)."""
    if item.form is Form.JSON:
        return item.payload, False
    match item.form:
        case Form.TEXT:
            return _encode(item.payload.decode("utf-8")), False
        case Form.LATIN1:
            return _encode(item.payload.decode("latin-1")), False
        case _:
            return _base64(item.payload), True


def _base64(data: bytes) -> bytes:
    return b'"' + base64.b64encode(data) + b'"'


def most(size: int, form: Form, *, raw: bool) -> int:
    """Bytes that a payload of ``size`` becomes in a frame, at most."""
    if raw or form is Form.BINARY:
        return size + size // 3 + 6
    return size if form is Form.JSON else 6 * size + 2  # of a control character


def estimate(item: Message) -> int:
    """Bytes of the frame of a message, near enough for a buffer's bound."""
    size = len(item.payload) + ENVELOPE
    return size + sum(len(name) + len(value) for name, value in item.headers) if item.headers else size
