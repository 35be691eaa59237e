"""When everything is healed and everybody acknowledges, nothing may be left: no message, no timer, no waiter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.core.model import NOTHING
from tests.simulation.truth import check, look_for_what_was_promised

if TYPE_CHECKING:
    from tests.simulation.world import World

LONGEST_WAIT = 30.0


def come_to_rest(world: World) -> None:
    """Everything is healed, everybody acknowledges, those who are not here come: nothing may be left.

    Who is here stays: what is queued for a session must come in that session.
    """
    world.store.heal()
    for end in world.ends:
        end.answers_pings, end.wire.stalled = True, False
        end.wire.take()
        if not end.wire.taking:
            world.call_or_hang_up(end)
        if end.live:
            end.window = 1000
            end.say("window", max_in_flight=1000)
    world.pass_time(6)
    check(world)
    _what_was_forgotten_comes_again(world)
    _everybody_acknowledges(world)
    look_for_what_was_promised(world)
    _nothing_is_left(world)


def _what_was_forgotten_comes_again(world: World) -> None:
    """What nobody said anything of is sent again, in the session that it is in."""
    ends = [end for end in world.ends if end.live and end.outstanding and 0 < end.ack_wait <= 30]
    before = {end: {id: flight.sends for id, flight in end.outstanding.items()} for end in ends}
    waits = [end.patience(id) for end in ends for id in end.outstanding]
    if not waits or max(waits) > 60:
        return
    world.pass_time(max(waits) + 32)
    for end in ends:
        if end.live:
            for id, sends in before[end].items():
                again = id not in end.outstanding or end.outstanding[id].sends > sends
                assert again, f"{world.by_id[id].number} was never sent again"


def _everybody_acknowledges(world: World) -> None:
    names = {parcel.submission.agent for parcel in world.parcels}
    for _ in range(40):
        for name in names:
            if not any(end.name == name and end.live for end in world.ends):
                world.connect(name, 1000)
        for end in world.ends:
            if end.live and end.outstanding:
                world.ack(end, end.outstanding)
        world.pass_time(3)
        check(world)
        if _is_quiet(world):
            break
        _jump(world)


def _is_quiet(world: World) -> bool:
    return not any(parcel.unanswered for parcel in world.parcels) and not world.floor.hub._context.ledger.total.count


def _jump(world: World) -> None:
    """Nearer to when the next delay is over."""
    for _ in range(10):
        world.see_off()
        world.floor.clock.advance(10)


def _nothing_is_left(world: World) -> None:
    context = world.floor.hub._context
    unanswered = [parcel.number for parcel in world.parcels if parcel.unanswered]
    assert not unanswered, f"never answered: {unanswered}"
    names = {parcel.submission.agent for parcel in world.parcels}
    left = {name: world.store.depth(name) for name in names}
    assert set(left.values()) <= {NOTHING}, f"left in the queues: {left}"
    assert context.ledger.total == NOTHING
    assert not any(context.ledger.ends.count(name) for name in names)
    assert context.pressure.held == 0
    assert context.crowd.waiting == 0
    for end in world.ends:
        end.end(1000)
    world.pass_time(2)
    assert context.patience._calls.due_at() is None, "somebody waits for an answer still"
    world.floor.clock.advance(LONGEST_WAIT)  # who waited shared a timer, which may ring for nothing
    assert [courier.agent for courier in world.floor.hub._couriers] == []
    assert not context.chronicle._watchers
    timers = [str(call) for call in world.floor.clock.getDelayedCalls()]
    assert len(timers) == 1, f"timers beside the heartbeat: {timers}"
