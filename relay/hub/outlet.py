"""The way out to one session: its window, its buffer, its redelivery clock. And what all of them hold together."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from relay.core import policy
from relay.core.flow import Flow
from relay.core.limits import Limits
from relay.core.ports import AgentTransport
from relay.hub.redelivery import Redelivery


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


class Outlet:
    """What a courier needs of its session. ``window`` is the one in force; a careful one starts at 1 and widens."""

    def __init__(
        self,
        transport: AgentTransport,
        *,
        clock: IReactorTime,
        pressure: Pressure,
        max_in_flight: int,
        ack_wait: float,
        max_frame: int | None,
        watched: Callable[[str], bool],
    ) -> None:
        self.max_frame = max_frame
        self.doubted = False  #: a direct message was not acknowledged, and nothing was heard since
        self.flow = Flow()
        self.redelivery = Redelivery(ack_wait, watched)
        self.sent_count = 0
        self._transport = transport
        self._clock = clock
        self._pressure = pressure
        self._asked = max_in_flight
        self.window = max_in_flight

    def careful(self, streak: int) -> None:
        """After several breaks in a row the window starts at 1."""
        self.window = policy.starting_window(streak, self._asked)

    def resize(self, max_in_flight: int) -> None:
        """The agent asked for another window."""
        self._asked = self.window = max_in_flight

    def widen(self) -> None:
        """An ACK came."""
        if self.window < self._asked:
            self.window = policy.wider_window(self.window, self._asked)

    def takes(self, size: int) -> bool:
        """May a frame of that size be sent now?"""
        return policy.fits(self._transport.unsent(), size, self._pressure.share())

    def send(self, frame: bytes) -> None:
        self.sent_count += 1
        self._transport.send(frame)
        self._pressure.sent(self, len(frame))

    def doubt(self) -> None:
        """A direct message was not acknowledged in time: is the agent still there?"""
        self.doubted = True
        self._transport.ping()

    def look(self, now: float) -> bool:
        """Once a second while bytes wait; True if some of them left."""
        return self.flow.look(now, self._transport.unsent(), self._transport.taken())

    def flow_time(self) -> float:
        """The redelivery clock."""
        return self.flow.time(self._clock.seconds())

    def resend_in(self) -> float | None:
        """Seconds until a redelivery may be due; None when nothing is in flight or the clock stands still."""
        due = self.redelivery.due_at()
        if due is None or self.flow.stalled_since is not None:
            return None
        return max(0.0, due - self.flow_time())
