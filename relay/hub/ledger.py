"""The hub's books with its store: what is queued for whom, what could not be recorded yet, is the store there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.core.model import (
    NOTHING,
    Depth,
    Discard,
    Kept,
    Put,
    PutOff,
    Requeue,
    Revise,
    Seen,
    Snapshot,
    Told,
    Trials,
    Write,
)
from relay.core.ports import Full, MessageStore, StoreUnavailable
from relay.hub.later import asked
from relay.hub.unrecorded import Unrecorded

T = TypeVar("T")

REFUSAL_SECONDS = 5.0


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
        self.ends = Unrecorded(self)

    def opened(self, snapshot: Snapshot) -> None:
        """Take over what the store holds."""
        self._depths = dict(snapshot.depths)
        for depth in self._depths.values():
            self.total += depth

    def depth(self, agent: str) -> Depth:
        """What is queued for the agent."""
        return self._depths.get(agent, NOTHING)

    def accepting(self) -> bool:
        """Does the store take new messages, as far as is known? A refusal is believed for some seconds."""
        refused = self._refused_at
        return self.up and (refused is None or self._clock.seconds() - refused > REFUSAL_SECONDS)

    # -- writes

    def put(self, op: Put, then: Callable[[Kept | StoreUnavailable], object]) -> None:
        """Make it durable; ``then`` is called once, with what the store says."""
        # Not a Deferred: each callback of a Deferred costs as much as what is done in it here.
        written = asked(self.store.write, op)
        written.addCallbacks(self._was_kept, self._was_refused, (op, then), errbackArgs=(then,))
        written.addErrback(lambda failure: self.log.failure("keeping a message went wrong", failure))

    def put_all(self, puts: Sequence[Put], then: Callable[[StoreUnavailable | None], object]) -> None:
        """The same for several, without key, callback or topic: they are kept, or all of them are refused."""
        written: Deferred[Any] = (
            asked(self.store.write, puts[0]) if len(puts) == 1 else asked(self.store.write_all, puts)
        )
        written.addCallbacks(self._were_kept, self._was_refused, (puts, then), errbackArgs=(then,))
        written.addErrback(lambda failure: self.log.failure("keeping messages went wrong", failure))

    def _were_kept(self, answers: Any, puts: Sequence[Put], then: Callable[[StoreUnavailable | None], object]) -> None:
        kept = answers if isinstance(answers, Sequence) else [answers]
        if len(kept) != len(puts) or set(map(type, kept)) != {Kept}:  # of a store that somebody else has written
            self._was_refused(Failure(TypeError("each Put is answered with a Kept")), then)
            return
        self._refused_at = None
        shares: dict[str, list[int]] = {}
        for put in puts:
            shares.setdefault(put.record.message.agent, []).append(len(put.record.message.payload))
        for agent, sizes in shares.items():
            self.add(agent, Depth(len(sizes), sum(sizes)))
        then(None)

    def _was_kept(self, kept: Depth | Kept | None, op: Put, then: Callable[[Kept | StoreUnavailable], object]) -> None:
        if not isinstance(kept, Kept):  # of a store that somebody else has written
            self._was_refused(Failure(TypeError(f"a Put is answered with a Kept, not {type(kept).__name__}")), then)
            return
        self._refused_at = None
        agent = op.record.message.agent
        if kept.known is None:
            self.add(agent, Depth(1, len(op.record.message.payload)))
        for id, size in kept.replaced:
            if not self.ends.has_left(agent, id):
                self.add(agent, Depth(-1, -size))
        then(kept)

    def _was_refused(self, failure: Failure, then: Callable[[StoreUnavailable], object]) -> None:
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
            self.add(agent, depth)
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

    def add(self, agent: str, change: Depth) -> None:
        """So much more is queued for the agent, or less."""
        self.total += change
        depth = self._depths.get(agent, NOTHING) + change
        if depth.count > 0:
            self._depths[agent] = depth
        else:
            self._depths.pop(agent, None)

    def _write(self, op: Write) -> Deferred[Depth | Kept | None]:
        return asked(self.store.write, op).addCallbacks(self.took, self.took_not)

    def took(self, answer: T) -> T:
        """The store took a write."""
        if not self.up:
            self.log.info("the store is available again")
        self.up = True
        return answer

    def took_not(self, failure: Failure) -> Failure:
        """It did not."""
        if failure.check(StoreUnavailable) and not failure.check(Full):
            if self.up:
                self.log.warn("the store is unavailable: {error}", error=failure.getErrorMessage())
            self.up = False
        return failure

    def _quietly(self, work: Deferred[Any]) -> Deferred[None]:
        return work.addCallbacks(lambda _: None, self.swallow)

    def swallow(self, failure: Failure) -> None:
        """Nobody waits for that write."""
        if not failure.check(StoreUnavailable):  # said once by _took_not, and tried again or not needed
            self.log.failure("a write to the store went wrong", failure)
