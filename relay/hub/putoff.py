"""A message that cannot be had now is had again later, or is a dead letter (protocol 2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.core import policy
from relay.core.entry import Entry, Phase, Saved
from relay.core.model import Reason, Status

if TYPE_CHECKING:
    from relay.hub.courier import Courier


def put_off(courier: Courier, entry: Entry, delay: float | None, reason: str | None) -> None:
    """It was refused: it rests for ``delay`` seconds, or (None) by how often it was, and its POST is answered."""
    if rest(courier, entry, delay, reason):
        courier.acks.give_up(entry.id, Reason.NACKED)


def rest(courier: Courier, entry: Entry, delay: float | None, reason: str | None) -> bool:
    """The same, while somebody may still be told its end. False if it has ended."""
    now = courier.context.wall()
    if lapses(courier, entry):
        return False
    trials = policy.nacked(entry.trials, now, delay)
    if policy.is_dead(trials, now, courier.context.limits):
        courier.end(entry, Status.DEAD, "attempts")
        return False
    entry.events += (courier.context.chronicle.event("nacked", detail=reason),)
    courier.line.rest(entry, trials)
    if entry.saved is not Saved.NO:
        courier.revise(entry)
    return True


def is_in_question(courier: Courier, entry: Entry) -> bool:
    """Is what would take its place being written still? Until the store has kept that, it may be the newest."""
    newer = courier.line.entries.get(entry.replaced_by) if entry.replaced_by else None
    return newer is not None and newer.saved is Saved.SAVING and newer.phase is not Phase.ENDED


def lapses(courier: Courier, entry: Entry) -> bool:
    """Instead of being sent again: has it expired, or was it replaced in flight? Then it ends now."""
    if entry.expires_at <= courier.context.wall():
        courier.end(entry, Status.EXPIRED, "expired")
    elif entry.replaced_by and not is_in_question(courier, entry):
        courier.end(entry, Status.REPLACED, entry.replaced_by)
    else:
        return False
    return True
