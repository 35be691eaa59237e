"""What goes over the calls of the HTTP door, as JSON schemas for the OpenAPI document.

The words of the problems come from the table of the problems: a word that is added there is in the document.
"""

from __future__ import annotations

from typing import Any, Final

from relay.core.model import Reason, Status
from relay.core.problems import PROBLEMS

Schema = dict[str, Any]

AGENT_ID: Final = "^[A-Za-z0-9._~:@-]{1,128}$"
MESSAGE_ID: Final = "^[A-Za-z0-9._~-]{1,64}$"

TEXT: Final[Schema] = {"type": "string"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
YES_OR_NO: Final[Schema] = {"type": "boolean"}
ANYTHING: Final[Schema] = {}


def ref(name: str) -> Schema:
    """One of ``schemas``, by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def object_of(members: dict[str, Schema], *optional: str) -> Schema:
    """An object whose members must be there but for the ``optional``; others may be added."""
    required = [name for name in members if name not in optional]
    return {"type": "object", "properties": members} | ({"required": required} if required else {})


def page_of(item: str) -> Schema:
    """A list, in pages."""
    return object_of({"items": {"type": "array", "items": ref(item)}, "next": {"type": ["string", "null"]}})


def maybe(schema: Schema) -> Schema:
    """That, or null."""
    return schema | {"type": [schema["type"], "null"]}


def schemas() -> Schema:
    """All of them, by their names."""
    statuses = {"enum": [status.value for status in Status]}
    message = _message(statuses)
    history = {"type": "array", "items": ref("Event")}
    return {
        "Problem": _problem_object(),
        "Outcome": object_of(_outcome(), "reason", "durable", "reply"),
        "Line": _line(),
        "Result": {
            "anyOf": [
                object_of(_LINE | _outcome() | _REPLAY, *_LATER),
                object_of(_LINE | _REFUSED, "ref", "retry_after"),
            ]
        },
        "Event": object_of({"at": TIME, "event": TEXT, "session": TEXT, "node": TEXT, "detail": TEXT}, *_UNSAID),
        "Message": object_of(message | {"timeline": history}, *_SOMETIMES),
        "MessageInQueue": object_of(message, *_SOMETIMES),
        "Queue": page_of("MessageInQueue"),
        "DeadLetter": object_of(message, *_SOMETIMES),
        "DeadLetters": page_of("DeadLetter"),
        "Agent": _agent(),
        "Agents": page_of("Agent"),
        "Next": object_of({"session": TEXT, "messages": {"type": "array", "items": {"type": "object"}}}),
        "Said": _said(),
        "Heard": object_of({"errors": {"type": "array", "items": object_of({"code": TEXT, "detail": TEXT})}}),
        "Deleted": object_of({"deleted": COUNT}),
        "Health": object_of({"status": {"const": "alive"}}),
        "Description": object_of({"openapi": TEXT}),
        "Ready": object_of({"status": {"const": "ready"}, "durable": YES_OR_NO, "plugins": _plugins()}, "plugins"),
    }


_REPLAY: Final[Schema] = {"idempotent_replay": {"const": True}}
_LINE: Final[Schema] = {"line": {"type": "integer", "minimum": 1}, "ref": TEXT}
_REFUSED: Final[Schema] = {"problem": ref("Problem"), "retry_after": COUNT}
_LATER: Final = ("ref", "reason", "durable", "reply", "idempotent_replay")
_UNSAID: Final = ("session", "node", "detail")
_SOMETIMES: Final = (
    *("ended_at", "reason", "reply", "content_type", "size"),
    *("topic", "headers", "payload", "encoding"),
)


def _problem_object() -> Schema:
    members = {
        "type": {"enum": [f"/problems/{word}" for word in PROBLEMS]},
        "title": TEXT,
        "status": {"enum": sorted({status for status, _title in PROBLEMS.values()})},
        "detail": TEXT,
        "id": TEXT,
        "attempts": COUNT,
        "sent": YES_OR_NO,
        "by": TEXT,
        "ended": TEXT,
        "durable": YES_OR_NO,
    }
    return object_of(members, "id", "attempts", "sent", "by", "ended", "durable")


def _outcome() -> Schema:
    return {
        "id": TEXT,
        "agent": TEXT,
        "status": {"enum": ["delivered", "queued", "accepted"]},
        "attempts": COUNT,
        "reason": {"enum": [reason.value for reason in Reason]},
        "durable": {"const": False},
        "reply": ANYTHING,
    }


def _line() -> Schema:
    members = {
        "agent": {"type": "string", "pattern": AGENT_ID},
        "payload": ANYTHING,
        "content_type": TEXT,
        "encoding": {"const": "base64"},
        "headers": {"type": "object", "additionalProperties": TEXT},
        "ttl": COUNT,
        "topic": TEXT,
        "idempotency_key": TEXT,
        "callback_url": TEXT,
        "wait": {"type": "number"},
        "async": YES_OR_NO,
        "ref": TEXT | {"maxLength": 64},
    }
    return object_of(members, *(name for name in members if name not in ("agent", "payload")))


def _message(statuses: Schema) -> Schema:
    return {
        "id": TEXT,
        "agent": TEXT,
        "status": statuses,
        "attempts": COUNT,
        "created_at": TIME,
        "expires_at": TIME,
        "ended_at": TIME,
        "reason": TEXT,
        "reply": ANYTHING,
        "content_type": TEXT,
        "size": COUNT,
        "topic": TEXT,
        "headers": {"type": "object", "additionalProperties": TEXT},
        "payload": ANYTHING,
        "encoding": {"const": "base64"},
    }


def _agent() -> Schema:
    members = {
        "agent": TEXT,
        "connected": YES_OR_NO,
        "queued": COUNT,
        "queued_bytes": COUNT,
        "in_flight": COUNT,
    }
    words = ("session", "remote", "client", "node", "transport")
    times = ("since", "last_seen", "oldest_at")
    members |= {name: maybe(TEXT) for name in words} | {name: maybe(TIME) for name in times}
    # A publisher is told less of it than an admin.
    told_to_all = ("agent", "connected", "since", "last_seen", "queued")
    return object_of(members, *(name for name in members if name not in told_to_all))


def _said() -> Schema:
    ack = object_of({"id": TEXT, "reply": ANYTHING}, "reply")
    nack = object_of(
        {"id": TEXT, "requeue": YES_OR_NO, "delay": maybe({"type": "number"}), "reason": maybe(TEXT)},
        *("requeue", "delay", "reason"),
    )
    members = {
        "acks": {"type": "array", "items": ack},
        "nacks": {"type": "array", "items": nack},
        "progress": {"type": "array", "items": TEXT},
    }
    return object_of(members, *members)


def _plugins() -> Schema:
    members = {"name": TEXT, "version": TEXT, "state": {"enum": ["working", "failing", "off"]}}
    return {"type": "array", "items": object_of(members | {"failures": COUNT, "drops": COUNT})}
