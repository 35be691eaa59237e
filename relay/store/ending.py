"""What an end leaves behind, and what ends with it: the rules, the same for every store."""

from __future__ import annotations

from typing import Final

from relay.core.model import DEAD_LETTERS, End, Event, Put, Requeue, Status
from relay.core.ports import CallbacksFull

_BAD: Final = (Status.EXPIRED, Status.REJECTED, Status.DEAD)  # no set: a status is sooner compared than hashed


def is_letter(end: End) -> bool:
    """Does the message become a dead letter, kept with its payload?"""
    return end.status in _BAD or end.reason in DEAD_LETTERS


def replacement(put: Put, id: str) -> End:
    """How the message of that id ends, which ``put`` supersedes."""
    message = put.record.message
    last = put.timeline[-1] if put.timeline else Event(message.created_at, "")
    event = Event(last.at, Status.REPLACED.value, last.session, last.node, message.id)
    return End(message.agent, id, Status.REPLACED, message.id, last.at, timeline=(event,))


def settlement(agent: str, id: str, by: str, now: float) -> End:
    """How a message ends that was in flight when ``by`` took its place, and that nobody acknowledged before a stop."""
    return End(agent, id, Status.REPLACED, by, now, timeline=(Event(now, Status.REPLACED.value, detail=by),))


def requeued(op: Requeue) -> Event:
    """What the history of a dead letter says of its way back."""
    return Event(op.at, Status.QUEUED.value, detail="requeued")


def no_room_for_callbacks(most: int) -> CallbacksFull:
    """Why a message with a callback is not taken."""
    return CallbacksFull(f"{most} callbacks are owed or promised: no more may be")
