"""Things that are due a while after they came, each after one of a few delays."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from itertools import takewhile
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Delays(Generic[T]):
    """A queue for each delay: what came first is due first, so that nothing is ever sorted or searched.

    Nearly all that is put in is taken out long before its time, thousands of times a second: both take as long as in a
    dictionary. ``now`` never falls from call to call, on whatever clock.
    """

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: dict[float, dict[T, float]] = {}  #: by delay, in the order of time

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def delays(self) -> Collection[float]:
        """Those that something is, or was, put in with."""
        return self._queues.keys()

    def queue(self, delay: float, most: int) -> dict[T, float] | None:
        """The queue of that delay: each item with the time at which it is due, in the order of that time.

        None where there is none, and there are ``most`` of others.
        """
        queue = self._queues.get(delay)
        if queue is None and len(self._queues) < most:
            queue = self._queues[delay] = {}
        return queue

    def put(self, item: T, now: float, delay: float) -> float:
        """``item``, which is not in yet, is due ``delay`` after ``now``. Returns that time."""
        queue = self._queues.get(delay)
        if queue is None:
            queue = self._queues[delay] = {}
        queue[item] = due = now + delay
        return due

    def put_all(self, items: Iterable[T], now: float, delay: float) -> None:
        """The same for several."""
        queue = self._queues.setdefault(delay, {})
        due = now + delay
        for item in items:
            queue[item] = due

    def take(self, item: T, delay: float) -> None:
        """Take ``item`` out, which was put in with ``delay``; nothing happens if it is not there."""
        queue = self._queues.get(delay)
        if queue is not None:
            queue.pop(item, None)

    def take_all(self, items: Iterable[T], delay: float) -> None:
        """The same for several."""
        queue = self._queues.get(delay, {})
        for item in items:
            queue.pop(item, None)

    def due_at(self) -> float | None:
        """When the first is due."""
        return min((next(iter(queue.values())) for queue in self._queues.values() if queue), default=None)

    def due(self, now: float) -> list[T]:
        """Take out what is due by now, in the order of its time. A delay that nothing is left of is forgotten."""
        found: list[tuple[float, T]] = []
        for delay, queue in list(self._queues.items()):
            # All at once: the way to the first one is long where many before it were taken out.
            for item, due in list(takewhile(lambda pair: pair[1] <= now, queue.items())):
                del queue[item]
                found.append((due, item))
            if not queue:
                del self._queues[delay]
        found.sort(key=lambda pair: pair[0])
        return [item for _, item in found]
