"""The shared service that every session and every door meets at, and its ordered end."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from relay.core import policy
from relay.core.access import Grant
from relay.core.counters import Counters
from relay.core.limits import Limits
from relay.core.model import AgentView, Figures, Letter, MessageView, Readiness, Reason, Submission
from relay.core.ports import (
    AgentConversation,
    AgentTransport,
    Audit,
    Authenticator,
    MessageFilters,
    MessageStore,
    StoreBroken,
    Tell,
)
from relay.core.problems import Problem
from relay.core.session import Close
from relay.core.webhooks import Sender
from relay.hub.bulletin import Bulletin
from relay.hub.callbacks import Callbacks
from relay.hub.chronicle import Chronicle
from relay.hub.context import Context
from relay.hub.couriers import Couriers
from relay.hub.delivery import DRAIN_RETRY, Delivery
from relay.hub.directory import Directory
from relay.hub.heartbeat import Heartbeat
from relay.hub.ledger import Ledger
from relay.hub.mending import Mending
from relay.hub.overflow import Overflow
from relay.hub.patience import Patience
from relay.hub.permits import Permits
from relay.hub.pressure import Pressure
from relay.hub.reception import Manners
from relay.hub.records import Records
from relay.hub.registry import Registry
from relay.hub.remembered import Remembered
from relay.hub.session import AgentSession
from relay.hub.views import Views

OPERATOR_RETRY = 30  #: seconds, the contract's lower bound after 4005
GOODBYE_RETRY = (1.0, 5.0)  #: seconds, spread: when an agent may come back after 1001


class Hub:
    """Implements ``relay.core.ports.Floor``. ``start`` it before a door opens; ``drain`` it before they close."""

    log = Logger()

    def __init__(
        self,
        *,
        store: MessageStore,
        authenticator: Authenticator,
        audit: Audit,
        clock: IReactorTime,
        wall: Callable[[], float],
        random: random.Random,
        limits: Limits,
        ack_timeout: float,
        heartbeat: float,
        on_duplicate: str,
        node: str,
        server: str,
        overflow: str = "refuse",
        callback_hosts: Collection[str] = (),
        webhooks: Sender | None = None,
        counters: Counters | None = None,
        filters: MessageFilters | None = None,
    ) -> None:
        ledger = Ledger(store, clock)
        self.notices = Bulletin(wall, limits.events, f"{random.getrandbits(48):012x}")
        chronicle = Chronicle(wall, node, Remembered(limits.remembered, limits.remembered_bytes), self.notices)
        pressure, patience = Pressure(limits), Patience(clock)
        self._context = Context(clock, wall, random, limits, ledger, pressure, chronicle, audit, patience)
        self._context.ack_timeout = ack_timeout
        self._context.counters = self.counters = counters or Counters()
        self._context.callback_hosts = frozenset(callback_hosts)
        self._store = store
        self._couriers = Couriers(self._context)
        self._directory = Directory(limits.known_agents)
        self._heartbeat = Heartbeat(self._context, heartbeat)
        manners = Manners(heartbeat, ack_timeout, on_duplicate, node, server)
        permits = Permits(self._context, authenticator)
        self._registry = Registry(self._context, self._couriers, self._directory, self._heartbeat, permits, manners)
        drops = Overflow(self._context, self._couriers) if overflow == "drop-oldest" else None
        self._delivery = Delivery(self._context, self._couriers, self._directory, drops, filters)
        self.submit = self._delivery.submit
        self._records = Records(self._context, self._couriers)
        self._mending = Mending(self._context, self._couriers, self._records)
        self._views = Views(self._context, self._registry, self._couriers, self._directory, node)
        self._heartbeat.chores += [permits.sweep, self._mending.sweep, self._views.sweep]
        self._callbacks = Callbacks(self._context, webhooks) if webhooks is not None else None
        self._heartbeat.chores += [self._callbacks.sweep] if self._callbacks is not None else []
        self._fatal: Callable[[StoreBroken], object] = lambda error: None

    # -- its life

    def start(self) -> Deferred[None]:
        """Open the store and begin the heartbeat. Fails with StoreRefused."""
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        self._store.on_broken(self._broken)
        snapshot = await self._store.open()
        self._context.last_place = snapshot.last_place
        self._context.key_secret = snapshot.secret
        self._context.ledger.opened(snapshot)
        self._directory.opened(snapshot)
        self._heartbeat.start(self._context.clock)

    def every_tick(self, chore: Callable[[], object]) -> None:
        """Call this about once a second while the relay runs, in the one guarded loop."""
        self._heartbeat.chores.append(chore)

    def on_fatal(self, call: Callable[[StoreBroken], object]) -> None:
        """Call this when the store broke: agents have been told 1001, and the process must exit non-zero."""
        self._fatal = call

    def _broken(self, error: StoreBroken) -> None:
        self.log.critical("the store is broken, the relay must be restarted: {error}", error=str(error))
        self._context.draining = True
        self._say_goodbye()
        self._fatal(error)

    def drain(self) -> Deferred[None]:
        """Refuse what is new, let waits end (up to the limit), tell the agents 1001, and see them off.

        Only a wait of which somebody reads the end is waited for.
        """
        return Deferred.fromCoroutine(self._drain())

    async def _drain(self) -> None:
        context = self._context
        context.draining = True
        self.notices.close()
        for courier in self._couriers:
            courier.acks.give_up_all(Reason.DRAINING, unsent_only=True)
            courier.acks.give_up_forsaken(Reason.DRAINING)
        await self._nobody(lambda: context.crowd.waiting, context.limits.drain_seconds)
        for courier in self._couriers:
            courier.acks.give_up_all(Reason.DRAINING)
        await self._nobody(lambda: context.crowd.waiting, context.limits.close_seconds)
        self._say_goodbye()
        await self._nobody(lambda: len(self._registry.sessions), context.limits.close_seconds)

    async def _nobody(self, left: Callable[[], int], seconds: float) -> None:
        """Wait until nobody is left, or that many seconds."""
        if not left():
            return
        gone: Deferred[None] = Deferred()

        def look() -> None:
            if not left() and not gone.called:
                gone.callback(None)

        def soon() -> None:
            self._context.clock.callLater(0, look)  # not now: the last who waited is just being told

        self._context.crowd.when_empty = self._registry.when_empty = soon
        gone.addTimeout(seconds, self._context.clock, onTimeoutCancel=lambda _result, _seconds: None)
        await gone

    def _say_goodbye(self) -> None:
        for session in list(self._registry.sessions):
            later = policy.spread(*GOODBYE_RETRY, self._context.random.uniform)
            session.close(Close.GOING_AWAY, "shutting-down", retry_after=later)

    def close(self) -> Deferred[None]:
        """Stop the heartbeat and close the store. Sessions that are still there are dropped."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        self._heartbeat.stop()
        if self._callbacks is not None:
            self._callbacks.close()
        for session in list(self._registry.sessions):
            session.drop()
        await self._store.close()
        self._context.patience.close()

    # -- what the doors ask

    def submit_all(self, lines: Sequence[Submission], tell: Tell) -> Callable[[], object]:
        return self._delivery.submit_all(lines, tell)

    def message(self, id: str, *, wait: float = 0.0) -> Deferred[MessageView | None]:
        return Deferred.fromCoroutine(self._records.message(id, wait))

    def cancel(self, id: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self._mending.cancel(id))

    def queue(self, agent: str, *, after: int, limit: int) -> Deferred[tuple[list[MessageView], int | None]]:
        return Deferred.fromCoroutine(self._records.queue(agent, after, limit))

    def empty(self, agent: str) -> Deferred[int]:
        return Deferred.fromCoroutine(self._mending.empty(agent))

    def disconnect(self, agent: str) -> bool:
        return disconnect(self._registry.holders.get(agent))

    def letters(self, *, after: str, limit: int) -> Deferred[list[Letter]]:
        return Deferred.fromCoroutine(self._records.letters(after, limit))

    def requeue(self, id: str) -> Deferred[MessageView]:
        return Deferred.fromCoroutine(self._mending.requeue(id))

    def discard(self, id: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self._mending.discard(id))

    def admit(self) -> None:
        if self._context.draining:
            raise Problem("draining", "the relay is shutting down", retry_after=DRAIN_RETRY)

    def admit_agent(self) -> None:
        self.admit()
        limits = self._context.limits
        if self._registry.unregistered >= limits.unregistered:
            detail, later = "too many connections hold no agent yet", self._registry.spread()
            raise Problem("overloaded", detail, retry_after=later, limit="unregistered")

    def converse(
        self, transport: AgentTransport, token: str | None = None, *, grant: Grant | None = None
    ) -> AgentConversation:
        session = AgentSession(transport, self._context, self._couriers, self._delivery, self._registry, token, grant)
        self._registry.sessions.add(session)
        return session

    def agents(self, *, connected: bool | None, prefix: str, after: str, limit: int) -> Deferred[list[AgentView]]:
        return Deferred.fromCoroutine(self._views.agents(connected, prefix, after, limit))

    def agent(self, agent: str) -> Deferred[AgentView | None]:
        return Deferred.fromCoroutine(self._views.agent(agent))

    def figures(self) -> Figures:
        return self._views.figures()

    def readiness(self) -> Readiness:
        return self._views.readiness()


def disconnect(session: AgentSession | None) -> bool:
    """An operator wants it to end; False if there is none."""
    if session is not None:
        session.close(Close.OPERATOR, "closed-by-operator", retry_after=OPERATOR_RETRY)
    return session is not None
