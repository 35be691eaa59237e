"""What an agent says of its messages: ACK, NACK, progress (protocol 2.3). A repeat or a foreign id is ignored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from relay.core import policy
from relay.core.entry import Entry, Phase
from relay.core.model import Message, Status
from relay.core.wire import LONGEST_NACK_DELAY, Nack
from relay.hub import ends, putoff
from relay.hub.courier import Courier
from relay.hub.ends import Then, nothing

Confirm = Callable[[list[str], list[str]], object]


def acknowledge(
    courier: Courier, ids: Sequence[str], *, reply: bytes | None = None, confirm: Confirm | None = None
) -> None:
    """Processed: forgotten, from whichever session of the agent it was sent.

    ``confirm`` is called once all of it is durable, with the ids that were known and those that were not.
    """
    tally = None if confirm is None else Tally(ids, confirm)
    courier.silence.broken(courier.context.clock.seconds())
    if len(ids) == 1:
        _acknowledge(courier, ids[0], reply, nothing if tally is None else tally.about(ids[0]))
    else:
        _acknowledge_all(courier, list(dict.fromkeys(ids)), reply, tally)
    courier.pump()


def acknowledge_one(courier: Courier, id: str, now: float) -> None:
    """The same for one message, where nothing was said but that, ``now`` in seconds of the clock."""
    courier.silence.broken(now)
    _acknowledge(courier, id, None, nothing)
    courier.pump()


def _acknowledge_all(courier: Courier, ids: Sequence[str], reply: bytes | None, tally: Tally | None) -> None:
    """Those which are in flight together, be they durable or in memory alone, and the others one by one."""
    stored: list[tuple[Entry, Then]] = []
    held: list[tuple[Entry, Message, Then]] = []
    others: list[tuple[str, Then]] = []
    for id, entry in zip(ids, map(courier.line.entries.get, ids), strict=True):
        then = nothing if tally is None else tally.about(id)
        if entry is not None and (message := ends.only_held(entry)) is not None:
            held.append((entry, message, then))
        elif entry is not None and ends.is_as_stored(entry):
            stored.append((entry, then))
        else:
            others.append((id, then))
    if not others:
        _deliver(courier, stored, held, reply)
        return
    with courier.context.ledger.ends.together():
        _deliver(courier, stored, held, reply)
        for id, then in others:
            _acknowledge(courier, id, reply, then)


def _deliver(
    courier: Courier,
    stored: Sequence[tuple[Entry, Then]],
    held: Sequence[tuple[Entry, Message, Then]],
    reply: bytes | None,
) -> None:
    ends.deliver_all(courier, stored, reply)
    ends.deliver_held(courier, held, reply)
    if (outlet := courier.outlet) is not None:
        outlet.widen(len(stored) + len(held))


def _acknowledge(courier: Courier, id: str, reply: bytes | None, then: Then) -> None:
    entry = courier.line.entries.get(id)
    message = None if entry is None else ends.only_held(entry)
    if entry is not None and message is not None:  # as nearly always
        ends.deliver_one(courier, entry, message, reply, then)
    elif entry is None or entry.unproved:
        return _end_unseen(courier, id, Status.DELIVERED, reply=reply, then=then)
    elif entry.phase is Phase.ENDED:
        return _acknowledge_what_ended(courier, id, reply, then)
    else:  # it may even wait for its first send: a repeat with its key, of what an earlier session sent
        courier.end(entry, Status.DELIVERED, reply=reply, then=then)
    if courier.outlet is not None:
        courier.outlet.widen()


def _acknowledge_what_ended(courier: Courier, id: str, reply: bytes | None, then: Then) -> None:
    """Its end is being recorded. What was replaced, and is acknowledged all the same, was delivered after all."""
    recorded, agent = courier.context.ledger.ends, courier.agent

    def again(_had: bool) -> None:
        if recorded.ending(agent, id) is None:
            _end_unseen(courier, id, Status.DELIVERED, reply=reply, then=then)
        else:  # it was acknowledged twice meanwhile
            recorded.when_recorded(agent, id, then)

    recorded.when_recorded(agent, id, again if recorded.ending(agent, id) is Status.REPLACED else then)


class Tally:
    """Counts what became of the ids of one ACK until all is known."""

    def __init__(self, ids: Sequence[str], confirm: Confirm) -> None:
        self._order = list(dict.fromkeys(ids))
        self._confirm = confirm
        self._known: dict[str, bool] = {}
        if not self._order:
            confirm([], [])

    def about(self, id: str) -> Then:
        def tell(known: bool) -> None:
            if id in self._known:
                return
            self._known[id] = known
            if len(self._known) == len(self._order):
                known_ids = [id for id in self._order if self._known[id]]
                self._confirm(known_ids, [id for id in self._order if not self._known[id]])

        return tell


def refuse(courier: Courier, nack: Nack) -> None:
    """Not processed: again later, or never."""
    entry, reason = courier.line.entries.get(nack.id), _reason(courier, nack)
    if not nack.requeue:
        if entry is None or entry.unproved:
            _end_unseen(courier, nack.id, Status.REJECTED, reason)
        elif entry.phase in (Phase.FLYING, Phase.RESTING):
            courier.end(entry, Status.REJECTED, reason)
    else:
        delay = None if nack.delay is None else min(nack.delay, LONGEST_NACK_DELAY)
        if entry is None and courier.line.live:  # without a session it waits for the next one as it is
            pause = policy.nack_pause(1) if delay is None else delay
            courier.line.defer(nack.id, courier.context.wall() + pause)
        elif entry is not None and entry.phase is Phase.FLYING:
            putoff.put_off(courier, entry, delay, reason or None)
    courier.pump()


def _reason(courier: Courier, nack: Nack) -> str:
    """What the agent says, as far as it is kept: it stands in the memory of events, and as long as its message."""
    reason, most = nack.reason or "", courier.context.limits.reason
    if len(reason) > most:
        courier.context.counters.reached("reason")
    return reason[:most]


def still_working(courier: Courier, ids: Sequence[str]) -> None:
    """The redelivery clock starts afresh."""
    outlet = courier.outlet
    if outlet is not None:
        for id in ids:
            entry = courier.line.entries.get(id)
            if entry is not None and entry.phase is Phase.FLYING:
                outlet.redelivery.start(entry, outlet.flow_time())
    courier.pump()


def _end_unseen(
    courier: Courier, id: str, status: Status, reason: str = "", *, reply: bytes | None = None, then: Then = nothing
) -> None:
    """Perhaps only the disk has it. Where nothing is queued there is nothing to end, and no write to spend on it: but
    an ACK may still be about what was replaced while the agent had it.
    """
    context, agent = courier.context, courier.agent
    if context.ledger.ends.count(agent) >= context.limits.max_in_flight:
        # It never had so many, and one frame may name a hundred thousand. What was its own after all is sent again.
        context.counters.reached("max_in_flight")
        then(False)
    elif status is Status.DELIVERED or context.ledger.depth(agent).count:
        courier.end_unseen(id, status, reason, reply=reply, then=then)
    else:
        then(False)
