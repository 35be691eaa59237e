"""The words that every room uses: a message, its place, its trials, its end."""

from __future__ import annotations

import enum
from typing import Any

import msgspec


class Value(msgspec.Struct, frozen=True, gc=False):
    """Something that never changes; ``msgspec.structs.replace`` makes another.

    A frozen dataclass is the same in the standard library, and takes ten times as long to make: some ten of these are
    made for each message. None of them can refer to itself, so the garbage collector need not look at them.
    """


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


class Message(Value, frozen=True):
    """A message as it was accepted. ``payload`` is the bytes received, whatever their form."""

    id: str
    agent: str
    payload: bytes
    content_type: str
    form: Form
    created_at: float  #: Unix time, seconds
    expires_at: float  #: Unix time, seconds; past that it is not sent any more
    headers: tuple[tuple[str, str], ...] = ()  #: given to the agent, names in lower case
    topic: str | None = None  #: a newer message of the same agent and topic replaces it
    publisher: str = ""  #: who may look at it; without authentication all are one
    callback: str | None = None  #: URL that its end is told to


class Submission(Value, frozen=True):
    """What a publisher handed in, checked by the door it came through."""

    agent: str
    payload: bytes
    content_type: str
    form: Form
    wait: float  #: seconds to wait for the ACK, from acceptance
    respond_async: bool = False
    ttl: float | None = None  #: seconds; None: the default; 0: now or never. More than the most is clamped
    topic: str | None = None
    headers: tuple[tuple[str, str], ...] = ()  #: names in lower case
    key: str | None = None  #: ``Idempotency-Key``
    callback: str | None = None
    publisher: str = ""


class Outcome(Value, frozen=True):
    """What became of a submission: the honest answer."""

    id: str
    agent: str
    status: str  #: ``delivered``, ``queued`` or ``accepted``
    attempts: int
    reason: Reason | None = None  #: with ``queued`` and ``accepted``
    durable: bool = True  #: False where the store is only memory
    reply: bytes | None = None  #: the agent's, JSON as it came; with ``delivered``
    ttl: int | None = None  #: seconds that apply, where a TTL was asked for
    replay: bool = False  #: the answer to a repeat with the same idempotency key


class AgentView(Value, frozen=True):
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


class MessageView(Value, frozen=True):
    """A message as its publisher or an operator may see it (protocol 1.3). Times are Unix seconds."""

    id: str
    agent: str
    publisher: str
    status: Status
    attempts: int
    created_at: float
    expires_at: float
    ended_at: float | None = None
    reason: str = ""
    reply: bytes | None = None
    timeline: tuple[Event, ...] = ()
    message: Message | None = None  #: with its payload, where that was asked for


class Notice(Value, frozen=True):
    """Something happened (protocol 1.4). ``number`` rises by one from notice to notice."""

    number: int
    event: str  #: ``agent.connected``, ``message.sent`` …
    agent: str
    at: float  #: Unix time
    fields: dict[str, Any]


class Readiness(Value, frozen=True):
    """Can the relay accept now?"""

    ready: bool
    durable: bool
    why: str = ""  #: in a word, when it is not: ``draining`` or ``store-unavailable``


class Figures(Value, frozen=True):
    """How much there is of everything on the floor, now and since the start."""

    sessions: int  #: that hold an agent
    unregistered: int  #: connections that hold none, or none yet
    queued: int  #: messages that are durable and have not ended …
    queued_bytes: int  #: … and their payloads
    held_bytes: int  #: payloads that are only in memory
    unrecorded: int  #: ends that the store does not know yet
    events: dict[str, int]  #: how often each kind happened


class Trials(Value, frozen=True):
    """What was tried with a message so far: the input of every redelivery decision."""

    attempts: int = 0  #: sends
    failures: int = 0  #: sends that count towards the limit of redeliveries
    nacks: int = 0  #: nacks, and breaks that were blamed on it: they choose the next delay
    first_failure_at: float = 0.0  #: Unix time of the first failure; 0 = none yet
    not_before: float = 0.0  #: Unix time before which it is not sent again; 0 = at once


class Record(Value, frozen=True):
    """A message with its place in its agent's order, as a store keeps it.

    ``place`` is unique in the whole store, rises with acceptance and never changes; order is read from it alone.
    """

    place: int
    message: Message
    trials: Trials = Trials()


class Key(Value, frozen=True):
    """An idempotency key: per publisher and agent it names one message (protocol 1.1 'Idempotency')."""

    publisher: str
    agent: str
    key: str
    digest: bytes  #: of the payload and its content type
    until: float  #: Unix time; remembered at least so long


class Event(Value, frozen=True, array_like=True):
    """One line of a message's history. Like ``Past`` it is packed without the names of its fields."""

    at: float  #: Unix time
    event: str  #: ``accepted``, ``queued``, ``sent``, ``delivered`` …
    session: str | None = None
    node: str | None = None
    detail: str | None = None


class Past(Value, frozen=True, array_like=True):
    """A message that has ended, as it is remembered."""

    id: str
    agent: str
    publisher: str
    status: Status
    reason: str
    attempts: int
    created_at: float
    expires_at: float
    ended_at: float
    reply: bytes | None = None  #: JSON as it came
    timeline: tuple[Event, ...] = ()
    callback: str | None = None  #: URL that another end is told to: what was replaced may be delivered after all


class Put(Value, frozen=True):
    """Keep this record.

    With a ``key`` that is known already nothing is kept: the answer says what it names. With ``supersedes`` every
    queued message of the same agent and topic ends ``replaced`` (reason: the new id) in the same commit, but for those
    in ``spared``, which are in flight: the store remembers it of them, and ends them so when it is opened again.
    ``timeline``: what happened to it so far.
    """

    record: Record
    timeline: tuple[Event, ...] = ()
    key: Key | None = None
    supersedes: bool = False
    spared: frozenset[str] = frozenset()


class Kept(Value, frozen=True):
    """The answer to a Put."""

    replaced: tuple[tuple[str, int], ...] = ()  #: (id, payload bytes) of what it superseded
    known: Known | None = None  #: the key was known: what it names, and nothing was kept


class Known(Value, frozen=True):
    """What an idempotency key names."""

    id: str
    digest: bytes
    record: Record | None  #: still queued
    past: Past | None  #: ended; both None: ended so long ago that only the key is remembered


class Revise(Value, frozen=True):
    """Replace the trials of a kept message, and add to its timeline. One that is not kept (any more) is left alone."""

    agent: str
    id: str
    trials: Trials
    timeline: tuple[Event, ...] = ()


class End(Value, frozen=True):
    """The message has ended: it leaves the queue, and is remembered as ``Past``; a dead letter with its payload.

    ``timeline`` is added to what the store has of it.
    """

    agent: str
    id: str
    status: Status
    reason: str = ""
    at: float = 0.0  #: Unix time
    attempts: int = 0
    reply: bytes | None = None
    timeline: tuple[Event, ...] = ()


class Requeue(Value, frozen=True):
    """A dead letter goes back to its queue, at ``place``: attempts 0, its first time to live afresh from ``at``."""

    id: str
    place: int
    at: float


class Discard(Value, frozen=True):
    """A dead letter goes away."""

    id: str


class Callback(Value, frozen=True):
    """The end of a message, to be told to a URL (protocol 1.6).

    A message may end twice (a dead letter that was requeued): a new end takes the place of one that was not told yet,
    under the next ``number``, so that what came of telling the old one is not taken for an answer to the new one.
    """

    id: str  #: of the message
    url: str
    body: bytes
    tries: int = 0
    due_at: float = 0.0  #: Unix time of the next try
    number: int = 1


class PutOff(Value, frozen=True):
    """A callback is tried again, at Unix time ``due_at``. One whose end is not the latest any more is left alone."""

    id: str
    number: int
    tries: int
    due_at: float


class Told(Value, frozen=True):
    """A callback was taken, or given up. One whose end is not the latest any more is left alone."""

    id: str
    number: int


class Seen(Value, frozen=True):
    """The agent was here at that time (Unix time)."""

    agent: str
    at: float


Write = Put | Revise | End | Seen | Requeue | Discard | PutOff | Told

#: Reasons of messages that did not end well: kept with their payload, to be looked at and perhaps requeued.
DEAD_LETTERS = frozenset({"expired", "rejected", "attempts", "overflow", "too-large-for-agent", "corrupt"})


class Standing(Value, frozen=True):
    """A queued message as a store has it."""

    record: Record
    timeline: tuple[Event, ...]


class Letter(Value, frozen=True):
    """A dead letter."""

    record: Record
    past: Past


class Depth(Value, frozen=True):
    """How much is queued for an agent."""

    count: int = 0
    bytes: int = 0  #: payload bytes

    def __add__(self, other: Depth) -> Depth:
        return Depth(self.count + other.count, self.bytes + other.bytes)

    def __sub__(self, other: Depth) -> Depth:
        return Depth(self.count - other.count, self.bytes - other.bytes)


NOTHING = Depth()


class Snapshot(Value, frozen=True):
    """What a store holds when it is opened."""

    last_place: int  #: the highest place ever kept; 0 for an empty store
    depths: dict[str, Depth]  #: agents with something queued
    seen: dict[str, float]  #: agents seen in the last 30 days, and when (Unix time)
    secret: bytes = b""  #: 32 bytes, made once with the store: ids of messages with a key are derived from it


class Page(Value, frozen=True):
    """A piece of an agent's queue, in the order of places.

    ``last`` is the place of the last row that was looked at (or the start, if there was none), so that reading goes
    on after it even when nothing on the page may be sent. ``more`` is False once the range is exhausted.
    """

    records: tuple[Record, ...]
    delayed: tuple[tuple[int, str, float], ...]  #: (place, id, not_before) of those whose time has not come
    corrupt: tuple[str, ...]  #: ids of rows whose checksum does not match: never to be sent
    last: int
    more: bool
