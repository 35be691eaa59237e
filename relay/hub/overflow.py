"""A full queue that takes new messages all the same: the oldest go to the dead letters (``overflow = drop-oldest``)."""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from relay.core.entry import Phase
from relay.core.limits import MIB
from relay.core.model import NOTHING, Depth, Record, Status
from relay.core.ports import StoreUnavailable
from relay.hub.context import Context
from relay.hub.courier import Courier
from relay.hub.couriers import Couriers

EXCESS: Final = Depth(1000, 16 * MIB)  #: how much more than its limits a queue may hold while the store makes room


class Overflow:
    """Makes room in one agent's queue after the other's. What is in flight is never dropped."""

    log = Logger()

    def __init__(self, context: Context, couriers: Couriers) -> None:
        self._context = context
        self._couriers = couriers
        self._busy: set[str] = set()

    def makes_room(self, agent: str, size: int) -> bool:
        """Will there be room for one more message of so many bytes? If so, the oldest go for it.

        A queue that is in flight as a whole has nothing to drop; and while the store is away, or slow, only so much
        is taken on credit.
        """
        limits, courier = self._context.limits, self._couriers.of(agent)
        excess = self._excess(agent, Depth(1, size))
        if courier.line.flying >= limits.queue_count or size > limits.queue_bytes:
            return False
        if excess.count > min(EXCESS.count, limits.queue_count) or excess.bytes > EXCESS.bytes:
            return False
        if agent not in self._busy:
            self._busy.add(agent)
            # Not now: the new message has not taken its place yet.
            self._context.clock.callLater(0, self._begin, agent)
        return True

    def _begin(self, agent: str) -> None:
        work = Deferred.fromCoroutine(self._make_room(agent))
        work.addErrback(lambda failure: self.log.failure("making room went wrong", failure))

    def _excess(self, agent: str, coming: Depth = NOTHING) -> Depth:
        """What must go, so that the queue keeps its limits with what comes."""
        limits = self._context.limits
        depth = self._context.ledger.depth(agent) + coming + Depth(*self._couriers.held(agent))
        return Depth(max(0, depth.count - limits.queue_count), max(0, depth.bytes - limits.queue_bytes))

    async def _make_room(self, agent: str) -> None:
        try:
            after, context = 0, self._context
            while self._excess(agent) != NOTHING:
                store, limits = context.ledger.store, context.limits
                page = await store.page(
                    agent, after, context.last_place + 1, float("inf"), limits.page_count, limits.page_bytes
                )
                # Another courier may carry for the agent by now.
                await self._drop(self._couriers.of(agent), page.records, self._excess(agent))
                after = page.last
                if not page.more:
                    return
        except StoreUnavailable:
            pass  # said by the ledger; the next message tries again
        finally:
            self._busy.discard(agent)
            self._couriers.of(agent).pump()

    async def _drop(self, courier: Courier, records: tuple[Record, ...], excess: Depth) -> None:
        """Drop of these as many as must go, the first ones; return when that is recorded."""
        dropped = NOTHING
        recorded: list[Deferred[bool]] = []
        for record in records:
            entry = courier.line.entries.get(record.message.id)
            if entry is not None and entry.phase in (Phase.FLYING, Phase.ENDED):
                continue
            if dropped.count >= excess.count and dropped.bytes >= excess.bytes:
                break
            dropped += Depth(1, len(record.message.payload))
            done: Deferred[bool] = Deferred()
            recorded.append(done)
            courier.end_unseen(record.message.id, Status.DEAD, "overflow", then=done.callback)
        await gatherResults(recorded)
