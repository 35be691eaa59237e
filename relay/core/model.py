"""The words that every room uses: a message, its place, its trials, its end."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Form(enum.StrEnum):
    """How a payload stands in a ``message`` frame (protocol 1.1): by its content type, never by its looks."""

    JSON = "json"  #: passed on byte for byte as a JSON value
    TEXT = "text"  #: UTF-8 (or ASCII) bytes, passed on as a JSON string
    LATIN1 = "latin1"  #: ISO-8859-1 bytes, passed on as a JSON string
    BINARY = "base64"  #: anything else, passed on base64 encoded


class Status(enum.StrEnum):
    """What became of a message. All but the first two are ends."""

    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    REJECTED = "rejected"
    EXPIRED = "expired"
    DEAD = "dead"
    CANCELLED = "cancelled"
    REPLACED = "replaced"


class Reason(enum.StrEnum):
    """Why a POST is answered ``queued``. The order is the contract's: where several hold, the first is said."""

    DRAINING = "draining"
    AWAY = "away"
    LOST = "lost"
    NACKED = "nacked"
    SENT = "sent"
    SILENT = "silent"
    SLOW = "slow"
    WINDOW = "window"
    BEHIND = "behind"


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was accepted. ``payload`` is the bytes received, whatever their form."""

    id: str
    agent: str
    payload: bytes
    content_type: str
    form: Form
    created_at: float  #: Unix time, seconds
    expires_at: float  #: Unix time, seconds; past that it is not sent any more


@dataclass(frozen=True, slots=True)
class Submission:
    """What a publisher handed in, checked by the door it came through."""

    agent: str
    payload: bytes
    content_type: str
    form: Form
    wait: float  #: seconds to wait for the ACK, from acceptance
    respond_async: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a submission: the honest answer."""

    id: str
    agent: str
    status: str  #: ``delivered``, ``queued`` or ``accepted``
    attempts: int
    reason: Reason | None = None  #: with ``queued`` and ``accepted``
    durable: bool = True  #: False where the store is only memory


@dataclass(frozen=True, slots=True)
class AgentView:
    """An agent as an operator sees it (protocol 1.3). Times are Unix seconds; None where there is none."""

    agent: str
    connected: bool
    session: str | None
    since: float | None
    last_seen: float | None
    remote: str | None
    client: str | None
    node: str | None
    queued: int
    queued_bytes: int
    oldest_at: float | None
    in_flight: int
    transport: str | None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Can the relay accept now?"""

    ready: bool
    durable: bool
    why: str = ""  #: in a word, when it is not: ``draining`` or ``store-unavailable``


@dataclass(frozen=True, slots=True)
class Trials:
    """What was tried with a message so far: the input of every redelivery decision."""

    attempts: int = 0  #: sends
    failures: int = 0  #: sends that count towards the limit of redeliveries
    nacks: int = 0  #: nacks, and breaks that were blamed on it: they choose the next delay
    first_failure_at: float = 0.0  #: Unix time of the first failure; 0 = none yet
    not_before: float = 0.0  #: Unix time before which it is not sent again; 0 = at once


@dataclass(frozen=True, slots=True)
class Record:
    """A message with its place in its agent's order, as a store keeps it.

    ``place`` is unique in the whole store, rises with acceptance and never changes; order is read from it alone.
    """

    place: int
    message: Message
    trials: Trials = Trials()


@dataclass(frozen=True, slots=True)
class Put:
    """Keep this record."""

    record: Record


@dataclass(frozen=True, slots=True)
class Revise:
    """Replace the trials of a kept message. One that is not kept (any more) is left alone."""

    agent: str
    id: str
    trials: Trials


@dataclass(frozen=True, slots=True)
class End:
    """The message has ended: ``DELIVERED`` forgets it; any other status keeps it, out of the queue."""

    agent: str
    id: str
    status: Status
    reason: str = ""
    at: float = 0.0  #: Unix time


@dataclass(frozen=True, slots=True)
class Seen:
    """The agent was here at that time (Unix time)."""

    agent: str
    at: float


Write = Put | Revise | End | Seen


@dataclass(frozen=True, slots=True)
class Depth:
    """How much is queued for an agent."""

    count: int = 0
    bytes: int = 0  #: payload bytes

    def __add__(self, other: Depth) -> Depth:
        return Depth(self.count + other.count, self.bytes + other.bytes)

    def __sub__(self, other: Depth) -> Depth:
        return Depth(self.count - other.count, self.bytes - other.bytes)


NOTHING = Depth()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a store holds when it is opened."""

    last_place: int  #: the highest place ever kept; 0 for an empty store
    depths: dict[str, Depth]  #: agents with something queued
    seen: dict[str, float]  #: agents seen in the last 30 days, and when (Unix time)


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of an agent's queue, in the order of places.

    ``last`` is the place of the last row that was looked at (or the start, if there was none), so that reading goes
    on after it even when nothing on the page may be sent. ``more`` is False once the range is exhausted.
    """

    records: tuple[Record, ...]
    delayed: tuple[tuple[int, str, float], ...]  #: (place, id, not_before) of those whose time has not come
    corrupt: tuple[str, ...]  #: ids of rows whose checksum does not match: never to be sent
    last: int
    more: bool
