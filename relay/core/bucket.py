"""Token buckets: how much of something may happen in a time."""

from __future__ import annotations

from collections import OrderedDict


class Bucket:
    """``rate`` a second, and as many at once (one, where the rate is lower)."""

    __slots__ = ("_at", "_level", "_most", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._most = max(1.0, rate)
        self._level = self._most
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """May one more happen at ``now`` (seconds, monotonic)? If so it is counted."""
        if self._at is not None:
            self._level = min(self._most, self._level + (now - self._at) * self.rate)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def wait(self) -> float:
        """Seconds from the last ``take`` until there may be one more."""
        return max(0.0, (1 - self._level) / self.rate)


class Rates:
    """A bucket for each name. ``rate`` 0: no limit.

    Of ``most`` names the rate is remembered; the one that was quiet for longest is forgotten first, whose bucket is
    the likeliest to be full again.
    """

    def __init__(self, rate: float, most: int) -> None:
        self._rate = rate
        self._most = most
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str, now: float) -> float:
        """One more by ``name`` at ``now`` (seconds, monotonic): 0 if it may happen, else the seconds until it may."""
        if not self._rate:
            return 0.0
        bucket = self._buckets.get(name)
        if bucket is None:
            if len(self._buckets) >= self._most:
                self._buckets.popitem(last=False)
            bucket = self._buckets[name] = Bucket(self._rate)
        else:
            self._buckets.move_to_end(name)
        return 0.0 if bucket.take(now) else bucket.wait()
