"""The couriers by agent: made when there is something to carry, forgotten when there is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from relay.hub import parting
from relay.hub.context import Context
from relay.hub.courier import Courier
from relay.hub.outlet import Outlet

#: Of an agent that nobody has in mind: parcels on their way to the disk, messages in them, and their payload bytes.
Way = tuple[int, int, int]
NO_WAY: Final[Way] = (0, 0, 0)


class Couriers:
    """Also remembers which agents' last sessions broke, for the blame rule."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._couriers: dict[str, Courier] = {}
        self._ways: dict[str, Way] = {}
        self._streaks: dict[str, int] = {}

    def __iter__(self) -> Iterator[Courier]:
        return iter(list(self._couriers.values()))

    def of(self, agent: str) -> Courier:
        """The agent's courier, a new one if need be."""
        courier = self._couriers.get(agent)
        if courier is None:
            courier = self._couriers[agent] = Courier(agent, self._context, self._retire)
            if (way := self._ways.pop(agent, None)) is not None:
                courier.line.unsettled, courier.held_count, courier.held_bytes = way
        return courier

    def get(self, agent: str) -> Courier | None:
        return self._couriers.get(agent)

    def held(self, agent: str) -> tuple[int, int]:
        """How many of the agent's messages are accepted, and neither durable nor ended; and their payload bytes."""
        courier = self._couriers.get(agent)
        if courier is not None:
            return courier.held_count, courier.held_bytes
        _, count, size = self._ways.get(agent, NO_WAY)
        return count, size

    def went(self, agent: str, count: int, size: int) -> None:
        """So many messages of the agent, of so many bytes, are on their way to the disk together, and not in mind.

        An agent that comes meanwhile waits for them.
        """
        courier = self._couriers.get(agent)
        if courier is not None:
            courier.line.unsettled += 1
            courier.hold(count, size)
        else:
            parcels, before, held = self._ways.get(agent, NO_WAY)
            self._ways[agent] = parcels + 1, before + count, held + size
            self._context.pressure.held += size

    def arrived(self, agent: str, count: int, size: int) -> None:
        """They are there, or nobody tries any more."""
        courier = self._couriers.get(agent)
        if courier is not None:
            courier.line.unsettled -= 1
            courier.hold(-count, -size)
            return
        parcels, before, held = self._ways.pop(agent)
        if parcels > 1:
            self._ways[agent] = parcels - 1, before - count, held - size
        self._context.pressure.held -= size

    def _retire(self, courier: Courier) -> None:
        if self._couriers.get(courier.agent) is courier:
            del self._couriers[courier.agent]

    def begin(self, agent: str, outlet: Outlet) -> None:
        """A session holds the agent now."""
        parting.begin(self.of(agent), outlet, self._streaks.get(agent, 0))

    def finish(self, agent: str, *, broke: bool) -> None:
        """Its session is over."""
        streak = parting.finish(self.of(agent), broke=broke, streak=self._streaks.pop(agent, 0))
        if streak:
            self._streaks[agent] = streak
