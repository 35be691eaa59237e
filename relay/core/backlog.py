"""What is beside the tail: the part of an agent's queue that is on the disk, and the messages that rest."""

from __future__ import annotations

import heapq
from collections import deque

from relay.core.entry import Entry, Phase, Saved
from relay.core.model import Record

RECALL_COUNT = 100
RECALL_BYTES = 1024 * 1024
UNKNOWN_SIZE = 64 * 1024  #: what a resting message counts of which only the place was read


class Backlog:
    """The disk's part: places in (cursor, floor) are still to be read, ``ready`` is read and not yet sent."""

    def __init__(self) -> None:
        self.cursor = 0
        self.floor = 0
        self.ready: deque[Record] = deque()

    @property
    def unread(self) -> bool:
        return self.cursor + 1 < self.floor

    def begin(self, floor: int, queued: bool) -> None:
        """Read from the start, as far as ``floor``; from its end where nothing is ``queued``."""
        self.ready.clear()
        self.floor = floor
        self.cursor = 0 if queued else floor - 1

    def read_to(self, last: int) -> None:
        self.cursor = max(self.cursor, last)

    def spilled(self, place: int) -> None:
        """A message of the tail was left to the disk."""
        self.floor = place + 1

    def drop(self, id: str) -> None:
        self.ready = deque(record for record in self.ready if record.message.id != id)


class Resting:
    """The messages that are not sent before their time, the earliest first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Entry]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def clear(self) -> None:
        self._heap.clear()

    def push(self, entry: Entry) -> None:
        heapq.heappush(self._heap, (entry.trials.not_before, id(entry), entry))

    def due_at(self) -> float | None:
        """When the next one may be sent (Unix time)."""
        while self._heap and not _still(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> tuple[str, ...]:
        """Take out the ids of those whose time has come: a page of them."""
        due: list[str] = []
        size = 0
        while len(due) < RECALL_COUNT and size < RECALL_BYTES and self._heap and self._heap[0][0] <= now:
            item = heapq.heappop(self._heap)
            if _still(item):
                due.append(item[2].id)
                size += item[2].size or UNKNOWN_SIZE
        return tuple(due)


def _still(item: tuple[float, int, Entry]) -> bool:
    """Is this the entry's own timer still? One that is not saved yet is timed anew when it is."""
    entry = item[2]
    return entry.phase is Phase.RESTING and entry.saved is Saved.YES and entry.trials.not_before == item[0]
