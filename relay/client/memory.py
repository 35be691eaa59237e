"""The ids that were acknowledged: what makes at least once exactly once, as far as an agent can (protocol 2.3)."""

from __future__ import annotations

from typing import Final

MOST: Final = 100_000


class Memory:
    """Ids, each kept until its message can not come again, and at most ``most`` of them: the oldest go first.

    Times are those of any clock that does not step back: a message's life is reckoned from when it was handled, which
    is never too short, and needs no agreement with the relay's clock.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._until: dict[str, float] = {}

    def __contains__(self, id: str) -> bool:
        return id in self._until

    def __len__(self) -> int:
        return len(self._until)

    def remember(self, id: str, life: float, now: float) -> None:
        """Keep ``id`` for ``life`` seconds from ``now``."""
        self._until.pop(id, None)
        self._until[id] = now + life
        # Two at most for each that comes: it never falls behind, and no call is long.
        for _ in range(2):
            oldest = next(iter(self._until))
            if len(self._until) <= self._most and self._until[oldest] > now:
                break
            del self._until[oldest]
            if not self._until:
                break
