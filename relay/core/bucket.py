"""A token bucket: how much of something may happen in a time."""

from __future__ import annotations


class Bucket:
    """``rate`` a second, and as many at once."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._level = rate
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """May one more happen at ``now`` (seconds, monotonic)? If so it is counted."""
        if self._at is not None:
            self._level = min(self.rate, self._level + (now - self._at) * self.rate)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True
