"""The redelivery clock of one session: what was sent and not acknowledged is due again (protocol 2.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from math import ceil
from typing import Final

from relay.core import policy
from relay.core.delays import Delays
from relay.core.entry import Entry, Phase

HURRIED: Final = 100  #: of what found no room, each time that there is some


class Redelivery:
    """When each message in flight is due again, on the session's flow clock: it stands still while bytes wait."""

    __slots__ = ("_roomless", "_timed", "_watched", "ack_wait", "held", "news", "soonest")

    def __init__(self, ack_wait: float, watched: Callable[[str], bool]) -> None:
        self.ack_wait = ack_wait
        self.soonest = ack_wait  #: nothing is due earlier than so long after it was started
        self.news = False  #: is there something that the alarm may not have been set for?
        self._watched = watched
        self._timed: Delays[Entry] = Delays()
        self.held: dict[str, Entry] = {}  #: was due, and is not sent again while its POST waits
        self._roomless: dict[str, Entry] = {}

    def start(self, entry: Entry, flow: float) -> None:
        """It was sent (again), or is still being worked on: its clock starts afresh."""
        if self._roomless:
            self._roomless.pop(entry.id, None)
        if self.ack_wait > 0:
            first = entry.sends <= 1  # as nearly always
            self._time(entry, flow, self.ack_wait if first else policy.resend_pause(self.ack_wait, entry.sends))

    def found_no_room(self, entry: Entry, flow: float) -> None:
        """It was due, and could not be sent: it is due again after its pause, or when it is hurried."""
        self.start(entry, flow)
        self._roomless[entry.id] = entry

    def hurry(self, flow: float) -> None:
        """There is room again: some of what found none is due now. Some, because each is read from the disk for it."""
        for entry in list(islice(self._roomless.values(), HURRIED)):
            del self._roomless[entry.id]
            if entry.phase is Phase.FLYING:
                self._time(entry, flow, 0.0)

    def start_all(self, entries: Sequence[Entry], flow: float) -> None:
        """These were sent for the first time in this session."""
        if self.ack_wait <= 0:
            return
        for entry in entries:
            entry.pause = self.ack_wait
        self._timed.put_all(entries, flow, self.ack_wait)
        self.soonest = min(self.soonest, self.ack_wait)
        self.news = True

    def stop(self, entry: Entry) -> None:
        """It has ended."""
        if entry.pause is not None:
            self._timed.take(entry, entry.pause)
            entry.pause = None

    def resume(self, entry: Entry, sent: float, flow: float) -> None:
        """Its POST waits no longer for its ACK. Its clock was not started while it did, and it was sent at ``sent``."""
        if entry.phase is not Phase.FLYING or entry.pause is not None or entry.id in self.held or self.ack_wait <= 0:
            return
        left = sent + self.ack_wait - flow
        if left > 0:
            # In tenths of a second: what waits by the same queue must have been put there in the order of its time.
            self._time(entry, flow, ceil(left * 10 - 1e-6) / 10)
        else:
            self.held[entry.id] = entry

    def stop_all(self, entries: Sequence[Entry]) -> None:
        """These have ended."""
        for pause in {entry.pause for entry in entries}:  # as a rule one
            if pause is not None:
                self._timed.take_all(entries, pause)
        for entry in entries:
            entry.pause = None
            if self.held:
                self.held.pop(entry.id, None)

    def unwatched(self, id: str, flow_time: Callable[[], float]) -> None:
        """The POST that waited for it was answered: if it was due meanwhile, it is due now."""
        entry = self.held.pop(id, None) if self.held else None
        if entry is not None and entry.phase is Phase.FLYING and entry.pause is None:
            self._time(entry, flow_time(), 0.0)

    def _time(self, entry: Entry, flow: float, pause: float) -> None:
        if entry.pause is not None:
            self.stop(entry)
        entry.pause = pause
        self._timed.put(entry, flow, pause)
        if pause < self.soonest:
            self.soonest = pause
        self.news = True

    def due_at(self) -> float | None:
        """When the next one may be due, on the flow clock."""
        return self._timed.due_at()

    def due(self, flow: float) -> list[Entry]:
        """Take out those that are due now."""
        due: list[Entry] = []
        found = self._timed.due(flow)
        self.soonest = min(self._timed.delays(), default=self.ack_wait)
        for entry in found:
            entry.pause = None
            if entry.phase is not Phase.FLYING:
                continue
            if self._watched(entry.id):
                self.held[entry.id] = entry
            else:
                due.append(entry)
        return due
