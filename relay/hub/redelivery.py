"""The redelivery clock of one session: what was sent and not acknowledged is due again (protocol 2.3)."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from relay.core import policy
from relay.core.entry import Entry, Phase


class Redelivery:
    """When each message in flight is due again, on the session's flow clock: it stands still while bytes wait.

    One timer a message, whatever happens to it: a later time is looked up when the earlier one has come.
    """

    def __init__(self, ack_wait: float, watched: Callable[[str], bool]) -> None:
        self.ack_wait = ack_wait
        self._watched = watched
        self._timers: list[tuple[float, int, Entry]] = []
        self._started = itertools.count()  # where times are equal, the order of the sends holds
        self._held: dict[str, Entry] = {}

    def start(self, entry: Entry, flow: float) -> None:
        """It was sent (again), or is still being worked on: its clock starts afresh."""
        if self.ack_wait <= 0:
            return
        entry.resend_at = flow + policy.resend_pause(self.ack_wait, max(entry.sends, 1))
        if not entry.timed:
            entry.timed = True
            heapq.heappush(self._timers, (entry.resend_at, next(self._started), entry))

    def unwatched(self, id: str, flow: float) -> None:
        """The POST that waited for it was answered: if it was due meanwhile, it is due now."""
        entry = self._held.pop(id, None)
        if entry is not None and entry.phase is Phase.FLYING and not entry.timed:
            entry.timed = True
            heapq.heappush(self._timers, (flow, next(self._started), entry))

    def due_at(self) -> float | None:
        """When the next one may be due, on the flow clock."""
        return self._timers[0][0] if self._timers else None

    def due(self, flow: float) -> list[Entry]:
        """Take out those that are due now."""
        due: list[Entry] = []
        while self._timers and self._timers[0][0] <= flow:
            entry = heapq.heappop(self._timers)[2]
            entry.timed = False
            if entry.phase is not Phase.FLYING:
                continue
            if entry.resend_at > flow:
                entry.timed = True
                heapq.heappush(self._timers, (entry.resend_at, next(self._started), entry))
            elif self._watched(entry.id):
                self._held[entry.id] = entry
            else:
                due.append(entry)
        return due
