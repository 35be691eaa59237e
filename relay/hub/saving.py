"""Making a message durable, and what comes with it in the same commit: its key, and the end of those it replaces."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from relay.core.entry import Entry, Phase, Saved
from relay.core.model import Kept, Key, Message, Put, Record, Status
from relay.core.ports import StoreUnavailable

if TYPE_CHECKING:
    from relay.hub.courier import Courier


def nothing(kept: Kept | StoreUnavailable) -> None:
    """Nobody waits for that."""


def save(courier: Courier, entry: Entry, key: Key | None, then: Callable[[], object]) -> None:
    """See ``Courier.save``."""
    message = entry.message
    if entry.saved is not Saved.NO or message is None:
        then()
        return
    context, line = courier.context, courier.line
    queued = context.chronicle.event("queued")
    replaces = message.topic is not None
    others = line.topics.others(entry) if replaces else ()
    # Only what is older: this one may be saved long after a newer one of its topic was sent.
    flying = frozenset(other.id for other in others if other.phase is Phase.FLYING and other.place < entry.place)
    record = Record(entry.place, message, entry.trials)
    op = Put(record, (*context.chronicle.take(entry), queued), key, supersedes=replaces, spared=flying)
    entry.saved = Saved.SAVING
    entry.writes += 1
    line.topics.replacing += replaces

    def settled(kept: Kept | StoreUnavailable) -> None:
        try:
            if isinstance(kept, Kept):
                _kept(courier, entry, kept, flying)
            else:
                _gone(courier, entry)
                courier.acks.fail(entry.id, kept)
            line.topics.replacing -= replaces
            courier.hold(-1, -entry.size)
            courier.pump()
        finally:
            then()

    context.ledger.put(op, settled)


def _kept(courier: Courier, entry: Entry, kept: Kept, spared: Collection[str]) -> None:
    if kept.known is not None:
        _gone(courier, entry)
        courier.acks.is_known(entry.id, kept.known)
        return
    courier.line.saved(entry)
    courier.line.written(entry)
    courier.context.chronicle.tell(courier.agent, entry.id, "queued")
    for id, _size in kept.replaced:
        if courier.context.ledger.ends.ending(courier.agent, id) is None:  # else it had ended before
            _replaced(courier, id, entry.id)
    for id in spared:
        _no_longer_flying(courier, id, entry.id)


def _no_longer_flying(courier: Courier, id: str, by: str) -> None:
    """One was in flight when that which takes its place was accepted. If it is no more, it ends now.

    Not earlier: the store might not have kept the newer one, and nobody would have had either.
    """
    other = courier.line.entries.get(id)
    if other is None:
        if courier.context.ledger.ends.ending(courier.agent, id) is None:
            courier.end_unseen(id, Status.REPLACED, by)
    elif other.phase in (Phase.WAITING, Phase.RESTING):
        courier.end(other, Status.REPLACED, by)


def _gone(courier: Courier, entry: Entry) -> None:
    """It was not kept, and nobody tries any more: what it would have replaced stays, but for what is newer still."""
    others = courier.line.topics.others(entry)
    for other in others:
        if other.replaced_by == entry.id:
            other.replaced_by = next((newer.id for newer in others if newer.place > other.place), "")
    entry.saved = Saved.NO
    courier.line.written(entry)
    courier.line.withdraw(entry)


def _replaced(courier: Courier, id: str, by: str) -> None:
    """The store has ended it: it is not sent any more, and who waits for it is told."""
    line = courier.line
    line.forget(line.entries.get(id) or line.tombstone(id))
    courier.context.chronicle.tell(courier.agent, id, Status.REPLACED.value, detail=by)
    courier.context.chronicle.ended(id)
    courier.acks.replaced(id, by)


def bury(courier: Courier, entry: Entry, message: Message) -> None:
    """A message that was never durable did not end well: it is kept, so that it can be among the dead letters.

    Its end is recorded right after, in the same commit as a rule; until that is done it stays in mind.
    """
    op = Put(Record(entry.place, message, entry.trials), courier.context.chronicle.take(entry))
    entry.saved = Saved.SAVING
    courier.context.ledger.put(op, nothing)
