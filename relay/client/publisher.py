"""The publisher: POSTs messages, says what became of them, and takes back those that are still queued."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from twisted.internet.defer import Deferred

from relay.client import outgoing, views
from relay.client.address import Address
from relay.client.batch import Batch, Line, pieces_of
from relay.client.door import Door
from relay.client.outgoing import Answer, Outgoing
from relay.client.publications import LONGEST_WAIT, MARGIN
from relay.client.refusal import Refused
from relay.client.tokens import Token
from relay.client.views import AgentView, MessageView
from relay.core.asking import NAME

META: Final = "Relay-Meta-"  #: before the names of headers that are for the agent
TRACING: Final = frozenset({"traceparent", "tracestate"})  #: these go under their own names

Decided = Callable[[Outgoing, Answer | Refused], object]


class Publisher:
    """Sends messages to the agents of one relay, over at most 100 connections at a time.

    ``url`` is the relay's, ``http://127.0.0.1:8080`` for one; ``token`` may be a callable that gives one for each
    request, at once or later. Raises ValueError for a URL that cannot be one.

    Every call fails with Refused (the relay said no) or Unreachable (there was no answer), and nothing is repeated but
    by ``send_batch``.
    """

    def __init__(self, url: str, *, reactor: Any, token: Token | None = None, http_agent: Any = None) -> None:
        self._reactor = reactor
        self._door = Door(Address.parse(url), reactor=reactor, token=token, agent=http_agent)

    def send(
        self,
        agent: str,
        payload: bytes | str,
        *,
        content_type: str | None = None,
        wait: float | None = None,
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

        Fails with ValueError too (an agent id that is none, an empty payload, a header that HTTP cannot carry). After
        Unreachable it may have been delivered all the same: repeat with the same ``key``.
        """
        message = (agent, payload, content_type, wait, respond_async, ttl, topic, key, callback, headers or {})
        return Deferred.fromCoroutine(self._send(*message))

    def send_batch(
        self, messages: Iterable[Outgoing], decided: Decided, *, pausing: Callable[[str, float], object] | None = None
    ) -> Deferred[None]:
        """Send any number of messages (protocol 1.2), in pieces of 10,000 and 8 MiB; fires when all are decided.

        ``decided`` is told of each, with its Answer or with Refused, in the order in which they are known. What the
        relay keeps nothing of (it is full, draining …) is repeated for up to two minutes without progress, and
        so is what nobody knows of, if it has a ``key``; ``pausing`` is told why, and for how many seconds. An agent's
        messages keep their order, but for those that had to be repeated.

        Fails with Refused or Unreachable when the relay does not take (any more of) the batch, and with ValueError for
        a message that cannot be a line: what was decided until then is.
        """
        return Deferred.fromCoroutine(self._send_batch(messages, decided, pausing))

    def message(self, id: str, *, wait: float = 0) -> Deferred[MessageView]:
        """What became of a message of ours; with ``wait`` (seconds, up to 30) it is waited for until it has ended.

        Refused (``not-found``) when the relay does not know it (any more), or it is another publisher's.
        """
        return Deferred.fromCoroutine(views.message(self._door, id, wait))

    def cancel(self, id: str) -> Deferred[None]:
        """Take a message of ours back, if it is queued; otherwise Refused (``too-late``)."""
        return Deferred.fromCoroutine(views.delete(self._door, f"/v1/messages/{quote(id, safe='')}")).addCallback(
            lambda _: None
        )

    def agent(self, name: str) -> Deferred[AgentView]:
        """Is the agent there, and how much waits for it? Refused (``not-found``) when nobody knows it."""
        return Deferred.fromCoroutine(views.agent(self._door, name))

    def close(self) -> Deferred[None]:
        """Close the idle connections."""
        return self._door.close()

    async def _send(
        self,
        agent: str,
        payload: bytes | str,
        content_type: str | None,
        wait: float | None,
        respond_async: bool,
        ttl: int | None,
        topic: str | None,
        key: str | None,
        callback: str | None,
        headers: Mapping[str, str],
    ) -> Answer:
        message = Outgoing(agent, payload, content_type)
        wishes = {
            "Prefer": _prefer(wait, respond_async),
            "TTL": None if ttl is None else str(ttl),
            "Topic": topic,
            "Idempotency-Key": key,
            "Callback-URL": callback,
            **{_meta(name): value for name, value in headers.items()},
        }
        reply = await self._door.request(
            "POST",
            f"/v1/agents/{quote(agent, safe='')}/messages",
            headers={"Content-Type": message.type, **_carried(wishes)},
            body=message.body,
            timeout=(LONGEST_WAIT if wait is None else wait) + MARGIN,
        )
        return outgoing.read(reply.body, replay=reply.headers.hasHeader("Idempotent-Replay"))

    async def _send_batch(
        self, messages: Iterable[Outgoing], decided: Decided, pausing: Callable[[str, float], object] | None
    ) -> None:
        lines: dict[int, Outgoing] = {}  # those that are not decided yet: of one piece at most

        def told(line: Line, outcome: Answer | Refused) -> None:
            decided(lines.pop(line.number), outcome)

        def numbered() -> Iterable[Line]:
            for number, message in enumerate(messages, 1):
                data = message.line()
                lines[number] = message
                yield Line(number, data, keyed=message.key is not None)

        batch = Batch(self._door, told, clock=self._reactor, pausing=pausing)
        for piece in pieces_of(iter(numbered())):
            await batch.send(piece)


def _prefer(wait: float | None, respond_async: bool) -> str | None:
    """The ``Prefer`` header (RFC 7240)."""
    wishes = (["respond-async"] if respond_async else []) + ([f"wait={wait:g}"] if wait is not None else [])
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
