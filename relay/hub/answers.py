"""What an agent says of its messages: ACK, NACK, progress (protocol 2.3). A repeat or a foreign id is ignored."""

from __future__ import annotations

from collections.abc import Iterable

from relay.core import policy
from relay.core.entry import Entry, Phase, Saved
from relay.core.model import Reason, Status
from relay.core.wire import LONGEST_NACK_DELAY, Nack
from relay.hub.courier import Courier


def acknowledge(courier: Courier, ids: Iterable[str]) -> None:
    """Processed: forgotten, from whichever session of the agent it was sent."""
    for id in ids:
        entry = courier.line.entries.get(id)
        if entry is None:
            _end_unseen(courier, id, Status.DELIVERED)
        elif entry.phase in (Phase.FLYING, Phase.RESTING):
            courier.end(entry, Status.DELIVERED)
            if courier.outlet is not None:
                courier.outlet.widen()
    courier.pump()


def refuse(courier: Courier, nack: Nack) -> None:
    """Not processed: again later, or never."""
    entry = courier.line.entries.get(nack.id)
    if not nack.requeue:
        if entry is None:
            _end_unseen(courier, nack.id, Status.REJECTED, nack.reason or "")
        elif entry.phase in (Phase.FLYING, Phase.RESTING):
            courier.end(entry, Status.REJECTED, nack.reason or "")
    else:
        delay = None if nack.delay is None else min(nack.delay, LONGEST_NACK_DELAY)
        if entry is None:
            pause = policy.nack_pause(1) if delay is None else delay
            courier.line.defer(nack.id, courier.context.wall() + pause)
        elif entry.phase is Phase.FLYING:
            _again_later(courier, entry, delay)
    courier.pump()


def _again_later(courier: Courier, entry: Entry, delay: float | None) -> None:
    now = courier.context.wall()
    trials = policy.nacked(entry.trials, now, delay)
    if policy.is_dead(trials, now, courier.context.limits):
        courier.end(entry, Status.DEAD, "attempts")
        return
    courier.line.rest(entry, trials)
    if entry.saved is not Saved.NO:
        courier.revise(entry)
    courier.acks.give_up(entry.id, Reason.NACKED)


def still_working(courier: Courier, ids: Iterable[str]) -> None:
    """The redelivery clock starts afresh."""
    outlet = courier.outlet
    if outlet is None:
        return
    for id in ids:
        entry = courier.line.entries.get(id)
        if entry is not None and entry.phase is Phase.FLYING:
            outlet.redelivery.start(entry, outlet.flow_time())


def _end_unseen(courier: Courier, id: str, status: Status, reason: str = "") -> None:
    """Perhaps only the disk has it; where nothing is queued there is nothing to end, and no write to spend on it."""
    if courier.context.ledger.depth(courier.agent).count:
        courier.end_unseen(id, status, reason)
