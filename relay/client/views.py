"""What a relay shows of messages and agents (protocol 1.3): typed, and beside that the JSON as it came."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from relay.client.door import Door
from relay.client.publications import MARGIN
from relay.client.refusal import Unreachable

TIMEOUT: Final = 30.0  #: seconds for a page
PAGE: Final = 1000  #: items of one

V = TypeVar("V", bound="View")


class View(msgspec.Struct, kw_only=True):
    """Something that is shown. Fields that this version does not know stand in ``body`` only."""

    body: bytes = b""  #: the JSON as it came


class AgentView(View, kw_only=True):
    """An agent. A publisher is shown less of it than an operator."""

    agent: str
    connected: bool = False
    session: str | None = None
    since: str | None = None  #: RFC 3339, as all times here
    last_seen: str | None = None
    remote: str | None = None
    client: str | None = None
    node: str | None = None
    queued: int = 0
    queued_bytes: int = 0
    oldest_at: str | None = None
    in_flight: int = 0
    transport: str | None = None  #: ``websocket`` or ``poll``


class Moment(msgspec.Struct, kw_only=True):
    """A line of a message's timeline."""

    at: str
    event: str
    session: str | None = None
    node: str | None = None
    detail: str | None = None


class MessageView(View, kw_only=True):
    """A message and its fate; a dead letter too, where ``reason`` is why it died."""

    id: str
    agent: str
    status: str
    attempts: int = 0
    created_at: str = ""
    expires_at: str = ""
    ended_at: str | None = None
    reason: str | None = None
    detail: str | None = None
    reply: msgspec.Raw = msgspec.Raw(b"")  #: the agent's, as JSON
    content_type: str = ""
    size: int = 0  #: bytes of the payload
    topic: str | None = None
    headers: dict[str, str] = {}
    payload: msgspec.Raw = msgspec.Raw(b"")  #: as in a frame, where it was asked for
    encoding: str | None = None
    timeline: list[Moment] = []

    @property
    def ended(self) -> bool:
        """Will nothing more become of it?"""
        return self.status not in ("queued", "sent", "accepted")


class _Page(msgspec.Struct):
    items: list[msgspec.Raw]
    next: str | None = None


class _Deleted(msgspec.Struct):
    deleted: int


def read(body: bytes, kind: type[V]) -> V:
    """A view from its JSON. Raises Unreachable: a relay says no such."""
    view = _decode(body, kind)
    view.body = body
    return view


async def message(door: Door, id: str, wait: float) -> MessageView:
    """One message; ``wait`` in seconds."""
    headers = {"Prefer": f"wait={wait:g}"} if wait else {}
    path = f"/v1/messages/{quote(id, safe='')}"
    return read((await door.request("GET", path, headers=headers, timeout=wait + MARGIN)).body, MessageView)


async def agent(door: Door, name: str) -> AgentView:
    """One agent."""
    return read((await door.request("GET", f"/v1/agents/{quote(name, safe='')}", timeout=TIMEOUT)).body, AgentView)


async def delete(door: Door, path: str) -> int:
    """How many were deleted."""
    return _decode((await door.request("DELETE", path, timeout=TIMEOUT)).body, _Deleted).deleted


async def pages(door: Door, path: str, kind: type[V], page: int, **asked_for: Any) -> AsyncIterator[V]:
    """All items of a list, ``page`` at a time: they are asked for when they are needed."""
    cursor: str | None = None
    while True:
        given = {"limit": page, **asked_for, "cursor": cursor}
        query = urlencode({name: value for name, value in given.items() if value is not None})
        found = _decode((await door.request("GET", f"{path}?{query}", timeout=TIMEOUT)).body, _Page)
        for item in found.items:
            yield read(bytes(item), kind)
        if found.next is None or not found.items:
            return
        cursor = found.next


D = TypeVar("D")


def _decode(body: bytes, kind: type[D]) -> D:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreachable(f"what answered is not a relay: {error}") from None
