"""Agents and messages as JSON has them (protocol 1.3)."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import asdict

from relay.core.model import DEAD_LETTERS, AgentView, Event, Letter, Message, MessageView, Past
from relay.core.wire import in_frame, stamp

_TIMES: Final = ("since", "last_seen", "oldest_at")


def of_agent(view: AgentView) -> dict[str, Any]:
    """An agent."""
    members = asdict(view)
    for name in _TIMES:
        if members[name] is not None:
            members[name] = stamp(members[name])
    return members


def for_publisher(view: AgentView) -> dict[str, Any]:
    """An agent as somebody sees it who may publish to it."""
    members = of_agent(view)
    return {name: members[name] for name in ("agent", "connected", "since", "last_seen", "queued")}


def of_message(view: MessageView, *, payload: bool = False) -> dict[str, Any]:
    """A message and its fate; with its payload where that is asked for and still known."""
    members: dict[str, Any] = {
        "id": view.id,
        "agent": view.agent,
        "status": view.status.value,
        "attempts": view.attempts,
        "created_at": stamp(view.created_at),
        "expires_at": stamp(view.expires_at),
    }
    if view.ended_at is not None:
        members["ended_at"] = stamp(view.ended_at)
    if view.reason:
        members["reason"] = view.reason
    if view.reply is not None:
        members["reply"] = msgspec.Raw(view.reply)
    if view.message is not None:
        members |= _content(view.message, payload)
    members["timeline"] = [_event(event) for event in view.timeline]
    return members


def in_queue(view: MessageView, *, payload: bool) -> dict[str, Any]:
    """A message in a list of what is queued: without its history."""
    members = of_message(view, payload=payload)
    del members["timeline"]
    return members


def of_letter(letter: Letter) -> dict[str, Any]:
    """A dead letter."""
    past: Past = letter.past
    members: dict[str, Any] = {
        "id": past.id,
        "agent": past.agent,
        "status": past.status.value,
        "reason": past.reason if past.reason in DEAD_LETTERS else past.status.value,
        "attempts": past.attempts,
        "created_at": stamp(past.created_at),
        "expires_at": stamp(past.expires_at),
        "ended_at": stamp(past.ended_at),
    }
    if past.reason not in DEAD_LETTERS and past.reason:
        members["detail"] = past.reason  # the agent's own words
    return members | _content(letter.record.message, payload=True)


def _content(message: Message, payload: bool) -> dict[str, Any]:
    members: dict[str, Any] = {"content_type": message.content_type, "size": len(message.payload)}
    if message.topic is not None:
        members["topic"] = message.topic
    if message.headers:
        members["headers"] = dict(message.headers)
    if payload:
        content, encoded = in_frame(message)
        members["payload"] = msgspec.Raw(content)
        if encoded:
            members["encoding"] = "base64"
    return members


def _event(event: Event) -> dict[str, Any]:
    members = {"at": stamp(event.at), "event": event.event}
    given = {"session": event.session, "node": event.node, "detail": event.detail}
    return members | {name: value for name, value in given.items() if value is not None}
