"""The floor as an operator sees it: agents, connected or not (protocol 1.3)."""

from __future__ import annotations

from relay.core import policy
from relay.core.model import AgentView, Figures, Readiness
from relay.core.ports import StoreUnavailable
from relay.hub.context import Context
from relay.hub.couriers import Couriers
from relay.hub.directory import Directory
from relay.hub.registry import Registry

SLICE = 1000  #: agents that are looked at in one go


class Views:
    """Changes nothing of what it shows."""

    def __init__(
        self, context: Context, registry: Registry, couriers: Couriers, directory: Directory, node: str
    ) -> None:
        self._context = context
        self._registry = registry
        self._couriers = couriers
        self._directory = directory
        self._node = node

    async def agents(self, connected: bool | None, prefix: str, after: str, limit: int) -> list[AgentView]:
        """Up to ``limit`` known agents after ``after``, in the order of their ids."""
        chosen: list[str] = []
        for name in self._directory.after(after, prefix):
            if connected in (None, name in self._registry.holders) and self._is_known(name):
                chosen.append(name)
                if len(chosen) == limit:
                    break
        oldest = await self._oldest(chosen)
        return [self._view(name, oldest.get(name)) for name in chosen]

    async def agent(self, agent: str) -> AgentView | None:
        """One agent, if it is known."""
        if not self._is_known(agent):
            return None
        return self._view(agent, (await self._oldest([agent])).get(agent))

    def readiness(self) -> Readiness:
        """Can a message be accepted now?"""
        context = self._context
        why = "draining" if context.draining else "" if context.ledger.accepting() else "store-unavailable"
        return Readiness(not why, context.ledger.store.durable, why)

    def figures(self) -> Figures:
        """How much there is of everything."""
        context, registry = self._context, self._registry
        queued = context.ledger.total
        return Figures(
            sessions=len(registry.holders),
            unregistered=registry.unregistered,
            queued=queued.count,
            queued_bytes=queued.bytes,
            held_bytes=context.pressure.held,
            unrecorded=len(context.ledger.ends),
            events=dict(context.chronicle.bulletin.counts),
        )

    def sweep(self) -> None:
        """Once a second: forget those of the next agents that are not known any more."""
        self._directory.forget(self._is_known, SLICE)

    def _is_known(self, agent: str) -> bool:
        queued = self._context.ledger.depth(agent).count
        last_seen = self._directory.last_seen(agent) or 0.0
        return policy.is_known(agent in self._registry.holders, queued, last_seen, self._context.wall())

    async def _oldest(self, agents: list[str]) -> dict[str, float]:
        queued = [agent for agent in agents if self._context.ledger.depth(agent).count]
        if not queued:
            return {}
        try:
            return await self._context.ledger.store.oldest(queued)
        except StoreUnavailable:
            return {}

    def _view(self, agent: str, oldest_at: float | None) -> AgentView:
        session = self._registry.holders.get(agent)
        courier = self._couriers.get(agent)
        depth = self._context.ledger.depth(agent)
        last_seen = self._directory.last_seen(agent)
        if session is not None:
            last_seen = self._context.wall() - (self._context.clock.seconds() - session.heard_at)
        return AgentView(
            agent=agent,
            connected=session is not None,
            session=session.id if session else None,
            since=session.since if session else None,
            last_seen=last_seen,
            remote=session.transport.peer if session else None,
            client=session.client if session else None,
            node=self._node if session else None,
            queued=depth.count,
            queued_bytes=depth.bytes,
            oldest_at=oldest_at,
            in_flight=courier.line.flying if courier else 0,
            transport=session.transport.kind if session else None,
        )
