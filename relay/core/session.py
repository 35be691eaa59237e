"""One agent's conversation as a visible table: what each kind of frame does in each state (protocol 2.3)."""

from __future__ import annotations

import enum
from typing import Final


class State(enum.Enum):
    """Where a conversation stands. It only moves down this list."""

    OPEN = "open"  #: upgraded; the first frame must register
    ARRIVING = "arriving"  #: it registered, with many others; its turn comes
    CHECKING = "checking"  #: it registered; whoever knows its token is being asked
    PROBING = "probing"  #: it registered for an agent that is held; the holder is asked for a sign of life
    LIVE = "live"  #: it holds its agent
    CLOSING = "closing"  #: a close was sent; what the agent acknowledged on its way still counts
    FENCED = "fenced"  #: closed because it lost its place: nothing that it says counts any more
    OVER = "over"  #: the connection is gone


LIVE: Final = State.LIVE  #: where nearly all are
OVER: Final = State.OVER


class Act(enum.Enum):
    """What is done with a frame."""

    REGISTER = "register"
    HANDLE = "handle"
    KEEP = "keep"  #: for later, when it is known whether it may stay
    REFUSE = "refuse"  #: ``already-registered``
    UNREGISTERED = "unregistered"  #: close 4002: something else came before ``register``
    IGNORE = "ignore"


class Close(enum.IntEnum):
    """Close codes that the relay sends (protocol 2.4)."""

    GOING_AWAY = 1001
    DUPLICATE = 4000
    REPLACED = 4001
    UNREGISTERED = 4002
    UNAUTHORISED = 4003
    ERRORS = 4004
    OPERATOR = 4005
    SLOW = 4008
    LOST_PLACE = 4009
    TOKEN_EXPIRED = 4010
    OVERLOADED = 4013


#: After these nothing from that socket counts: another session may already be acting on its messages.
FENCING: Final = frozenset({Close.REPLACED, Close.OPERATOR, Close.LOST_PLACE})

#: Closes by the relay that count as a broken session when blame is laid: the agent itself went wrong.
BROKEN: Final = frozenset({Close.UNREGISTERED, Close.ERRORS})

#: Close codes by which an agent ends its session in order.
ORDERLY: Final = frozenset({1000, 1001})

#: It is not known yet whether it may stay: nothing more is read from it, and what came is kept, in its order.
#: Not a set: the hash of an enum's member is a call in Python.
WAITING: Final = (State.ARRIVING, State.CHECKING, State.PROBING)

_ANSWERS: Final = frozenset({"ack", "nack", "progress"})


def act(state: State, kind: str) -> Act:
    """What is done with a well-formed frame of that type."""
    if state is State.LIVE:
        return Act.REFUSE if kind == "register" else Act.HANDLE
    if state is State.OPEN:
        return Act.REGISTER if kind == "register" else Act.UNREGISTERED
    if state in WAITING:
        return Act.KEEP
    if state is State.CLOSING and kind in _ANSWERS:
        return Act.HANDLE
    return Act.IGNORE


def closed_by(code: int) -> State:
    """The state after the relay sent this close code."""
    return State.FENCED if code in FENCING else State.CLOSING


def broke(code: int | None, by_relay: bool) -> bool:
    """Did a session break, or end in order? ``code`` is the close code that was seen, None for a lost connection."""
    if by_relay:
        return code in BROKEN
    return code not in ORDERLY
