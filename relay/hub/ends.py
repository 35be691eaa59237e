"""The end of a message: told to its waiter now, and to the store as soon as may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from relay.core.entry import Entry, Saved
from relay.core.model import DEAD_LETTERS, End, Message, Status
from relay.hub import saving
from relay.hub.acks import Ending

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
    if entry is not None and not entry.unproved:
        end(courier, entry, unseen.status, unseen.reason, unseen.reply, then)
        return
    chronicle, name, detail = courier.context.chronicle, unseen.status.value, unseen.reason or None
    entry = courier.line.tombstone(unseen.id)
    entry.events.append(chronicle.event(name, session=_session(courier), detail=detail))

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
    attempts, timeline = entry.trials.attempts, entry.take_events()
    end = End(courier.agent, entry.id, status, reason, context.wall(), attempts, reply, timeline)

    def recorded(had: bool) -> None:
        courier.line.forget(entry)
        courier.acks.recorded(entry.id)
        context.chronicle.ended(entry.id)
        then(had)
        if courier.outlet is None or context.ledger.ends.count(courier.agent) == context.limits.unrecorded - 1:
            courier.pump()  # it may be forgotten, or its queue rested for this; nothing else waits for a record

    context.ledger.ends.end(end, size, recorded)
