"""The queues of the memory store."""

from __future__ import annotations

import heapq
from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass

from relay.core.model import Depth, Record

TOP = "\U0010ffff"  #: sorts behind every id


@dataclass(slots=True)
class Held:
    """A queued message, with what else is known of it."""

    record: Record
    timeline: str  #: lines, see ``relay.store.timeline``
    ttl: float  #: seconds that it was first given
    replaced_by: str = ""  #: it was in flight when that one took its place, and is not sent again


class Queues:
    """Queued messages, by id, by place, by topic and by the time when they expire."""

    def __init__(self) -> None:
        self.last_place = 0
        self._held: dict[str, Held] = {}
        self._places: dict[str, list[tuple[int, str]]] = {}  #: by agent: (place, id), lowest first
        self._topics: dict[tuple[str, str], set[str]] = {}  #: ids by agent and topic
        self._expiring: list[tuple[float, str]] = []  #: a heap, also of what has left

    def __contains__(self, id: str) -> bool:
        return id in self._held

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def add(self, held: Held) -> None:
        """One more."""
        record, message = held.record, held.record.message
        self._held[message.id] = held
        insort(self._places.setdefault(message.agent, []), (record.place, message.id))
        if message.topic is not None:
            self._topics.setdefault((message.agent, message.topic), set()).add(message.id)
        heapq.heappush(self._expiring, (message.expires_at, message.id))
        self.last_place = max(self.last_place, record.place)

    def remove(self, held: Held) -> None:
        """One less."""
        record, message = held.record, held.record.message
        del self._held[message.id]
        places = self._places[message.agent]
        del places[bisect_right(places, (record.place, message.id)) - 1]
        if not places:
            del self._places[message.agent]
        if message.topic is not None:
            ids = self._topics[message.agent, message.topic]
            ids.discard(message.id)
            if not ids:
                del self._topics[message.agent, message.topic]
        if len(self._expiring) > 2 * len(self._held) + 1000:
            self._expiring = [(each.record.message.expires_at, id) for id, each in self._held.items()]
            heapq.heapify(self._expiring)

    def get(self, id: str) -> Held | None:
        return self._held.get(id)

    def of(self, agent: str, id: str) -> Held | None:
        """The message of that id, if it is queued for that agent."""
        held = self._held.get(id)
        return held if held is not None and held.record.message.agent == agent else None

    def topic(self, agent: str, topic: str) -> list[Held]:
        """What is queued under this topic, lowest place first."""
        found = [self._held[id] for id in self._topics.get((agent, topic), ())]
        return sorted(found, key=lambda held: held.record.place)

    def spared(self) -> list[Held]:
        """What was in flight when a newer message took its place."""
        return [held for held in self._held.values() if held.replaced_by]

    def behind(self, agent: str, place: int) -> Iterator[Record]:
        """What is queued for the agent behind that place, lowest first."""
        places = self._places.get(agent, [])
        return (self._held[id].record for _, id in places[bisect_right(places, (place, TOP)) :])

    def first(self, agent: str) -> Record | None:
        """The one with the lowest place."""
        return next((self._held[id].record for _, id in self._places.get(agent, ())), None)

    def overdue(self, now: float, limit: int) -> list[Record]:
        """What has expired at Unix time ``now``, the first to expire first."""
        found: dict[str, Record] = {}
        while self._expiring and self._expiring[0][0] <= now and len(found) < limit:
            at, id = heapq.heappop(self._expiring)
            held = self._held.get(id)
            if held is not None and held.record.message.expires_at == at:
                found[id] = held.record
        for id, record in found.items():
            heapq.heappush(self._expiring, (record.message.expires_at, id))
        return list(found.values())

    def depths(self) -> dict[str, Depth]:
        """How much is queued for whom."""
        return {
            agent: Depth(len(places), sum(len(self._held[id].record.message.payload) for _, id in places))
            for agent, places in self._places.items()
        }
