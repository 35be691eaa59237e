"""What the memory store holds, and what each change does to it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from relay.core.model import (
    NOTHING,
    Callback,
    Depth,
    Discard,
    End,
    Kept,
    Key,
    Known,
    Letter,
    Page,
    Past,
    Put,
    PutOff,
    Record,
    Requeue,
    Revise,
    Seen,
    Snapshot,
    Standing,
    Status,
    Told,
    Trials,
    Write,
)
from relay.store import timeline
from relay.store.ending import is_letter, replacement, requeued, settlement
from relay.store.paging import PageMaker
from relay.store.queues import Held, Queues
from relay.store.recall import Callbacks, Keys, Letters, Pasts
from relay.store.retention import SEEN_COUNT, SEEN_SECONDS, Bounds
from relay.store.telling import owed, owed_anew

Answer = Depth | Kept | None


class Shelf:
    """Everything that a store keeps, in dictionaries."""

    def __init__(self, secret: bytes, bounds: Bounds) -> None:
        self._secret = secret
        self._queues = Queues()
        self._pasts = Pasts(bounds)
        self._letters = Letters(bounds)
        self._keys = Keys(bounds.keys)
        self._callbacks = Callbacks(bounds.callbacks)
        self._seen: dict[str, float] = {}  #: longest unseen first

    @property
    def queued(self) -> list[str]:
        """The ids of what is queued."""
        return list(self._queues)

    @property
    def ended(self) -> dict[str, Past]:
        """What ended without being delivered, oldest end first."""
        return {past.id: past for past in self._pasts if past.status is not Status.DELIVERED}

    # -- changes

    def apply(self, op: Write, now: float) -> Answer:
        """Make one change at Unix time ``now``, as ``MessageStore.write`` says."""
        match op:
            case Put():
                return self._put(op, now)
            case Revise():
                return self._revise(op)
            case End():
                return self._end(op, now)
            case Requeue():
                return self._requeue(op)
            case Discard():
                kept = self._letters.remove(op.id)
                return None if kept is None else depth(kept.letter.record)
            case Seen():
                self._see(op)
            case PutOff() | Told():
                self._callbacks.hear(op)
        return None

    def _put(self, op: Put, now: float) -> Kept:
        message = op.record.message
        self._keys.prune(now)
        if op.key is not None and (known := self._known(op.key, message.id)) is not None:
            return Kept(known=known)
        if self._is_there(message.id):
            return Kept()
        self._callbacks.check(message)
        if op.key is not None:
            self._keys.add(op.key, message.id)
        replaced = self._supersede(op, now) if op.supersedes else ()
        self._callbacks.promise(message)
        self._queues.add(Held(op.record, timeline.encode(op.timeline), message.expires_at - message.created_at))
        return Kept(replaced)

    def _known(self, key: Key, id: str) -> Known | None:
        """What the key names. Its id, if that is remembered longer than the key, is known all the same."""
        named = self._keys.get(key)
        if named is None and not self._is_there(id):
            return None
        id, digest = named or (id, key.digest)
        found = self.find(id)
        record = found.record if isinstance(found, Standing) else None
        return Known(id, digest, record, found if isinstance(found, Past) else None)

    def _is_there(self, id: str) -> bool:
        return id in self._queues or id in self._pasts or id in self._letters

    def _supersede(self, op: Put, now: float) -> tuple[tuple[str, int], ...]:
        replaced = [held.record.message for held in superseded(self._queues, op)]
        for older in replaced:
            self._end(replacement(op, older.id), now)
        return tuple((older.id, len(older.payload)) for older in replaced)

    def _revise(self, op: Revise) -> Depth | None:
        held = self._queues.of(op.agent, op.id)
        if held is None:
            return None
        held.record = replace(held.record, trials=op.trials)
        held.timeline = timeline.lengthened(held.timeline, op.timeline)
        return depth(held.record)

    def _end(self, op: End, now: float) -> Depth | None:
        held = self._queues.of(op.agent, op.id)
        if held is None:
            return self._delivered_after_all(op)
        self._queues.remove(held)
        past = past_of(held, op)
        self._pasts.add(past)
        self._pasts.prune(now)
        self._callbacks.keep(owed(held.record, op))
        if is_letter(op):
            trials = replace(held.record.trials, attempts=past.attempts)
            self._letters.add(Letter(replace(held.record, trials=trials), replace(past, reply=None)), held.ttl)
            self._letters.prune(now)
        return depth(held.record)

    def _delivered_after_all(self, op: End) -> Depth | None:
        past = self._pasts.get(op.id)
        late = (op.agent, Status.REPLACED, Status.DELIVERED)
        if past is None or (past.agent, past.status, op.status) != late:
            return None
        self._pasts.add(amended(past, op))
        self._callbacks.owe(owed_anew(past, op))
        return NOTHING

    def _requeue(self, op: Requeue) -> Depth | None:
        if (letter := self._letters.get(op.id)) is not None:
            self._callbacks.promise(letter.record.message)
        if (kept := self._letters.remove(op.id)) is None:
            return None
        letter = kept.letter
        self._pasts.remove(op.id)
        message = replace(letter.record.message, expires_at=op.at + kept.ttl)
        lines = timeline.encode((*letter.past.timeline, requeued(op)))
        self._queues.add(Held(Record(op.place, message, Trials()), lines, kept.ttl))
        return depth(letter.record)

    def _see(self, op: Seen) -> None:
        self._seen.pop(op.agent, None)
        self._seen[op.agent] = op.at
        while len(self._seen) > SEEN_COUNT:
            del self._seen[next(iter(self._seen))]

    def spoil(self, id: str) -> None:
        """Let the payload of this message come back changed."""
        self._letters.spoilt.add(id)

    def settle(self, now: float) -> None:
        """At a start nothing is in flight: what was spared for that ends ``replaced``."""
        for end in [settled(held, now) for held in self._queues.spared()]:
            self._end(end, now)

    # -- reads

    def snapshot(self, now: float) -> Snapshot:
        """What is here at Unix time ``now``."""
        seen = {agent: at for agent, at in self._seen.items() if at >= now - SEEN_SECONDS}
        return Snapshot(self._queues.last_place, self._queues.depths(), seen, self._secret)

    def page(self, agent: str, after: int, before: int, now: float, limit: int, max_bytes: int) -> Page:
        """As ``MessageStore.page``."""
        maker = PageMaker(after, limit, max_bytes)
        for record in self._queues.behind(agent, after):
            if record.place >= before:
                break
            id, not_before = record.message.id, record.trials.not_before
            if not maker.fits(0 if not_before > now else len(record.message.payload)):
                return maker.page(more=True)
            if not_before > now:
                maker.delay(record.place, id, not_before)
            elif id in self._letters.spoilt:
                maker.spoil(record.place, id)
            else:
                maker.add(record)
        return maker.page(more=False)

    def load(self, agent: str, ids: Sequence[str]) -> Page:
        """As ``MessageStore.load``."""
        held = (self._queues.of(agent, id) for id in set(ids))
        found = sorted((each.record for each in held if each), key=lambda record: record.place)
        spoilt = self._letters.spoilt
        whole = tuple(record for record in found if record.message.id not in spoilt)
        changed = tuple(record.message.id for record in found if record.message.id in spoilt)
        return Page(whole, (), changed, found[-1].place if found else 0, more=False)

    def find(self, id: str) -> Standing | Past | None:
        """As ``MessageStore.find``."""
        if (held := self._queues.get(id)) is not None:
            return Standing(held.record, timeline.decode(held.timeline.encode()))
        if (past := self._pasts.get(id)) is not None:
            return past
        letter = self._letters.get(id)
        return None if letter is None else letter.past

    def letters(self, after: str, limit: int) -> list[Letter]:
        """As ``MessageStore.letters``."""
        return self._letters.after(after, limit)

    def letter(self, id: str) -> Letter | None:
        """As ``MessageStore.letter``."""
        return self._letters.get(id)

    def overdue(self, now: float, limit: int) -> list[tuple[str, str, int]]:
        """As ``MessageStore.overdue``."""
        found = (record.message for record in self._queues.overdue(now, limit))
        return [(message.agent, message.id, len(message.payload)) for message in found]

    def callbacks(self, now: float, limit: int) -> list[Callback]:
        """As ``MessageStore.callbacks``."""
        return self._callbacks.due(now, limit)

    def oldest(self, agents: Sequence[str]) -> dict[str, float]:
        """As ``MessageStore.oldest``."""
        firsts = {agent: self._queues.first(agent) for agent in agents}
        return {agent: record.message.created_at for agent, record in firsts.items() if record is not None}


def superseded(queues: Queues, op: Put) -> list[Held]:
    """What ends with this write. What is in flight is only marked, by the first that took its place."""
    message, found = op.record.message, []
    assert message.topic is not None
    for held in queues.topic(message.agent, message.topic):
        if held.record.place >= op.record.place:
            continue
        if held.record.message.id in op.spared:
            held.replaced_by = held.replaced_by or message.id
        else:
            found.append(held)
    return found


def settled(held: Held, now: float) -> End:
    """How one ends after a start that was in flight when another took its place."""
    return settlement(held.record.message.agent, held.record.message.id, held.replaced_by, now)


def past_of(held: Held, op: End) -> Past:
    """What is remembered of a message."""
    message = held.record.message
    lines = held.timeline + timeline.encode(op.timeline)
    return Past(
        id=message.id,
        agent=message.agent,
        publisher=message.publisher,
        status=op.status,
        reason=op.reason,
        attempts=max(op.attempts, held.record.trials.attempts),
        created_at=message.created_at,
        expires_at=message.expires_at,
        ended_at=op.at,
        reply=op.reply,
        timeline=timeline.decode(lines.encode()),
        callback=message.callback,
    )


def amended(past: Past, op: End) -> Past:
    """What is remembered of a message that ended otherwise after all."""
    return replace(
        past,
        status=op.status,
        reason=op.reason,
        attempts=max(past.attempts, op.attempts),
        ended_at=op.at,
        reply=op.reply,
        timeline=(*past.timeline, *timeline.decode(timeline.encode(op.timeline).encode())),
    )


def depth(record: Record) -> Depth:
    """What one message adds to a queue."""
    return Depth(1, len(record.message.payload))
