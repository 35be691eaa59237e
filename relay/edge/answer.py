"""What a door says, before it is written to anybody: status, headers and body."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec

from relay.core.model import Outcome
from relay.core.problems import Problem

Header = tuple[bytes, bytes]

#: The words of the table of protocol 1.1 that are problems: with them a message ended.
ENDS: Final = frozenset({"rejected", "undeliverable", "replaced", "ended"})

JSON: Final = b"application/json"
PROBLEM_JSON: Final = b"application/problem+json"

#: To every answer, as the bytes of a head: it is taken for nothing but what it says it is, and its address is nobody's
#: business.
HARDENING: Final = b"X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer"
#: It is data, and loads nothing, and stands in no frame. A page of our own has a policy of its own.
POLICY: Final = b"Content-Security-Policy: default-src 'none'; frame-ancestors 'none'"
#: Under TLS: a year (RFC 6797).
STRICT_TRANSPORT: Final = b"Strict-Transport-Security: max-age=31536000"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. The headers leave out ``Date``, ``Content-Length`` and ``Connection``."""

    status: int
    headers: tuple[Header, ...] = ()
    body: bytes = b""
    limit: str | None = None  #: the field of ``Limits`` that was reached, for the counters

    @property
    def phrase(self) -> bytes:
        """The reason phrase of the status line."""
        return HTTPStatus(self.status).phrase.encode("ascii")


def in_json(status: int, members: Any, *headers: Header) -> Answer:
    """``members`` as JSON."""
    return Answer(status, ((b"Content-Type", JSON), *headers), msgspec.json.encode(members))


def of_problem(problem: Problem, *headers: Header) -> Answer:
    """A refusal (RFC 9457). 429 and 503 always say when to come again."""
    retry_after = problem.retry_after
    if retry_after is None and problem.status in (429, 503):
        retry_after = 1
    if retry_after is not None:
        headers += ((b"Retry-After", b"%d" % retry_after),)
    if problem.word == "unauthenticated":
        headers += ((b"WWW-Authenticate", b"Bearer"),)
    if problem.word in ENDS and "id" in problem.fields:
        headers += _of_an_end(problem)
    if problem.replay:
        headers += ((b"Idempotent-Replay", b"true"),)
    body = msgspec.json.encode(problem.members())
    return Answer(problem.status, ((b"Content-Type", PROBLEM_JSON), *headers), body, problem.limit)


def _of_an_end(problem: Problem) -> tuple[Header, ...]:
    status = (b"Relay-Status", str(problem.fields.get("ended", problem.word)).encode("ascii"))
    if problem.word == "undeliverable" and not problem.fields.get("attempts"):
        return (status,)  # of what was neither sent nor kept nothing is known later
    return (b"Location", b"/v1/messages/" + problem.fields["id"].encode("ascii")), status


def of_outcome(outcome: Outcome, *more: Header) -> Answer:
    """What became of a message (protocol 1.1). ``more`` are further headers."""
    members: dict[str, Any] = {
        "id": outcome.id,
        "agent": outcome.agent,
        "status": outcome.status,
        "attempts": outcome.attempts,
    }
    if outcome.reason is not None:
        members["reason"] = outcome.reason
    if not outcome.durable and outcome.status != "delivered":
        members["durable"] = False
    if outcome.reply is not None:
        members["reply"] = msgspec.Raw(outcome.reply)
    headers = [
        (b"Location", b"/v1/messages/" + outcome.id.encode("ascii")),
        (b"Relay-Status", outcome.status.encode("ascii")),
    ]
    headers += more
    if outcome.ttl is not None:
        headers.append((b"TTL", b"%d" % outcome.ttl))
    if outcome.replay:
        headers.append((b"Idempotent-Replay", b"true"))
    return in_json(202 if outcome.status == "accepted" else 200, members, *headers)


def delivered(outcome: Outcome, date: bytes, hardening: bytes) -> bytes:
    """What ``written`` makes of the ``of_outcome`` of a message that was delivered, in a quarter of the time.

    The outcome has neither a TTL nor is it that of a repeat.
    """
    id, reply = outcome.id.encode("ascii"), outcome.reply
    extras = b"" if reply is None else b',"reply":' + reply
    body = _DELIVERED_BODY % (id, outcome.agent.encode("ascii"), outcome.attempts, extras)
    return _DELIVERED % (date, id, len(body), hardening, POLICY, body)


_DELIVERED: Final = (
    b"HTTP/1.1 200 OK\r\nDate: %b\r\nContent-Type: application/json\r\nLocation: /v1/messages/%b\r\n"
    b"Relay-Status: delivered\r\nContent-Length: %d\r\n%b\r\n%b\r\n\r\n%b"
)
_DELIVERED_BODY: Final = b'{"id":"%b","agent":"%b","status":"delivered","attempts":%d%b}'


def written(answer: Answer, date: bytes, hardening: bytes, *more: Header) -> bytes:
    """The bytes of an answer by HTTP/1.1. ``hardening``: for browsers, but the policy; ``more`` are further headers."""
    headers: Iterable[Header] = (
        (b"Date", date),
        *answer.headers,
        (b"Content-Length", b"%d" % len(answer.body)),
        *more,
    )
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    head = b"HTTP/1.1 %d %b\r\n%b%b\r\n%b\r\n\r\n" % (answer.status, answer.phrase, lines, hardening, POLICY)
    return head + answer.body


def last_words(answer: Answer, date: bytes, hardening: bytes) -> bytes:
    """The bytes of an answer after which the connection is closed."""
    return written(answer, date, hardening, (b"Connection", b"close"))
