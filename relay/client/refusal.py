"""How a relay says no, and what it means for who asked (RFC 9457)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

#: Nothing was kept: what was refused with these words may be sent again as it is (protocol 1.1, "Repeating").
NOTHING_KEPT: Final = frozenset(
    {"request-timeout", "rate-limited", "queue-full", "draining", "overloaded", "idempotency-in-progress"}
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A problem (RFC 9457) as the relay told it, or what can be told of an answer that was none."""

    word: str  #: the last part of ``type``: ``queue-full`` for one; ``unexpected-answer`` when there was no problem
    status: int  #: HTTP
    title: str = ""
    detail: str = ""
    retry_after: float | None = None  #: seconds
    id: str | None = None  #: of the message, where it had one
    attempts: int | None = None
    sent: bool = False  #: the agent may have acted on it although it was refused
    ended: str | None = None  #: with the word ``ended``: how it ended
    by: str | None = None  #: with the word ``replaced``: the message that took its place
    body: bytes = field(default=b"", repr=False)  #: the answer as it came

    def __str__(self) -> str:
        return f"{self.word}: {self.detail or self.title}"

    @property
    def nothing_kept(self) -> bool:
        """Is it as if it had never been sent? Then it may be sent again after ``retry_after``."""
        return self.word in NOTHING_KEPT and not self.sent

    @property
    def unknown(self) -> bool:
        """Does nobody know what became of it? Then only the same ``key`` makes a repeat the same message."""
        return self.sent or (self.status >= 500 and not self.nothing_kept and self.word != "undeliverable")


class Refused(Exception):
    """The relay said no: ``problem`` tells why."""

    def __init__(self, problem: Refusal) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Unreachable(Exception):
    """There was no answer: nothing is known of what became of the request."""


class _Problem(msgspec.Struct):
    type: str
    title: str = ""
    status: int | None = None
    detail: str = ""
    id: str | None = None
    attempts: int | None = None
    sent: bool = False
    ended: str | None = None
    by: str | None = None
    retry_after: float | None = None  #: in a line of a batch, which has no headers


def read(body: bytes, status: int = 0, retry_after: float | None = None) -> Refusal:
    """The problem in an answer, in a line of one, or in a frame. ``status`` is that of HTTP, where there was one."""
    try:
        told = msgspec.json.decode(body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        detail = f"HTTP {status}, and no problem that tells why: is there a relay at this address?"
        return Refusal("unexpected-answer", status, detail=detail, retry_after=retry_after, body=body)
    return Refusal(
        word=told.type.rpartition("/")[2],
        status=status or told.status or 0,
        title=told.title,
        detail=told.detail,
        retry_after=retry_after if retry_after is not None else told.retry_after,
        id=told.id,
        attempts=told.attempts,
        sent=told.sent,
        ended=told.ended,
        by=told.by,
        body=body,
    )
