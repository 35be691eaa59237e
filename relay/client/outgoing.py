"""A message on its way out, and what became of it: the same for a POST, a line of a batch and a ``publish`` frame."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict

import msgspec

from relay.client.refusal import Unreachable
from relay.core.ids import is_agent_id

TEXT: Final = "text/plain; charset=utf-8"
BYTES: Final = "application/octet-stream"


class Wishes(TypedDict, total=False):
    """What may be asked of a message, as ``Publisher.send`` explains it."""

    content_type: str | None
    wait: float | None
    respond_async: bool
    ttl: int | None
    topic: str | None
    key: str | None
    callback: str | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for ``agent``. ``payload`` and the rest are those of ``Publisher.send``.

    Raises ValueError for an agent id that is none, and for an empty payload.
    """

    agent: str
    payload: bytes | str
    content_type: str | None = None
    wait: float | None = None
    respond_async: bool = False
    ttl: int | None = None
    topic: str | None = None
    key: str | None = None
    callback: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not is_agent_id(self.agent):
            allowed = "1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ -"
            raise ValueError(f"an agent's name is {allowed}, not {self.agent[:200]!r}")
        if not self.payload:
            raise ValueError("a message is not empty")

    @property
    def body(self) -> bytes:
        """What is posted."""
        return self.payload.encode() if isinstance(self.payload, str) else self.payload

    @property
    def type(self) -> str:
        """Its content type: text for a ``str``, bytes for ``bytes``, unless it was given."""
        return self.content_type or (TEXT if isinstance(self.payload, str) else BYTES)

    def line(self, **fields: Any) -> bytes:
        """It as a line (protocol 1.2), with ``fields`` in front. Raises ValueError where JSON is asked for and is none.

        JSON stands in it as it is, blanks for line breaks; everything else in base64, which the relay undoes.
        """
        is_json = self.type.partition(";")[0].strip().lower() == "application/json"
        members: dict[str, Any] = {
            **fields,
            "agent": self.agent,
            "payload": _json(self.body) if is_json else base64.b64encode(self.body).decode(),
            "encoding": None if is_json else "base64",
            "content_type": self.type,
            "wait": self.wait,
            "async": self.respond_async or None,
            "ttl": self.ttl,
            "topic": self.topic,
            "idempotency_key": self.key,
            "callback_url": self.callback,
            "headers": dict(self.headers) or None,
        }
        return msgspec.json.encode({name: value for name, value in members.items() if value is not None})


#: between the values of JSON these mean nothing, and within a line there can be none
_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")


def _json(data: bytes) -> msgspec.Raw:
    try:
        data.decode()
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the payload is not JSON: {error}") from None
    return msgspec.Raw(data.translate(_ONE_LINE))


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a message."""

    id: str
    agent: str
    status: str  #: ``delivered``, ``queued`` or ``accepted``
    attempts: int
    reason: str | None = None  #: with ``queued`` and ``accepted``: why it is not delivered (yet)
    durable: bool = True  #: False where the relay keeps its queue in memory only
    reply: bytes | None = None  #: the agent's reply, as JSON
    replay: bool = False  #: the same ``key`` was used before: this is what became of the first message
    body: bytes = field(default=b"", repr=False)  #: the answer as it came

    @property
    def delivered(self) -> bool:
        """Did the agent acknowledge it?"""
        return self.status == "delivered"


class _Body(msgspec.Struct):
    id: str
    agent: str
    status: str
    attempts: int = 0
    reason: str | None = None
    durable: bool = True
    reply: msgspec.Raw = msgspec.Raw(b"")
    idempotent_replay: bool = False


def read(body: bytes, *, replay: bool = False) -> Answer:
    """The answer to a POST, in a line of a batch or in a ``result`` frame. Raises Unreachable: a relay says no such."""
    try:
        told = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreachable(f"what answered is not a relay: {error}") from None
    return Answer(
        told.id,
        told.agent,
        told.status,
        told.attempts,
        told.reason,
        told.durable,
        reply=bytes(told.reply) or None,
        replay=replay or told.idempotent_replay,
        body=body,
    )
