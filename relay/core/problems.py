"""Every refusal of the contract by its word: one table for both doors (protocol 1.1, RFC 9457)."""

from __future__ import annotations

from typing import Any, Final

#: word -> (HTTP status, title)
PROBLEMS: Final[dict[str, tuple[int, str]]] = {
    "invalid-json": (400, "The body is not valid JSON"),
    "invalid-text": (400, "The body is not valid text in its charset"),
    "invalid-header": (400, "A header is malformed or not supported"),
    "invalid-agent-id": (400, "Not an agent id"),
    "invalid-request": (400, "The request is malformed"),
    "empty-body": (400, "The body is empty"),
    "unauthenticated": (401, "No valid token"),
    "forbidden": (403, "The token does not allow this"),
    "forbidden-origin": (403, "This origin may not use the relay"),
    "not-found": (404, "There is no such thing"),
    "method-not-allowed": (405, "This path does not take that method"),
    "request-timeout": (408, "The request took too long to arrive"),
    "idempotency-in-progress": (409, "The first request with this key is still waiting"),
    "replaced": (409, "A newer message of its topic took its place"),
    "duplicate": (409, "Another connection holds this agent"),
    "too-late": (409, "The message is not queued any more"),
    "ended": (410, "It has ended"),
    "payload-too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "This media type is not supported"),
    "misdirected": (421, "The relay does not answer to this host name"),
    "rejected": (422, "The agent refused the message"),
    "idempotency-key-reused": (422, "The key was used with another payload"),
    "upgrade-required": (426, "This path speaks WebSocket"),
    "rate-limited": (429, "Too many requests"),
    "queue-full": (429, "The queue is full"),
    "headers-too-large": (431, "The request's head is too large"),
    "internal": (500, "The relay failed"),
    "draining": (503, "The relay is shutting down"),
    "store-unavailable": (503, "The store is not available"),
    "overloaded": (503, "The relay is overloaded"),
    "undeliverable": (504, "It could not be delivered in time"),
}


class Problem(Exception):
    """A refusal to be told to whoever asked. ``detail`` names what was wrong and what is allowed.

    ``retry_after`` is in seconds (429 and 503 must have one); ``fields`` are extra members of the problem object, such
    as ``id``, ``attempts`` and ``sent``. ``limit`` names the field of ``Limits`` that was reached, for the counters.
    """

    def __init__(
        self, word: str, detail: str, *, retry_after: int | None = None, limit: str | None = None, **fields: Any
    ) -> None:
        super().__init__(f"{word}: {detail}")
        self.word = word
        self.detail = detail
        self.retry_after = retry_after
        self.limit = limit
        self.fields = fields
        self.replay = False  #: the answer to a repeat with the same idempotency key

    @property
    def status(self) -> int:
        """The HTTP status of this word."""
        return PROBLEMS[self.word][0]

    def members(self) -> dict[str, Any]:
        """The problem object, ready for JSON."""
        status, title = PROBLEMS[self.word]
        return {
            "type": f"/problems/{self.word}",
            "title": title,
            "status": status,
            "detail": self.detail,
            **self.fields,
        }


class Unsound(Problem):
    """A request that two readers in a row may take for different ones: after it nothing more is read."""

    def __init__(self, detail: str) -> None:
        super().__init__("invalid-request", detail)
