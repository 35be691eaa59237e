"""The agents that are known: connected, with something queued, or seen in the last 30 days (protocol 1.3)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable

from relay.core.model import Snapshot


class Directory:
    """Names in order, each with when it was last seen (Unix time; 0 = only by its queue)."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._names: list[str] = []
        self._seen: dict[str, float] = {}
        self._next = 0  #: where ``forget`` goes on

    def opened(self, snapshot: Snapshot) -> None:
        """Take over what the store knows."""
        self._seen = dict.fromkeys(snapshot.depths, 0.0) | snapshot.seen
        self._names = sorted(self._seen)

    def seen(self, agent: str, at: float) -> None:
        """It was here at ``at``, or (0) a message for it is queued."""
        if agent not in self._seen:
            if len(self._seen) >= self._most:
                return
            insort(self._names, agent)
        self._seen[agent] = max(at, self._seen.get(agent, 0.0))

    def forget(self, known: Callable[[str], bool], count: int) -> None:
        """Look at the next ``count`` names, and forget those that are not ``known`` any more."""
        start = self._next if self._next < len(self._names) else 0
        looked = self._names[start : start + count]
        kept = [name for name in looked if known(name)]
        self._next = start + len(kept)
        if len(kept) < len(looked):
            self._names[start : start + count] = kept
            for name in set(looked).difference(kept):
                del self._seen[name]

    def last_seen(self, agent: str) -> float | None:
        """When it was here last, if it ever was."""
        return self._seen.get(agent) or None

    def __contains__(self, agent: str) -> bool:
        return agent in self._seen

    def after(self, name: str, prefix: str) -> list[str]:
        """The names after ``name`` that begin with ``prefix``, in order."""
        start = max(bisect_right(self._names, name), bisect_left(self._names, prefix))
        end = bisect_left(self._names, prefix + "\x7f", start) if prefix else len(self._names)
        return self._names[start:end]
