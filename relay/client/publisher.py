"""The publisher: POSTs messages, and says what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import msgspec
from twisted.internet.defer import Deferred

from relay.client.address import Address
from relay.client.door import Door, Unreachable
from relay.core.asking import NAME
from relay.core.ids import is_agent_id
from relay.core.limits import Limits

MARGIN: Final = 15.0  #: seconds past the wait: for the way there, the commit and the way back
META: Final = "Relay-Meta-"  #: before the names of headers that are for the agent
TRACING: Final = frozenset({"traceparent", "tracestate"})  #: these go under their own names
LONGEST_WAIT: Final = Limits().wait_max  #: seconds: no relay waits longer unless it is configured to


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


class Publisher:
    """Sends messages to the agents of one relay, over at most 100 connections at a time.

    ``url`` is the relay's, ``http://127.0.0.1:8080`` for one. Raises ValueError when it cannot be one.
    """

    def __init__(self, url: str, *, reactor: Any, token: str | None = None, http_agent: Any = None) -> None:
        self._door = Door(Address.parse(url), reactor=reactor, token=token, agent=http_agent)

    def send(
        self,
        agent: str,
        payload: bytes | str,
        *,
        content_type: str | None = None,
        wait: int | None = None,
        respond_async: bool = False,
        ttl: int | None = None,
        topic: str | None = None,
        key: str | None = None,
        callback: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Deferred[Answer]:
        """POST ``payload``; fires with the relay's answer.

        A ``str`` is sent as ``text/plain`` in UTF-8, and ``bytes`` as ``application/octet-stream``, unless
        ``content_type`` says otherwise: JSON is sent as its bytes, with ``application/json``. ``wait`` is in seconds:
        how long the relay waits for the agent's acknowledgement (its default when it is left out). ``respond_async``:
        be content once the message is durable.

        ``ttl`` is in seconds: past that the message is not sent any more (RFC 8030; 0 = now or never). It replaces an
        undelivered message of the same ``topic`` (RFC 8030). ``key``: one ``Idempotency-Key`` names one message,
        however often it is sent. The outcome is POSTed to the ``callback``, an https URL. The agent is given
        ``headers`` (``Relay-Meta-*``), with their names in lower case; ``traceparent`` and ``tracestate`` too.

        Fails with ValueError (an agent id that is none, an empty payload, a header that HTTP cannot carry), Refused
        (the relay said no) or Unreachable (there was no answer, and it may have been delivered all the same: repeat
        with the same ``key``).
        """
        wishes = {
            "Prefer": _prefer(wait, respond_async),
            "TTL": None if ttl is None else str(ttl),
            "Topic": topic,
            "Idempotency-Key": key,
            "Callback-URL": callback,
        }
        limit = (LONGEST_WAIT if wait is None else wait) + MARGIN
        return Deferred.fromCoroutine(self._send(agent, payload, content_type, wishes, headers or {}, limit))

    def close(self) -> Deferred[None]:
        """Close the idle connections."""
        return self._door.close()

    async def _send(
        self,
        agent: str,
        payload: bytes | str,
        content_type: str | None,
        wishes: Mapping[str, str | None],
        headers: Mapping[str, str],
        limit: float,
    ) -> Answer:
        if not is_agent_id(agent):
            raise ValueError(f"an agent's name is 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ -, not {agent[:200]!r}")
        if not payload:
            raise ValueError("a message is not empty")
        if isinstance(payload, str):
            content_type = content_type or "text/plain; charset=utf-8"
            payload = payload.encode()
        wishes = {**wishes, **{_meta(name): value for name, value in headers.items()}}
        reply = await self._door.request(
            "POST",
            f"/v1/agents/{quote(agent, safe='')}/messages",
            headers={"Content-Type": content_type or "application/octet-stream", **_carried(wishes)},
            body=payload,
            timeout=limit,
        )
        return _answer(reply.body, replay=reply.headers.hasHeader("Idempotent-Replay"))


def _prefer(wait: int | None, respond_async: bool) -> str | None:
    """The ``Prefer`` header (RFC 7240)."""
    wishes = (["respond-async"] if respond_async else []) + ([f"wait={wait}"] if wait is not None else [])
    return ", ".join(wishes) or None


def _meta(name: str) -> str:
    """The header that brings this one to the agent."""
    if not NAME.fullmatch(name.lower()):
        raise ValueError(f"{name[:100]!r} is not the name of a header")
    return name if name.lower() in TRACING else META + name


def _carried(wishes: Mapping[str, str | None]) -> dict[str, str]:
    """The headers that were wished for. A line break in one would be a header of its own."""
    given = {name: value for name, value in wishes.items() if value is not None}
    for name, value in given.items():
        if not value.isprintable():
            raise ValueError(f"the header {name} has characters that are not printable")
    return given


def _answer(body: bytes, *, replay: bool) -> Answer:
    try:
        told = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreachable(f"what answered is not a relay: {error}") from None
    reply = bytes(told.reply) or None
    return Answer(told.id, told.agent, told.status, told.attempts, told.reason, told.durable, reply, replay, body)
