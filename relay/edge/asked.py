"""What a publisher asks of a message in the headers of its POST (protocol 1.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from relay.core import asking
from relay.core.limits import Limits
from relay.core.problems import Problem
from relay.edge.request import DoorRequest

META: Final = "relay-meta-"
TRACING: Final = frozenset({"traceparent", "tracestate"})


@dataclass(frozen=True, slots=True)
class Asked:
    """The fields of a ``Submission`` that come from headers."""

    ttl: float | None
    topic: str | None
    key: str | None
    callback: str | None
    headers: tuple[tuple[str, str], ...]


def read(
    request: DoorRequest, limits: Limits, *, hosts: frozenset[str], passed_on: frozenset[str], respond_async: bool
) -> Asked:
    """Read them. ``hosts``: where callbacks may go; ``passed_on``: headers given to the agent under their own names.

    Raises Problem (``invalid-header``).
    """
    ttl = _once(request, "TTL")
    topic = _once(request, "Topic")
    key = _once(request, "Idempotency-Key")
    callback = _once(request, "Callback-URL")
    asked = Asked(
        ttl=None if ttl is None else asking.ttl(ttl),
        topic=None if topic is None else asking.topic(topic),
        key=None if key is None else asking.key(key),
        callback=None if callback is None else asking.callback(callback, hosts),
        headers=asking.headers(_given(request, passed_on), limits),
    )
    asking.check_now_or_never(asked.ttl, respond_async)
    return asked


def _once(request: DoorRequest, name: str) -> str | None:
    values = request.values(name.encode("ascii"))
    if len(values) > 1:
        raise Problem("invalid-header", f"{name} was given more than once")
    return values[0].strip() if values else None


def _given(request: DoorRequest, passed_on: frozenset[str]) -> Iterator[tuple[str, str]]:
    """What the agent is given, name by name.

    A publisher's own header that was given twice comes twice, and is refused. Others' are no reason to refuse a
    message: several of a name are one list, as they are for everybody else on the way (RFC 9110 section 5.3).
    """
    for raw, values in request.requestHeaders.getAllRawHeaders():
        name = raw.decode("latin-1").lower()
        if name.startswith(META):
            for value in values:
                yield name.removeprefix(META), _text(name, value)
        elif name in TRACING or name in passed_on:
            yield name, _text(name, b", ".join(values))


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise Problem("invalid-header", f"the value of {name[:40]} is not UTF-8") from None
