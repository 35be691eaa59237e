"""The store without a disk: everything is lost with the process, and it says so.

It is the shipped twin of the SQLite store, held to the same contract test. For the tests of other rooms it can be
made to behave as a disk does: writes that take their time (``hold``), fail (``fail_with``) or never work again
(``break_down``), and rows that come back changed (``spoil``).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from twisted.internet.defer import Deferred, fail, succeed

from relay.core.model import Depth, End, Page, Put, Record, Revise, Seen, Snapshot, Status, Write
from relay.core.ports import StoreBroken, StoreUnavailable
from relay.store.faults import StoreOverloaded, again
from relay.store.paging import PageMaker
from relay.store.retention import ENDED_COUNT, SEEN_COUNT, SEEN_SECONDS

T = TypeVar("T")

MAX_WAITING: Final = 20_000


class Shelf:
    """What the memory holds: queues, ends and who was seen."""

    def __init__(self) -> None:
        self.queued: dict[str, Record] = {}
        self.places: dict[str, list[tuple[int, str]]] = {}  #: by agent: (place, id), lowest first
        self.ended: dict[str, End] = {}  #: oldest end first
        self.seen: dict[str, float] = {}  #: longest unseen first
        self.spoilt: set[str] = set()
        self.last_place = 0

    def apply(self, op: Write) -> Depth | None:
        """Make one change, as ``MessageStore.write`` says."""
        match op:
            case Put():
                self._put(op.record)
            case Revise():
                return self._revise(op)
            case End():
                return self._end(op)
            case Seen():
                self.seen.pop(op.agent, None)
                self.seen[op.agent] = op.at
                forget_oldest(self.seen, SEEN_COUNT)
        return None

    def _put(self, record: Record) -> None:
        message = record.message
        if message.id in self.queued or message.id in self.ended:
            return
        self.queued[message.id] = record
        insort(self.places.setdefault(message.agent, []), (record.place, message.id))
        self.last_place = max(self.last_place, record.place)

    def _revise(self, op: Revise) -> Depth | None:
        record = self._of(op.agent, op.id)
        if record is None:
            return None
        self.queued[op.id] = replace(record, trials=op.trials)
        return depth(record)

    def _end(self, op: End) -> Depth | None:
        record = self._of(op.agent, op.id)
        if record is None:
            return None
        del self.queued[op.id]
        places = self.places[op.agent]
        del places[bisect_right(places, (record.place, op.id)) - 1]
        if not places:
            del self.places[op.agent]
        if op.status is not Status.DELIVERED:
            self.ended[op.id] = op
            forget_oldest(self.ended, ENDED_COUNT)
        return depth(record)

    def _of(self, agent: str, id: str) -> Record | None:
        record = self.queued.get(id)
        return record if record is not None and record.message.agent == agent else None

    def snapshot(self, now: float) -> Snapshot:
        """What is here at Unix time ``now``."""
        depths = {
            agent: Depth(len(places), sum(len(self.queued[id].message.payload) for _, id in places))
            for agent, places in self.places.items()
        }
        seen = {agent: at for agent, at in self.seen.items() if at >= now - SEEN_SECONDS}
        return Snapshot(self.last_place, depths, seen)

    def page(self, agent: str, after: int, before: int, now: float, limit: int, max_bytes: int) -> Page:
        """As ``MessageStore.page``."""
        maker = PageMaker(after, limit, max_bytes)
        places = self.places.get(agent, [])
        for place, id in places[bisect_right(places, (after, "\U0010ffff")) :]:
            if place >= before:
                break
            record = self.queued[id]
            not_before = record.trials.not_before
            if not maker.fits(0 if not_before > now else len(record.message.payload)):
                return maker.page(more=True)
            if not_before > now:
                maker.delay(place, id, not_before)
            elif id in self.spoilt:
                maker.spoil(place, id)
            else:
                maker.add(record)
        return maker.page(more=False)

    def load(self, agent: str, ids: Sequence[str]) -> Page:
        """As ``MessageStore.load``."""
        found = sorted((r for id in set(ids) if (r := self._of(agent, id))), key=lambda record: record.place)
        whole = tuple(record for record in found if record.message.id not in self.spoilt)
        spoilt = tuple(record.message.id for record in found if record.message.id in self.spoilt)
        return Page(whole, (), spoilt, found[-1].place if found else 0, more=False)

    def oldest(self, agents: Sequence[str]) -> dict[str, float]:
        """As ``MessageStore.oldest``."""
        return {a: self.queued[self.places[a][0][1]].message.created_at for a in agents if a in self.places}


class MemoryStore:
    """``MessageStore`` in memory. Unless it is held, every answer is there when the call returns.

    ``wall`` gives Unix time; without it no agent is forgotten by age. ``durable`` is what it claims to be: the relay
    leaves it False. What it holds outlives ``close``, so that a test can restart the relay around it.
    """

    def __init__(
        self,
        *,
        durable: bool = False,
        wall: Callable[[], float] = lambda: 0.0,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.durable = durable
        self._wall = wall
        self._max_waiting = max_waiting
        self._shelf = Shelf()
        self._open = False
        self._broken: StoreBroken | None = None
        self._on_broken: list[Callable[[StoreBroken], object]] = []
        self._holds: tuple[bool, bool] = (False, False)  #: writes, reads
        self._waiting: deque[Callable[[], object]] = deque()
        self._error: Callable[[Write | None], StoreUnavailable | None] = lambda op: None

    # -- MessageStore

    def open(self) -> Deferred[Snapshot]:
        """Say what it holds. After ``break_down`` this is the restart: it works again."""
        self._open, self._broken = True, None
        return succeed(self._shelf.snapshot(self._wall()))

    def close(self) -> Deferred[None]:
        """Finish the writes that are held and let go."""
        self.release()
        self._open = False
        return succeed(None)

    def on_broken(self, call: Callable[[StoreBroken], object]) -> None:
        """Call this when ``break_down`` is called."""
        self._on_broken.append(call)

    def write(self, op: Write) -> Deferred[Depth | None]:
        """Make one change. A Put of an id that is kept already, queued or ended, changes nothing."""
        return self._answer(lambda: self._shelf.apply(op), op, held=self._holds[0])

    def page(self, agent: str, after: int, before: int, now: float, limit: int, max_bytes: int) -> Deferred[Page]:
        """Read a piece of a queue."""
        return self._answer(lambda: self._shelf.page(agent, after, before, now, limit, max_bytes), held=self._holds[1])

    def load(self, agent: str, ids: Sequence[str]) -> Deferred[Page]:
        """Read those messages that are still queued."""
        return self._answer(lambda: self._shelf.load(agent, ids), held=self._holds[1])

    def oldest(self, agents: Sequence[str]) -> Deferred[dict[str, float]]:
        """When the first message in each queue was created."""
        return self._answer(lambda: self._shelf.oldest(agents), held=self._holds[1])

    def _answer(self, call: Callable[[], T], op: Write | None = None, *, held: bool) -> Deferred[T]:
        if error := self._refusal():
            return fail(error)
        if not held:
            return self._done(call, op)
        if len(self._waiting) >= self._max_waiting:
            return fail(StoreOverloaded(f"{self._max_waiting} calls wait for the store: no more may"))
        answer: Deferred[T] = Deferred()
        self._waiting.append(lambda: self._done(call, op).chainDeferred(answer))
        return answer

    def _done(self, call: Callable[[], T], op: Write | None) -> Deferred[T]:
        error = self._broken or self._error(op)
        return fail(again(error)) if error else succeed(call())

    def _refusal(self) -> StoreUnavailable | None:
        if self._broken is not None:
            return again(self._broken)
        return None if self._open else StoreUnavailable("the store is not open")

    # -- behaving as a disk does

    def hold(self, *, writes: bool = True, reads: bool = False) -> None:
        """From now on writes (and reads) wait for ``release``. Until then no read sees them."""
        self._holds = (writes, reads)

    @property
    def held(self) -> int:
        """How many calls wait for ``release``."""
        return len(self._waiting)

    def release(self, count: int | None = None) -> None:
        """Do and answer the first ``count`` of what waits, in order. Without a count: all, and hold nothing more."""
        if count is not None:
            for _ in range(count):
                self._waiting.popleft()()
            return
        while self._waiting:  # what an answer gives rise to still waits its turn: the order of the calls holds
            self._waiting.popleft()()
        self._holds = (False, False)

    def fail_with(self, error: StoreUnavailable, *kinds: type[Write], reads: bool = False) -> None:
        """From now on every write (or only those kinds), and on demand every read, fails with this until ``heal``."""
        chosen = kinds or (Put, Revise, End, Seen)
        self._error = lambda op: error if (reads if op is None else isinstance(op, chosen)) else None

    def heal(self) -> None:
        """Undo ``fail_with``."""
        self._error = lambda op: None

    def break_down(self, reason: str = "the store broke") -> None:
        """Break for good: what waits and what comes fails with StoreBroken, and who asked for it is told."""
        if self._broken is not None:
            return
        broken = self._broken = StoreBroken(reason)
        self.release()
        for call in self._on_broken:
            call(broken)

    def spoil(self, id: str) -> None:
        """Let the payload of this message come back changed: its page says ``corrupt``."""
        self._shelf.spoilt.add(id)


def depth(record: Record) -> Depth:
    """What one message adds to a queue."""
    return Depth(1, len(record.message.payload))


def forget_oldest(table: dict[str, T], most: int) -> None:
    """Keep at most ``most`` entries, those put last."""
    while len(table) > most:
        del table[next(iter(table))]
