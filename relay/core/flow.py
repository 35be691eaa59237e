"""Does the socket take what is written to it? A clock that stands still while it does not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Flow:
    """The outgoing side of one session, looked at once a second while bytes wait.

    Redelivery is timed by ``time``: an agent cannot acknowledge what has not left.
    """

    progress_at: float = 0.0  #: when the socket last took something, or nothing waited
    taken: int = 0
    waiting: int = 0  #: bytes that had not left at the last look
    stalled_total: float = 0.0
    stalled_since: float | None = None

    def look(self, now: float, unsent: int, taken: int) -> bool:
        """Take the figures of this moment.

        Returns True if bytes that waited at the last look have left: a sign of life.
        """
        moved = self.waiting > 0 and taken > self.taken
        if moved or unsent == 0 or self.waiting == 0:
            self.progress_at = now
        if unsent > 0 and self.stalled_since is None:
            self.stalled_since = now
        elif unsent == 0 and self.stalled_since is not None:
            self.stalled_total += now - self.stalled_since
            self.stalled_since = None
        self.taken, self.waiting = taken, unsent
        return moved

    def time(self, now: float) -> float:
        """Seconds of this session in which everything had left."""
        return (now if self.stalled_since is None else self.stalled_since) - self.stalled_total

    def stalled_for(self, now: float) -> float:
        """Seconds since the socket last took something while bytes wait; 0 when none wait."""
        return now - self.progress_at if self.waiting else 0.0
