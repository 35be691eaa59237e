"""The couriers by agent: made when there is something to carry, forgotten when there is not."""

from __future__ import annotations

from collections.abc import Iterator

from relay.hub import parting
from relay.hub.context import Context
from relay.hub.courier import Courier
from relay.hub.outlet import Outlet


class Couriers:
    """Also remembers which agents' last sessions broke, for the blame rule."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._couriers: dict[str, Courier] = {}
        self._streaks: dict[str, int] = {}

    def __iter__(self) -> Iterator[Courier]:
        return iter(list(self._couriers.values()))

    def of(self, agent: str) -> Courier:
        """The agent's courier, a new one if need be."""
        courier = self._couriers.get(agent)
        if courier is None:
            courier = self._couriers[agent] = Courier(agent, self._context, self._retire)
        return courier

    def get(self, agent: str) -> Courier | None:
        return self._couriers.get(agent)

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
