"""Who holds which agent: registration, duplicates with the proof of life, storms (protocol 2.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from relay.core import policy
from relay.core.access import Grant
from relay.core.bucket import Bucket
from relay.core.session import Close, State
from relay.core.wire import Register
from relay.hub.context import Context
from relay.hub.couriers import Couriers
from relay.hub.directory import Directory
from relay.hub.heartbeat import Heartbeat
from relay.hub.permits import Permits
from relay.hub.reception import Manners, Reception
from relay.hub.session import AgentSession
from relay.hub.turnstile import Turnstile

REGISTER_AT_ONCE: Final = 16  #: sessions that are registered in one turn of the reactor
PROOF_SERVES = 1.0  #: seconds in which a sign of life that was asked for serves for all newcomers
OVERLOAD_RETRY = (1.0, 10.0)  #: seconds, spread


@dataclass(slots=True)
class Probe:
    """A holder is asked for a sign of life, on behalf of these newcomers."""

    timer: IDelayedCall
    newcomers: list[tuple[AgentSession, Register]] = field(default_factory=list)


class Registry:
    """At most one live session an agent. Implements ``relay.hub.session.SessionHost``."""

    log = Logger()

    def __init__(
        self,
        context: Context,
        couriers: Couriers,
        directory: Directory,
        heartbeat: Heartbeat,
        permits: Permits,
        manners: Manners,
    ) -> None:
        self.holders: dict[str, AgentSession] = {}
        self.sessions: set[AgentSession] = set()  #: every open conversation, registered or not
        self._context = context
        self._couriers = couriers
        self._directory = directory
        self._heartbeat = heartbeat
        self._permits = permits
        self._manners = manners
        self._reception = Reception(context, heartbeat, manners)
        self._bucket = Bucket(context.limits.registrations)
        self._arrivals = Turnstile(context.clock, REGISTER_AT_ONCE)
        self._probes: dict[str, Probe] = {}
        self._proved: dict[str, float] = {}
        self.when_empty: Callable[[], object] = lambda: None

    # -- registration

    def register(self, session: AgentSession, frame: Register) -> None:
        if not self._arrivals.passes(partial(self._ask, session, frame)):
            session.wait_in(State.ARRIVING)

    def _ask(self, session: AgentSession, frame: Register) -> None:
        """It is its turn, unless it went while it waited."""
        if session.state in (State.OPEN, State.ARRIVING):
            self._permits.ask(session, frame, self._take)

    def shown(self, session: AgentSession, token: str) -> None:
        self._permits.shown(session, token)

    def granted(self, session: AgentSession, grant: Grant) -> None:
        self._permits.granted(session, grant)

    def _take(self, session: AgentSession, frame: Register) -> None:
        """It may register, as far as its token goes."""
        if self._context.draining:
            session.close(Close.GOING_AWAY, "shutting-down", retry_after=self.spread())
        elif not self._context.ledger.up:
            session.close(Close.OVERLOADED, "no-store", retry_after=self.spread())
        elif not self._bucket.take(self._context.clock.seconds()):
            session.close(Close.OVERLOADED, "overloaded", retry_after=self.spread(), limit="registrations")
        elif session.agent:
            self._decide(session, frame)
        else:
            self._welcome(session, frame, lambda _id: False)

    @property
    def unregistered(self) -> int:
        """Connections that hold no agent: not yet, or not any more."""
        return len(self.sessions) - len(self._heartbeat)

    def spread(self) -> int:
        return policy.spread(*OVERLOAD_RETRY, self._context.random.uniform)

    def _decide(self, session: AgentSession, frame: Register) -> None:
        holder = self.holders.get(session.agent)
        if holder is None:
            self._admit(session, frame)
        elif self._may_replace(holder, frame):
            self._take_over(holder, session, frame)
        else:
            self._probe(holder, session, frame)

    def _take_over(self, holder: AgentSession, session: AgentSession, frame: Register) -> None:
        # Who waits for a sign of life of the holder must not slip in between the two.
        waiting = self._waiting_for(session.agent)
        holder.close(Close.REPLACED, "replaced")
        session.took_over = holder.id
        self._admit(session, frame)
        self._decide_all(waiting)

    def _may_replace(self, holder: AgentSession, frame: Register) -> bool:
        """The right ``resume`` always takes over; otherwise as configured."""
        if frame.resume is not None and frame.resume in (holder.id, holder.took_over):
            return True
        wish = self._manners.on_duplicate
        return wish == "replace" or (wish == "choice" and frame.on_duplicate == "replace")

    def _admit(self, session: AgentSession, frame: Register) -> None:
        agent = session.agent
        # Where its ghost was seen off before: should its ``registered`` be lost, it comes with the same name again.
        session.took_over = session.took_over or self._context.given(agent, frame.resume)
        self.holders[agent] = session
        now = self._context.wall()
        self._directory.seen(agent, now)
        self._context.ledger.seen(agent, now)
        self._welcome(session, frame, self._couriers.of(agent).acks.watches)

    def _welcome(self, session: AgentSession, frame: Register, watched: Callable[[str], bool]) -> None:
        self._reception.welcome(session, frame, watched)
        self._permits.begun(session)

    # -- the end of a session

    def released(self, session: AgentSession, *, broke: bool) -> None:
        agent, outlet = session.agent, session.outlet
        self._permits.finished(session)
        if outlet is not None:
            self._heartbeat.remove(session, outlet)
        if self.holders.get(agent) is not session:
            return
        del self.holders[agent]
        about = {"session": outlet.session if outlet else None, "broke": broke}
        self._context.chronicle.bulletin.tell("agent.disconnected", agent, **about)
        now = self._context.wall()
        self._directory.seen(agent, now)
        self._context.ledger.seen(agent, now)
        self._couriers.finish(agent, broke=broke)
        self._proved.pop(agent, None)
        self._settle(agent)

    def over(self, session: AgentSession) -> None:
        self.sessions.discard(session)
        if not self.sessions:
            self.when_empty()

    # -- duplicates

    def _probe(self, holder: AgentSession, session: AgentSession, frame: Register) -> None:
        agent, clock = session.agent, self._context.clock
        if clock.seconds() - self._proved.get(agent, -PROOF_SERVES - 1) <= PROOF_SERVES:
            self._reception.refuse(session, holder)
            return
        alive = holder.transport.alive()
        if alive is not None:
            self._judge(alive, holder, session, frame)
            return
        probe = self._probes.get(agent)
        if probe is None:
            timer = clock.callLater(self._context.limits.probe_seconds, self._silent, agent)
            probe = self._probes[agent] = Probe(timer)
            holder.probed = True
            holder.transport.ping()
        probe.newcomers.append((session, frame))
        session.wait_in(State.PROBING)

    def _judge(self, alive: bool, holder: AgentSession, session: AgentSession, frame: Register) -> None:
        """The holder's wire knows at once whether its agent is there."""
        if alive:
            self._reception.refuse(session, holder)
            return
        holder.close(Close.REPLACED, "replaced")
        self._decide(session, frame)

    def sign_of_life(self, session: AgentSession) -> None:
        """The holder lives: the newcomers are refused."""
        session.probed = False
        self._proved[session.agent] = self._context.clock.seconds()
        probe = self._probes.pop(session.agent, None)
        if probe is None:
            return
        probe.timer.cancel()
        for newcomer, _ in probe.newcomers:
            if newcomer.state is State.PROBING:
                self._reception.refuse(newcomer, session)

    def _silent(self, agent: str) -> None:
        """The holder said nothing in time: it is dropped, and the first newcomer takes its place."""
        holder = self.holders.get(agent)
        if holder is not None:
            holder.probed = False
            self.log.info("{agent}: its connection gave no sign of life and is dropped for a new one", agent=agent)
            holder.drop()
        if self.holders.get(agent) is holder and holder is not None:
            holder.lost(None, False)
        self._settle(agent)

    def _settle(self, agent: str) -> None:
        """The holder is gone: who waited for its sign of life is decided anew, in order."""
        self._decide_all(self._waiting_for(agent))

    def _waiting_for(self, agent: str) -> list[tuple[AgentSession, Register]]:
        """Who waits for a sign of life of the agent's holder; nobody does any more."""
        probe = self._probes.pop(agent, None)
        if probe is None:
            return []
        if probe.timer.active():
            probe.timer.cancel()
        return probe.newcomers

    def _decide_all(self, newcomers: list[tuple[AgentSession, Register]]) -> None:
        for newcomer, frame in newcomers:
            # Its token may have been revoked while it waited.
            if newcomer.state is State.PROBING and self._permits.holds(newcomer):
                self._decide(newcomer, frame)
