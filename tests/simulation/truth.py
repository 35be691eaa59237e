"""What must be true of a world at any time, whatever happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.core.entry import Phase
from relay.core.model import Past, Standing, Status
from tests.simulation.peers import Parcel

if TYPE_CHECKING:
    from tests.simulation.world import World


def check(world: World) -> None:
    """Nothing went wrong so far, and the hub's books are right."""
    assert not world.wrong, world.wrong[0]
    assert not world.failures.found, world.failures.found[0]
    for end in world.ends:
        if end.wire.aborted:
            end.lost = True
    world.ends = [end for end in world.ends if not end.lost]
    _sessions(world)
    _books(world)


def _sessions(world: World) -> None:
    for name in {end.name for end in world.ends}:
        live = [end for end in world.ends if end.name == name and end.live]
        assert len(live) <= 1, f"{name} has {len(live)} live sessions"
    for end in world.ends:
        if end.new and end.live:
            assert len(end.outstanding) <= end.window, f"{len(end.outstanding)} in flight, allowed {end.window}"
        end.new = 0


def _books(world: World) -> None:
    hub = world.floor.hub
    for courier in hub._couriers:
        flying = sum(entry.phase is Phase.FLYING for entry in courier.line.entries.values())
        assert courier.line.flying == flying, "the line has miscounted"
    assert hub._context.pressure.held >= 0
    ledger = hub._context.ledger
    names = {parcel.submission.agent for parcel in world.parcels}
    if world.store.calm and not any(ledger.ends.count(name) for name in names):
        for name in names:
            assert ledger.depth(name) == world.store.depth(name), f"the ledger has miscounted {name}"


def look_for_what_was_promised(world: World) -> None:
    """What was said to be kept is queued, or its end is remembered; and what is remembered is true."""
    for parcel in world.parcels:
        found = None if parcel.id is None else world.store.known(parcel.id)
        if isinstance(found, Past):
            _is_true(world, parcel, found)
        elif isinstance(found, Standing):
            assert not parcel.acked, f"{parcel.number} was acknowledged for good and is queued"
            assert found.record.message.payload == parcel.submission.payload, f"{parcel.number} was changed"
        assert found is not None or not parcel.promised, f"{parcel.number} was promised and is lost"


def _is_true(world: World, parcel: Parcel, past: Past) -> None:
    """Its end has a reason, and that is what happened."""
    number, submission = parcel.number, parcel.submission
    match past.status:
        case Status.DELIVERED:
            assert parcel.ever_acked, f"{number} is remembered as delivered, and nobody acknowledged it"
        case Status.REJECTED:
            assert parcel.refused, f"{number} is remembered as rejected, and nobody refused it"
        case Status.EXPIRED:
            assert past.ended_at >= past.expires_at or submission.ttl == 0, f"{number} expired before its time"
        case Status.DEAD:
            assert past.reason == "attempts", f"{number} died of {past.reason}"
        case Status.CANCELLED:
            assert parcel.cancelled, f"{number} is remembered as cancelled, and nobody asked for that"
        case Status.REPLACED:
            newer = world.by_id[past.reason]
            assert newer.submission.topic == submission.topic is not None, f"{number} was replaced by another topic"
            assert newer.submission.agent == submission.agent, f"{number} was replaced by another agent's message"
            assert newer.order > parcel.order or newer.moved, f"{number} was replaced by an older one"
        case other:
            raise AssertionError(f"{number} ended {other}")
