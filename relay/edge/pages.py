"""What web pages of other origins may read of an answer, and what their browsers ask before they send (Fetch, CORS)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from relay.edge.answer import Header

if TYPE_CHECKING:
    from relay.edge.request import DoorRequest

#: What a page of an allowed origin may read of an answer.
EXPOSED: Final = b"Location, Relay-Status, Retry-After, Preference-Applied, TTL, Idempotent-Replay"
ALLOWED_HEADERS: Final = (
    b"Authorization, Content-Type, Prefer, TTL, Topic, Idempotency-Key, Callback-URL, Last-Event-ID, Relay-Session, "
    b"traceparent, tracestate"
)
ALLOWED_METHODS: Final = b"GET, HEAD, POST, DELETE"
PREFLIGHT_SECONDS: Final = 600
_META: Final = re.compile(r"relay-meta-[a-z0-9_-]{1,64}", re.ASCII)


def told(request: DoorRequest) -> Iterable[Header]:
    """The headers that let a page of an origin that was allowed read the answer. Never with credentials.

    Where no origin is configured no answer speaks of origins.
    """
    if not request.site.guard.is_open:
        return
    yield b"Vary", b"Origin"
    if request.origin_passed:
        yield b"Access-Control-Allow-Origin", request.values(b"origin")[0].encode("latin-1")
        yield b"Access-Control-Expose-Headers", EXPOSED


def is_preflight(request: DoorRequest) -> bool:
    """Does a browser ask, on behalf of a page that may use the relay, whether it may send something?"""
    return (
        request.method == b"OPTIONS"
        and request.origin_passed
        and request.site.guard.is_open
        and request.requestHeaders.hasHeader(b"access-control-request-method")
    )


def preflight(wanted: Sequence[str]) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that answer a browser which asks before it sends; ``wanted``: the headers that it wants to send.

    Those of messages have no list of names, so that the ones that are asked for are allowed.
    """
    meta = [
        name.encode("ascii")
        for value in wanted
        for name in map(str.strip, value.lower().split(","))
        if _META.fullmatch(name)
    ][:32]
    return (
        (b"Access-Control-Allow-Methods", ALLOWED_METHODS),
        (b"Access-Control-Allow-Headers", b", ".join([ALLOWED_HEADERS, *meta])),
        (b"Access-Control-Max-Age", b"%d" % PREFLIGHT_SECONDS),
    )
