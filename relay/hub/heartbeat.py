"""The one guarded loop: pings by slices, two strikes, slow sockets, and what else must be looked at once a second."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from relay.core.session import Close
from relay.hub.context import Context
from relay.hub.outlet import Outlet

if TYPE_CHECKING:
    from relay.hub.session import AgentSession

STRIKES = 2


class Heartbeat:
    """Every session is pinged once in ``interval`` seconds, a slice of them at each tick.

    Pinging all at once would stop everything else for a while (76 ms for 15,000 sessions). A session's first ping
    comes a whole interval after it was added.
    """

    log = Logger()

    def __init__(self, context: Context, interval: float) -> None:
        slices = max(1, math.ceil(interval))
        self._context = context
        self._slices: list[dict[AgentSession, None]] = [{} for _ in range(slices)]
        self._slice_of: dict[AgentSession, int] = {}
        self._sessions: dict[Outlet, AgentSession] = {}
        self._now = 0
        self._tick = interval / slices
        self.chores: list[Callable[[], object]] = [self._look_at_backlogs, self._beat, context.ledger.ends.try_again]
        self._loop = LoopingCall(self.tick)

    def start(self, clock: IReactorTime) -> None:
        self._loop.clock = clock
        self._loop.start(self._tick, now=False).addErrback(
            lambda failure: self.log.failure("the heartbeat stopped", failure)
        )

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()

    def add(self, session: AgentSession, outlet: Outlet) -> None:
        self._slice_of[session] = self._now
        self._slices[self._now][session] = None
        self._sessions[outlet] = session

    def __len__(self) -> int:
        """How many sessions there are."""
        return len(self._sessions)

    def remove(self, session: AgentSession, outlet: Outlet) -> None:
        index = self._slice_of.pop(session, None)
        if index is not None:
            self._slices[index].pop(session, None)
        self._sessions.pop(outlet, None)
        self._context.pressure.flowing.discard(outlet)

    def tick(self) -> None:
        """Called by the loop. A LoopingCall ends for ever at its first exception, so that none may leave this."""
        for chore in self.chores:
            try:
                chore()
            except Exception:
                self.log.failure("the heartbeat's {chore} went wrong", chore=chore)

    def _beat(self) -> None:
        self._now = (self._now + 1) % len(self._slices)
        for session in list(self._slices[self._now]):
            if session.strikes >= STRIKES:
                self.log.info("{agent} is silent and is dropped", agent=session.agent)
                session.drop()
            else:
                session.strikes += 1
                session.transport.ping()

    def _look_at_backlogs(self) -> None:
        now = self._context.clock.seconds()
        for outlet, moved in self._context.pressure.look(now):
            session = self._sessions.get(outlet)
            if session is None:
                continue
            if moved:
                session.heard()
            if outlet.flow.stalled_for(now) >= self._context.limits.stalled_seconds:
                session.close(Close.SLOW, "too-slow", limit="stalled_seconds")
            elif not outlet.flow.waiting or moved:
                session.flowed()
