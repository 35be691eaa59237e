"""The hub's books with its store: what is queued for whom, what could not be recorded yet, is the store there."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.core.model import (
    NOTHING,
    Depth,
    Discard,
    End,
    Kept,
    Put,
    PutOff,
    Requeue,
    Revise,
    Seen,
    Snapshot,
    Status,
    Told,
    Trials,
    Write,
)
from relay.core.ports import Full, MessageStore, StoreUnavailable
from relay.hub.later import later

REFUSAL_SECONDS = 5.0
AT_A_TIME = 1000  #: ends that could not be recorded and are tried again


class Ledger:
    """Every write of the hub goes through here. Its depths are what is durable and has not ended."""

    log = Logger()

    def __init__(self, store: MessageStore, clock: IReactorTime) -> None:
        self.store = store
        self.up = True  #: did the store take the last write, new messages apart?
        self._clock = clock
        self._refused_at: float | None = None
        self.total = NOTHING
        self._depths: dict[str, Depth] = {}
        self._unrecorded: dict[str, dict[str, _Owed]] = {}
        self._failed: dict[_Owed, None] = {}  #: of these the writes that failed; the others are under way

    def opened(self, snapshot: Snapshot) -> None:
        """Take over what the store holds."""
        self._depths = dict(snapshot.depths)
        for depth in self._depths.values():
            self.total += depth

    def depth(self, agent: str) -> Depth:
        """What is queued for the agent."""
        return self._depths.get(agent, NOTHING)

    def queued_agents(self) -> list[str]:
        return list(self._depths)

    def unrecorded(self, agent: str) -> int:
        """Ends that the store does not know yet."""
        return len(self._unrecorded.get(agent, ()))

    def accepting(self) -> bool:
        """Does the store take new messages, as far as is known? A refusal is believed for some seconds."""
        refused = self._refused_at
        return self.up and (refused is None or self._clock.seconds() - refused > REFUSAL_SECONDS)

    # -- writes

    def put(self, op: Put, then: Callable[[Kept | StoreUnavailable], object]) -> None:
        """Make it durable; ``then`` is called once, with what the store says."""
        # Not a Deferred: each callback of a Deferred costs as much as what is done in it here.
        written = later(self.store.write(op))
        written.addCallbacks(self._was_kept, self._was_refused, (op, then), errbackArgs=(then,))
        written.addErrback(lambda failure: self.log.failure("keeping a message went wrong", failure))

    def _was_kept(self, kept: Depth | Kept | None, op: Put, then: Callable[[Kept | StoreUnavailable], object]) -> None:
        assert isinstance(kept, Kept)
        self._refused_at = None
        agent = op.record.message.agent
        if kept.known is None:
            self._add(agent, Depth(1, len(op.record.message.payload)))
        for id, size in kept.replaced:
            owed = self._unrecorded.get(agent, {}).get(id)
            if owed is None or owed.size is None:  # otherwise it left the depth when it ended
                self._add(agent, Depth(-1, -size))
        then(kept)

    def _was_refused(self, failure: Failure, then: Callable[[Kept | StoreUnavailable], object]) -> None:
        error = failure.value
        if not isinstance(error, StoreUnavailable):
            self.log.failure("the store failed at a message", failure)
            error = StoreUnavailable("the store failed; the log says how")
        if not isinstance(error, Full):  # the others are taken
            self._refused(error)
        then(error)

    def _refused(self, error: StoreUnavailable) -> None:
        """A full disk takes no new message but still records ends: a harmless write tells how it stands."""
        if self.accepting():
            self.log.warn("the store takes no new message: {error}", error=str(error))
        self._refused_at = self._clock.seconds()
        self._quietly(self._write(Revise("", "", Trials())))

    def revise(self, op: Revise) -> Deferred[None]:
        """Note what was tried. Never fails: what could not be noted is tried once more, no harm done."""
        return self._quietly(self._write(op))

    async def requeue(self, op: Requeue, agent: str) -> bool:
        """Put a dead letter back in its queue. False if there is none of that id. Raises StoreUnavailable, or Full."""
        depth = await self._write(op)
        if isinstance(depth, Depth):
            self._add(agent, depth)
        return depth is not None

    async def discard(self, op: Discard) -> None:
        """Forget a dead letter. Raises StoreUnavailable."""
        await self._write(op)

    async def call_back(self, op: PutOff | Told) -> None:
        """Note what came of telling an end to a URL. Raises StoreUnavailable."""
        await self._write(op)

    def seen(self, agent: str, at: float) -> None:
        """Note that the agent was here at that Unix time."""
        self._quietly(self._write(Seen(agent, at)))

    def end(self, end: End, size: int | None, recorded: Callable[[bool], object]) -> None:
        """Record an end, however long that takes; ``recorded`` is called once, with whether the store had the message.

        ``size`` is that of the payload where the message is known to be queued: it leaves the depth now.
        """
        if size is not None:
            self._add(end.agent, Depth(-1, -size))
        owed = _Owed(end, size, recorded)
        self._unrecorded.setdefault(end.agent, {})[end.id] = owed
        self._record(owed)

    def ending(self, agent: str, id: str) -> Status | None:
        """How that message ended, while this is being recorded."""
        owed = self._unrecorded.get(agent, {}).get(id)
        return None if owed is None else owed.end.status

    def when_recorded(self, agent: str, id: str, recorded: Callable[[bool], object]) -> None:
        """The same for somebody else who asks about that end; at once, with True, if it is recorded already."""
        owed = self._unrecorded.get(agent, {}).get(id)
        if owed is None:
            recorded(True)
            return
        first = owed.recorded

        def both(had: bool) -> None:
            first(had)
            recorded(had)

        owed.recorded = both

    def _record(self, owed: _Owed) -> None:
        written = later(self.store.write(owed.end))
        written.addCallbacks(self._recorded, self._not_recorded, (owed,), errbackArgs=(owed,))
        written.addErrback(self._swallow)

    def _not_recorded(self, failure: Failure, owed: _Owed) -> Failure:
        if failure.check(StoreUnavailable):
            self._failed[owed] = None
        return self._took_not(failure)

    def _recorded(self, left: Depth | Kept | None, owed: _Owed) -> None:
        assert left is None or isinstance(left, Depth)
        self._took(left)
        agent = owed.end.agent
        waiting = self._unrecorded.get(agent, {})
        if waiting.pop(owed.end.id, None) is None:
            return
        if not waiting:
            del self._unrecorded[agent]
        if owed.size is None and left is not None:
            self._add(agent, Depth(-left.count, -left.bytes))
        owed.recorded(left is not None)

    def try_again(self) -> None:
        """Record what could not be recorded; ask a store that was away whether it is back. Called once a second."""
        owed = list(itertools.islice(self._failed, AT_A_TIME))
        for item in owed:
            del self._failed[item]
            self._record(item)
        if not owed and not self.up:
            self.revise(Revise("", "", Trials()))

    def _add(self, agent: str, change: Depth) -> None:
        self.total += change
        depth = self._depths.get(agent, NOTHING) + change
        if depth.count > 0:
            self._depths[agent] = depth
        else:
            self._depths.pop(agent, None)

    def _write(self, op: Write) -> Deferred[Depth | Kept | None]:
        return later(self.store.write(op)).addCallbacks(self._took, self._took_not)

    def _took(self, answer: Depth | Kept | None) -> Depth | Kept | None:
        if not self.up:
            self.log.info("the store is available again")
        self.up = True
        return answer

    def _took_not(self, failure: Failure) -> Failure:
        if failure.check(StoreUnavailable) and not failure.check(Full):
            if self.up:
                self.log.warn("the store is unavailable: {error}", error=failure.getErrorMessage())
            self.up = False
        return failure

    def _quietly(self, work: Deferred[Any]) -> Deferred[None]:
        return work.addCallbacks(lambda _: None, self._swallow)

    def _swallow(self, failure: Failure) -> None:
        if not failure.check(StoreUnavailable):  # said once by _took_not, and tried again or not needed
            self.log.failure("a write to the store went wrong", failure)


class _Owed:
    """An end that the store does not know yet."""

    __slots__ = ("end", "recorded", "size")

    def __init__(self, end: End, size: int | None, recorded: Callable[[bool], object]) -> None:
        self.end = end
        self.size = size
        self.recorded = recorded
