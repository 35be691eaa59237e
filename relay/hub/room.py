"""Is there room for one more message? Asked when it is accepted: what was sent is never told 429 (protocol 1.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from relay.core.model import Submission
from relay.core.problems import Problem
from relay.hub.context import Context
from relay.hub.couriers import Couriers
from relay.hub.overflow import Overflow

FULL_RETRY = 30  #: seconds, ``Retry-After`` of a full queue

OF_ALL: Final = ("total_count", "total_bytes")  #: limits of all queues together


class Room:
    """The limits of each queue and of all of them. A direct message holds its place in them too."""

    def __init__(self, context: Context, couriers: Couriers, overflow: Overflow | None) -> None:
        """``overflow``: what makes room in a full queue; without it what is new is refused."""
        self._context = context
        self._couriers = couriers
        self._overflow = overflow

    def claim(self, submission: Submission) -> None:
        """Let the message in, the oldest of its queue making room for it where they may. Raises Problem."""
        agent, size, overflow = submission.agent, len(submission.payload), self._overflow
        count, held = self._couriers.held(agent)
        limit = self.limit(agent, size, count, held)
        if limit is None:
            return
        if limit in OF_ALL:
            raise Problem("queue-full", "the relay's queues are full", retry_after=FULL_RETRY, limit=limit)
        if overflow is None or not overflow.makes_room(agent, size):
            limits, depth = self._context.limits, self._context.ledger.depth(agent)
            detail = f"{count + depth.count} messages and {held + depth.bytes} bytes are queued for this agent; "
            detail += f"allowed are {limits.queue_count} and {limits.queue_bytes}"
            raise Problem("queue-full", detail, retry_after=FULL_RETRY, limit=limit)

    def lacks(self, submission: Submission) -> bool:
        """Would something have to give way to it, or it be refused? Nothing is changed by asking."""
        agent = submission.agent
        return self.limit(agent, len(submission.payload), *self._couriers.held(agent)) is not None

    def limit(self, agent: str, size: int, count: int, held: int) -> str | None:
        """The limit that one more message of ``size`` bytes would pass, where ``Couriers.held`` gives these two."""
        context, limits = self._context, self._context.limits
        total, depth = context.ledger.total, context.ledger.depth(agent)
        if total.count >= limits.total_count:
            return "total_count"
        if total.bytes + context.pressure.held + size > limits.total_bytes:
            return "total_bytes"
        if depth.count + count >= limits.queue_count:
            return "queue_count"
        if depth.bytes + held + size > limits.queue_bytes:
            return "queue_bytes"
        return None

    def holds(self, shares: Mapping[str, Sequence[int]]) -> bool:
        """Is there room for all of these messages at once? They are given by agent, as their payloads' sizes."""
        limits, ledger = self._context.limits, self._context.ledger
        for agent, sizes in shares.items():
            depth, (count, held) = ledger.depth(agent), self._couriers.held(agent)
            if depth.count + count + len(sizes) > limits.queue_count:
                return False
            if depth.bytes + held + sum(sizes) > limits.queue_bytes:
                return False
        size, total = sum(map(sum, shares.values())), ledger.total
        if total.count >= limits.total_count:
            return False
        return total.bytes + self._context.pressure.held + size <= limits.total_bytes
