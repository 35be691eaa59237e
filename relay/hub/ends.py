"""The end of a message: told to its waiter now, and to the store as soon as may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from relay.core import run
from relay.core.entry import FLYING, UNSAVED, Entry, Phase, Saved
from relay.core.line import land
from relay.core.model import DEAD_LETTERS, End, Message, Status
from relay.hub import saving
from relay.hub.acks import DELIVERED, Ending
from relay.hub.unrecorded import Owed

if TYPE_CHECKING:
    from relay.hub.courier import Courier

Then = Callable[[bool], object]


def nothing(had: bool) -> None:
    """Nobody waits for that."""


def is_buried(message: Message, status: Status, reason: str) -> bool:
    """Is it kept as a dead letter, though it was never durable? What was now or never has no other time."""
    return (reason in DEAD_LETTERS or status is Status.REJECTED) and message.expires_at > message.created_at


def end(courier: Courier, entry: Entry, status: Status, reason: str, reply: bytes | None, then: Then) -> None:
    """See ``Courier.end``."""
    context, message, saved = courier.context, entry.message, entry.saved
    courier.line.end(entry)
    if courier.outlet is not None:
        courier.outlet.redelivery.stop(entry)
    context.chronicle.note(courier.agent, entry, status.value, session=_session(courier), detail=reason or None)
    if saved is Saved.NO:
        assert message is not None
        courier.hold(-1, -entry.size)
        if is_buried(message, status, reason):
            saving.bury(courier, entry, message)
            _record(courier, entry, status, reason, reply, then)
        else:
            context.chronicle.remember(message, entry, status, reason, reply)
            courier.line.forget(entry)
            then(True)
    else:
        _record(courier, entry, status, reason, reply, then)
    courier.acks.end(entry.id, Ending(status, reason, reply))


def end_unseen(courier: Courier, unseen: End, then: Then) -> None:
    """See ``Courier.end_unseen``."""
    entry = courier.line.entries.get(unseen.id)
    # One that has ended may be in mind a little longer, while something is read: it has left the depth already.
    if entry is not None and not entry.unproved and entry.phase is not Phase.ENDED:
        end(courier, entry, unseen.status, unseen.reason, unseen.reply, then)
        return
    chronicle, name, detail = courier.context.chronicle, unseen.status.value, unseen.reason or None
    entry = courier.line.tombstone(unseen.id)
    entry.events += (chronicle.event(name, session=_session(courier), detail=detail),)

    def recorded(had: bool) -> None:
        if had:
            chronicle.tell(courier.agent, unseen.id, name, detail=detail)
        then(had)

    _record(courier, entry, unseen.status, unseen.reason, unseen.reply, recorded)
    courier.acks.end(unseen.id, Ending(unseen.status, unseen.reason, unseen.reply))


def _session(courier: Courier) -> str | None:
    return courier.outlet.session if courier.outlet is not None else None


def _record(courier: Courier, entry: Entry, status: Status, reason: str, reply: bytes | None, then: Then) -> None:
    context = courier.context
    size = entry.size if entry.saved is Saved.YES and entry.size else None
    attempts, timeline = entry.trials.attempts, context.chronicle.take(entry)
    end = End(courier.agent, entry.id, status, reason, context.wall(), attempts, reply, timeline)
    context.ledger.ends.end(end, size, partial(_recorded, courier, entry, then))


def _recorded(courier: Courier, entry: Entry, then: Then, had: bool) -> None:
    context = courier.context
    courier.line.forget(entry)
    if courier.acks:
        courier.acks.recorded(entry.id)
    context.chronicle.ended(entry.id)
    if then is not nothing:
        then(had)
    if courier.outlet is None or context.ledger.ends.count(courier.agent) == context.limits.unrecorded - 1:
        courier.pump()  # it may be forgotten, or its queue rested for this; nothing else waits for a record


def is_as_stored(entry: Entry) -> bool:
    """Is it in flight, and does the store have it as it is? As nearly all of a queue that is acknowledged."""
    return entry.phase is FLYING and entry.saved is Saved.YES and entry.size > 0


def only_held(entry: Entry) -> Message | None:
    """The message of what is in flight, and only in memory."""
    return entry.message if entry.phase is FLYING and entry.saved is UNSAVED else None


def deliver_one(courier: Courier, entry: Entry, message: Message, reply: bytes | None, then: Then) -> None:
    """One that is ``only_held`` is delivered, as nearly all are: what ``end`` comes to then."""
    outlet = courier.outlet
    if outlet is not None and entry.pause is not None:
        outlet.redelivery.stop(entry)
    land(courier.line, entry)
    courier.hold(-1, -entry.size)
    courier.context.chronicle.landed(courier.agent, entry, message, None if outlet is None else outlet.session, reply)
    if then is not nothing:
        then(True)
    courier.acks.end(entry.id, DELIVERED if reply is None else Ending(Status.DELIVERED, "", reply))


def deliver_all(courier: Courier, ended: Sequence[tuple[Entry, Then]], reply: bytes | None) -> None:
    """Several that are ``is_as_stored`` are delivered: as ``end``, with what is the same for all done once."""
    if not ended:
        return
    context, agent, now = courier.context, courier.agent, courier.context.wall()
    chronicle, entries = context.chronicle, [entry for entry, _ in ended]
    _landed(courier, entries)
    chronicle.note_all(agent, entries, Status.DELIVERED.value, session=_session(courier))
    owed = [
        Owed(
            End(agent, entry.id, Status.DELIVERED, "", now, entry.trials.attempts, reply, chronicle.take(entry)),
            entry.size,
            partial(_recorded, courier, entry, then),
        )
        for entry, then in ended
    ]
    context.ledger.ends.end_all(agent, owed)
    if courier.acks:
        courier.acks.delivered([entry.id for entry in entries], reply)


def deliver_held(courier: Courier, ended: Sequence[tuple[Entry, Message, Then]], reply: bytes | None) -> None:
    """The same for several that are ``only_held``: they are durable nowhere, and are remembered for a while."""
    if not ended:
        return
    pairs = [(entry, message) for entry, message, _ in ended]
    entries = [entry for entry, _ in pairs]
    _landed(courier, entries)
    courier.hold(-len(entries), -sum([entry.size for entry in entries]))
    courier.context.chronicle.landed_all(courier.agent, pairs, _session(courier), reply)
    run.forgotten(courier.line, entries)
    for _, _, then in ended:
        if then is not nothing:
            then(True)
    courier.acks.delivered([entry.id for entry in entries], reply)


def _landed(courier: Courier, entries: Sequence[Entry]) -> None:
    """They are in flight no more."""
    run.ended(courier.line, entries)
    if courier.outlet is not None:
        courier.outlet.redelivery.stop_all(entries)
