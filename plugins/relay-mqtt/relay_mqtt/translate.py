"""A message of MQTT as one of the relay, and the other way round: pure functions."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Final
from urllib.parse import quote

from relay.core import asking, payload
from relay.core.ids import is_agent_id
from relay.core.limits import Limits
from relay.extensions import Form, Problem, Received, Submission
from relay_mqtt.ports import Arrived, Leaving, Properties
from relay_mqtt.settings import Mqtt

OURS: Final = "mqtt-"  #: headers that the bridge itself sets and reads; a stranger's of that name do not pass
SUBTOPIC, RESPONSE, CORRELATION = "mqtt-topic", "mqtt-response-topic", "mqtt-correlation"
RETAINED, SENDER = "mqtt-retained", "mqtt-from"

#: What an agent id may have beside letters and digits: of another name the rest is written with '%'.
AS_IT_IS: Final = "-._~:@"
UTF_8: Final = "text/plain; charset=utf-8"


def addressee(topic: str, settings: Mqtt) -> tuple[str, str]:
    """The agent that a topic names, and the levels below it. Raises Problem."""
    agent, _, below = topic.removeprefix(f"{settings.prefix}/to/").partition("/")
    if not topic.startswith(f"{settings.prefix}/to/") or not is_agent_id(agent):
        raise Problem("invalid-agent-id", "the level below 'to' must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ -")
    if agent == settings.agent:
        raise Problem("invalid-agent-id", f"{agent} is the bridge itself")
    return agent, below


def submission(arrived: Arrived, settings: Mqtt, limits: Limits) -> Submission:
    """What is handed in. Raises Problem: the message cannot be one of the relay's."""
    agent, below = addressee(arrived.topic, settings)
    properties, body = arrived.properties, arrived.payload
    if len(body) > limits.payload:
        detail = f"the payload has {len(body)} bytes; allowed are {limits.payload}"
        raise Problem("payload-too-large", detail, limit="payload")
    asked = {name.lower(): value for name, value in reversed(properties.user)}
    key, topic = asked.get("idempotency-key"), asked.get("topic")
    form, content_type = _form(body, properties.content_type or settings.content_type, properties.text)
    return Submission(
        agent=agent,
        payload=body,
        content_type=content_type,
        form=form,
        wait=0.0,
        # What has less than a second left says 0, which would mean "now or never".
        ttl=None if properties.expiry is None else float(max(1, properties.expiry)),
        topic=None if topic is None else asking.topic(topic),
        headers=asking.headers(_headers(arrived, below).items(), limits),
        key=None if key is None else asking.key(key),
    )


def _form(body: bytes, content_type: str, text: bool) -> tuple[Form, str]:
    """By its content type, never by its looks; without one it is JSON if it can be, as in a POST, else bytes."""
    if content_type or text:
        return payload.read([content_type or UTF_8], body)
    try:
        return payload.read([], body)
    except Problem as problem:
        if problem.word != "unsupported-media-type":
            raise
    return payload.read(["application/octet-stream"], body)


def _headers(arrived: Arrived, below: str) -> dict[str, str]:
    """What the agent is given: the user properties that can be headers, the first of each name; and our own."""
    properties = arrived.properties
    found: dict[str, str] = {}
    for name, value in properties.user:
        name = name.lower()
        known = name in ("idempotency-key", "topic") or name.startswith(OURS)
        if not known and asking.NAME.fullmatch(name) and value.isprintable():
            found.setdefault(name, value)
    if below:
        found[SUBTOPIC] = below
    if properties.response_topic:
        found[RESPONSE] = properties.response_topic
    if properties.correlation:
        found[CORRELATION] = base64.b64encode(properties.correlation).decode()
    if arrived.retained:
        found[RETAINED] = "true"
    return found


def leaving(received: Received, settings: Mqtt, now: float) -> Leaving:
    """What goes out of what an agent sent to the bridge. Raises Problem: it is refused for good."""
    headers = received.headers
    sender = received.publisher or headers.get(SENDER, "")
    if not sender:
        detail = f"nobody has to say who they are here, so the header {SENDER} must (Relay-Meta-{SENDER.title()})"
        raise Problem("rejected", detail)
    levels = [settings.prefix, "from", quote(sender, safe=AS_IT_IS)]
    if headers.get(SUBTOPIC):
        levels.append(_subtopic(headers[SUBTOPIC]))
    kind = received.content_type.lower()
    user = [(name, value) for name, value in headers.items() if not name.startswith(OURS)]
    properties = Properties(
        expiry=max(1, math.ceil(received.expires_at - now)),
        content_type=received.content_type,
        text=kind.startswith(("application/json", UTF_8)) or kind == "text/plain",
        correlation=_correlation(headers.get(CORRELATION, "")),
        user=(*user, ("relay-id", received.id)),
    )
    return Leaving("/".join(levels), received.payload, properties)


def _subtopic(levels: str) -> str:
    if any(character in levels for character in "+#\0"):
        raise Problem("rejected", f"the header {SUBTOPIC} must be levels of a topic without '+' and '#'")
    return levels


def _correlation(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Problem("rejected", f"the header {CORRELATION} must be base64 (RFC 4648 section 4)") from None
