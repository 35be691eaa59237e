"""What all sessions hold together: bytes that have not left, and direct messages in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.core import policy
from relay.core.limits import Limits

if TYPE_CHECKING:
    from relay.hub.outlet import Outlet


class Pressure:
    """What has not left, over all sessions, and what direct messages hold in memory (protocol 2.3 'Slow agents').

    Between two looks it is an estimate from above: what was sent since counts as not left.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.flowing: set[Outlet] = set()
        self.held = 0  #: payload bytes of direct messages that are only in memory
        self.unsent = 0

    def sent(self, outlet: Outlet, size: int) -> None:
        self.flowing.add(outlet)
        self.unsent += size

    def share(self) -> int:
        """Bytes that may wait for one session."""
        return policy.buffer_share(self.unsent + self.held, len(self.flowing), self._limits)

    def may_hold(self, size: int) -> bool:
        """May a direct message of that size be kept in memory?"""
        return self.unsent + self.held + size <= self._limits.total_buffer

    def look(self, now: float) -> list[tuple[Outlet, bool]]:
        """Once a second: the outlets that had something to send, and whether bytes that waited have left."""
        looked = [(outlet, outlet.look(now)) for outlet in self.flowing]
        self.flowing = {outlet for outlet, _ in looked if outlet.flow.waiting}
        self.unsent = sum(outlet.flow.waiting for outlet in self.flowing)
        return looked
