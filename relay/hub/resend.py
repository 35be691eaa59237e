"""Redelivery in a live session: what ran out of time is judged, read again and sent again (protocol 2.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from relay.core import policy, wire
from relay.core.backlog import RECALL_BYTES, RECALL_COUNT
from relay.core.entry import Entry, Phase
from relay.core.model import Message, Status
from relay.core.ports import StoreUnavailable
from relay.hub.putoff import is_in_question, lapses

if TYPE_CHECKING:
    from relay.hub.courier import Courier
    from relay.hub.outlet import Outlet

log = Logger()


def what_is_due(courier: Courier) -> None:
    """Send again what was not acknowledged in time; end what expired meanwhile or failed too often."""
    outlet = courier.outlet
    if outlet is None:
        return
    again = [entry for entry in outlet.redelivery.due(outlet.flow_time()) if _goes_again(courier, entry)]
    for batch in _batches(again):
        work = Deferred.fromCoroutine(_send_again(courier, outlet, batch))
        work.addErrback(lambda failure: log.failure("a redelivery went wrong", failure))


def go_on(courier: Courier) -> None:
    """Something may go out again. What was due and found no room need not wait for another whole pause."""
    outlet = courier.outlet
    if outlet is not None and outlet.takes(1):
        outlet.redelivery.hurry(outlet.flow_time())
    courier.pump()


def is_at_hand(courier: Courier) -> bool:
    """Is something being read for its session, or due again?"""
    outlet = courier.outlet
    if outlet is None:
        return False
    resend_in = outlet.resend_in()
    return courier.line.backlog.reading or (resend_in is not None and resend_in <= 0)


def _goes_again(courier: Courier, entry: Entry) -> bool:
    """False if this failure was the last one, or the message expired."""
    now, outlet = courier.context.wall(), courier.outlet
    if is_in_question(courier, entry) and outlet is not None:
        outlet.redelivery.start(entry, outlet.flow_time())  # whether it is replaced is known then
        return False
    if lapses(courier, entry):
        return False
    if policy.is_dead(policy.failed(entry.trials, now), now, courier.context.limits):
        courier.end(entry, Status.DEAD, "attempts")
        return False
    return True


def _batches(entries: list[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) == RECALL_COUNT or size + entry.size > RECALL_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield batch


async def _send_again(courier: Courier, outlet: Outlet, batch: list[Entry]) -> None:
    messages = {entry.id: entry.message for entry in batch if entry.message is not None}
    absent = [entry.id for entry in batch if entry.message is None]
    corrupt: tuple[str, ...] = ()
    if absent:
        try:
            page = await courier.context.ledger.store.load(courier.agent, absent)
        except StoreUnavailable:
            absent = []
        else:
            messages.update((record.message.id, record.message) for record in page.records)
            corrupt = page.corrupt
    if courier.outlet is not outlet:
        return
    for entry in batch:
        if entry.phase is not Phase.FLYING or entry.pause is not None:  # its clock was started while it was read
            continue
        message = messages.get(entry.id)
        if message is not None:
            _once_more(courier, outlet, entry, message)
        elif entry.id in corrupt:
            courier.end(entry, Status.DEAD, "corrupt")
        elif entry.id in absent:
            courier.line.forget(entry)  # somebody else ended it
        else:
            outlet.redelivery.start(entry, outlet.flow_time())
    courier.pump()


def _once_more(courier: Courier, outlet: Outlet, entry: Entry, message: Message) -> None:
    """Count the failure of the last send, once: what cannot go now may come here again without having been sent."""
    if not outlet.takes(wire.estimate(message)):
        outlet.redelivery.found_no_room(entry, outlet.flow_time())
        return
    if courier.context.screen is not None:
        passed = courier.context.screen.passed(courier, message, lambda: entry)
        if passed is None:
            return
        message = passed
    entry.trials = policy.sent_once_more(policy.failed(entry.trials, courier.context.wall()))
    outlet.send(message, entry.trials.attempts, queued=True)
    courier.was_sent(entry)
    courier.revise(entry)
