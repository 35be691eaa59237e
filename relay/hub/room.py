"""Is there room for one more message? Asked when it is accepted: what was sent is never told 429 (protocol 1.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relay.core.model import Submission
from relay.core.problems import Problem
from relay.hub.context import Context
from relay.hub.couriers import Couriers
from relay.hub.overflow import Overflow

FULL_RETRY = 30  #: seconds, ``Retry-After`` of a full queue


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
        lack = self._lack_in_all(size)
        if lack is None:
            lack = self._lack_in_queue(agent, size)
            if lack is None or (overflow is not None and overflow.makes_room(agent, size)):
                return
        raise lack

    def lacks(self, submission: Submission) -> bool:
        """Would something have to give way to it, or it be refused? Nothing is changed by asking."""
        size = len(submission.payload)
        return self._lack_in_all(size) is not None or self._lack_in_queue(submission.agent, size) is not None

    def holds(self, shares: Mapping[str, Sequence[int]]) -> bool:
        """Is there room for all of these messages at once? They are given by agent, as their payloads' sizes."""
        limits, ledger = self._context.limits, self._context.ledger
        for agent, sizes in shares.items():
            depth, (count, held) = ledger.depth(agent), self._couriers.held(agent)
            if depth.count + count + len(sizes) > limits.queue_count:
                return False
            if depth.bytes + held + sum(sizes) > limits.queue_bytes:
                return False
        return self._lack_in_all(sum(map(sum, shares.values()))) is None

    def _lack_in_all(self, size: int) -> Problem | None:
        context, limits = self._context, self._context.limits
        total = context.ledger.total
        if total.count < limits.total_count and total.bytes + context.pressure.held + size <= limits.total_bytes:
            return None
        limit = "total_count" if total.count >= limits.total_count else "total_bytes"
        return Problem("queue-full", "the relay's queues are full", retry_after=FULL_RETRY, limit=limit)

    def _lack_in_queue(self, agent: str, size: int) -> Problem | None:
        limits, depth = self._context.limits, self._context.ledger.depth(agent)
        count, held = self._couriers.held(agent)
        count, held = count + depth.count, held + depth.bytes
        if count < limits.queue_count and held + size <= limits.queue_bytes:
            return None
        detail = f"{count} messages and {held} bytes are queued for this agent; "
        detail += f"allowed are {limits.queue_count} and {limits.queue_bytes}"
        limit = "queue_count" if count >= limits.queue_count else "queue_bytes"
        return Problem("queue-full", detail, retry_after=FULL_RETRY, limit=limit)
