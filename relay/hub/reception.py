"""What a session is granted and told when it is registered, or refused (protocol 2.1 to 2.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from twisted.logger import Logger

from relay.core import wire
from relay.core.session import Close
from relay.core.wire import Register
from relay.hub.context import Context
from relay.hub.heartbeat import Heartbeat
from relay.hub.outlet import Outlet, Wishes
from relay.hub.session import AgentSession

DUPLICATE_RETRY: Final = 60  #: seconds, the contract's lower bound after 4000


@dataclass(frozen=True, slots=True)
class Manners:
    """What the relay says of itself, and how it treats duplicates. Times in seconds."""

    heartbeat: float
    ack_timeout: float
    on_duplicate: str  #: ``reject``, ``replace`` or ``choice`` (the newcomer's)
    node: str
    server: str


class Reception:
    """Gives a session its way out, and says ``registered``; or says why it has none."""

    log = Logger()

    def __init__(self, context: Context, heartbeat: Heartbeat, manners: Manners) -> None:
        self._context = context
        self._heartbeat = heartbeat
        self._manners = manners

    def welcome(self, session: AgentSession, frame: Register, watched: Callable[[str], bool]) -> None:
        """The session is registered. ``watched``: does a POST wait for that message?"""
        context, wishes = self._context, self._granted(frame, session)
        outlet = Outlet(
            context.session_name(session.agent),
            session.transport,
            wishes,
            clock=context.clock,
            pressure=context.pressure,
            limits=context.limits,
            watched=watched,
            holds=session.holds,
        )
        self._heartbeat.add(session, outlet)
        if session.agent:
            about = {"session": outlet.session, "client": session.client, "remote": session.transport.peer}
            context.chronicle.bulletin.tell("agent.connected", session.agent, **about)
        session.admitted(outlet, self._registered(session, outlet, wishes))

    def refuse(self, session: AgentSession, holder: AgentSession) -> None:
        """Another session holds its agent."""
        about = {"since": wire.stamp(holder.since), "client": holder.client, "node": self._manners.node}
        detail = f"another connection holds {holder.agent}"
        session.transport.send(wire.error("duplicate", detail, holder=about))
        session.close(Close.DUPLICATE, "duplicate", retry_after=DUPLICATE_RETRY)
        refused = {"client": session.client, "remote": session.transport.peer}
        self.log.info("{agent} is held by another connection: {remote} is refused", agent=holder.agent, **refused)
        self._context.chronicle.bulletin.tell("agent.conflict", holder.agent, **refused)

    def _granted(self, frame: Register, session: AgentSession) -> Wishes:
        limits = self._context.limits
        return Wishes(
            max_in_flight=min(frame.max_in_flight or limits.default_in_flight, limits.max_in_flight),
            ack_wait=limits.ack_wait if frame.ack_wait is None else min(frame.ack_wait, limits.ack_wait_max),
            max_frame=frame.max_frame,
            raw=frame.raw,
            batch=frame.batch,
            publisher=session.vouched is not None,
        )

    def _registered(self, session: AgentSession, outlet: Outlet, wishes: Wishes) -> bytes:
        context, manners, agent = self._context, self._manners, session.agent
        return wire.registered(
            agent=agent or None,
            session=outlet.session,
            queued=context.ledger.depth(agent).count,
            heartbeat=manners.heartbeat,
            ack_timeout=manners.ack_timeout,
            ack_wait=wishes.ack_wait,
            max_in_flight=wishes.max_in_flight,
            durable=context.ledger.store.durable,
            server=manners.server,
            node=manners.node,
            limits=context.limits,
            expires_at=session.grant.expires_at,
        )
