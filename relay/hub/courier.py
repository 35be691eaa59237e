"""Carries one agent's messages: drives its line with the store on one side and its session on the other."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from relay.core import policy, wire
from relay.core.entry import Entry, Saved, Send
from relay.core.line import Line
from relay.core.model import NOTHING, Depth, End, Message, Reason, Record, Status
from relay.core.ports import StoreUnavailable
from relay.hub import intake, resend
from relay.hub.acks import AckTable, Ending
from relay.hub.alarm import Alarm
from relay.hub.context import Context
from relay.hub.outlet import Outlet


class Courier:
    """One agent's messages on their way. Lives as long as there is a session, or something under way."""

    def __init__(self, agent: str, context: Context, retire: Callable[[Courier], object]) -> None:
        self.agent = agent
        self.context = context
        self.line = Line(agent)
        self.acks = AckTable(context.clock, context.crowd)
        self.outlet: Outlet | None = None
        self.held = NOTHING  #: accepted, and neither durable nor ended
        self._retire = retire
        self._pumping = False
        self._alarm = Alarm(context.clock, self._wake)

    @property
    def idle(self) -> bool:
        """May it be forgotten?"""
        return self.outlet is None and self.line.empty and not self.acks

    # -- a new message

    def obstacles(self, size: int) -> tuple[Reason, ...]:
        """Why a message of that payload size cannot be sent at once; nothing if it can."""
        outlet = self.outlet
        return policy.obstacles(
            live=outlet is not None,
            draining=self.context.draining,
            room=outlet is not None and outlet.takes(wire.estimate(size)) and self.context.pressure.may_hold(size),
            window=outlet is not None and self.line.flying < outlet.window,
            ahead=self.line.ahead(),
        )

    def accept(self, message: Message) -> Entry:
        """It takes its place at the end of the agent's order."""
        self._hold(1, len(message.payload))
        return self.line.accept(self.context.next_place(), message)

    def send_directly(self, entry: Entry) -> None:
        """Send what was just accepted, with nothing ahead of it. It may end at once, being too large for the agent."""
        assert entry.message is not None
        trials = policy.sent_once_more(entry.trials)
        if self.transmit(entry.message, trials.attempts, queued=False):
            self.line.fly(entry, trials)
            self.was_sent(entry)
            self._set_alarm()
        else:
            self.end(entry, Status.REJECTED, "too-large-for-agent")

    def save(self, entry: Entry) -> Deferred[None]:
        """Make it durable. Never fails: a waiter is told if the store cannot take it; the message is then gone."""
        return Deferred.fromCoroutine(self._save(entry))

    async def _save(self, entry: Entry) -> None:
        if entry.saved is not Saved.NO or entry.message is None:
            return
        entry.saved = Saved.SAVING
        self.line.writing(entry)
        try:
            await self.context.ledger.put(Record(entry.place, entry.message, entry.trials))
        except StoreUnavailable as error:
            entry.saved = Saved.NO
            self.line.written(entry)
            self.line.forget(entry)
            self.acks.fail(entry.id, error)
        else:
            self.line.saved(entry)
            self.line.written(entry)
        self._hold(-1, -entry.size)
        self.pump()

    def _hold(self, count: int, size: int) -> None:
        self.held += Depth(count, size)
        self.context.pressure.held += size

    # -- on its way

    def pump(self) -> None:
        """Send what may be sent. Called whenever something changed that may let a message go."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._advance():
                pass
        finally:
            self._pumping = False
        if self.outlet is not None:
            self._set_alarm()
        elif self.idle:
            self._retire(self)

    def _advance(self) -> bool:
        """Take one step; False when there is none to take now."""
        outlet, context = self.outlet, self.context
        if outlet is None or context.draining or self.line.flying >= outlet.window or not outlet.takes(1):
            return False
        if context.ledger.unrecorded(self.agent) >= context.limits.unrecorded:
            return False
        step = self.line.next(context.wall())
        if isinstance(step, Send):
            return self._send(step, outlet)
        if step is not None:
            intake.read(self, step)
        return step is not None

    def _send(self, step: Send, outlet: Outlet) -> bool:
        message = step.record.message
        if message.expires_at <= self.context.wall():
            self.end(self.line.unsendable(step), Status.EXPIRED, "expired")
            return True
        if not outlet.takes(wire.estimate(len(message.payload))):
            return False
        trials = policy.sent_once_more(step.trials)
        if self.transmit(message, trials.attempts, queued=True):
            self.was_sent(self.line.sent(step, trials))
        else:
            self.end(self.line.unsendable(step), Status.REJECTED, "too-large-for-agent")
        return True

    def transmit(self, message: Message, attempt: int, *, queued: bool) -> bool:
        """Send its frame; False if that is larger than the agent takes."""
        assert self.outlet is not None
        frame = wire.message(message, queued=queued, attempt=attempt)
        if self.outlet.max_frame is not None and len(frame) > self.outlet.max_frame:
            return False
        self.outlet.send(frame)
        return True

    def was_sent(self, entry: Entry) -> None:
        """Its waiter and its redelivery clock are told."""
        assert self.outlet is not None
        entry.sends += 1
        self.acks.sent(entry.id, entry.trials.attempts)
        self.outlet.redelivery.start(entry, self.outlet.flow_time())

    # -- its end

    def end(self, entry: Entry, status: Status, reason: str = "") -> None:
        """It has ended: its waiter is told now, the store as soon as may be."""
        self.line.end(entry)
        if entry.saved is Saved.NO:
            self._hold(-1, -entry.size)
            self.line.forget(entry)
        else:
            self._record(entry, status, reason)
        self.acks.end(entry.id, Ending(status, reason))

    def end_unseen(self, id: str, status: Status, reason: str = "") -> None:
        """A message that perhaps only the disk has has ended."""
        entry = self.line.entries.get(id)
        if entry is not None:
            self.end(entry, status, reason)
            return
        self._record(self.line.tombstone(id), status, reason)
        self.acks.end(id, Ending(status, reason))

    def _record(self, entry: Entry, status: Status, reason: str) -> None:
        size = entry.size if entry.saved is Saved.YES and entry.size else None
        end = End(self.agent, entry.id, status, reason, self.context.wall())
        self.context.ledger.end(end, size, lambda _: self._recorded(entry))

    def _recorded(self, entry: Entry) -> None:
        self.line.forget(entry)
        self.pump()

    def revise(self, entry: Entry) -> None:
        """Note its trials in the store; a session that begins meanwhile waits for that."""
        self.line.writing(entry)
        self.context.ledger.revise(self.agent, entry.id, entry.trials).addCallback(lambda _: self._revised(entry))

    def _revised(self, entry: Entry) -> None:
        self.line.written(entry)
        self.pump()

    # -- time

    def _set_alarm(self) -> None:
        """Wake up when the next message is due again."""
        if (due_at := self.line.due_at()) is not None:
            self._alarm.set(max(0.0, due_at - self.context.wall()))
        if self.outlet is not None and (resend_in := self.outlet.resend_in()) is not None:
            self._alarm.set(resend_in)

    def _wake(self) -> None:
        resend.what_is_due(self)
        self.pump()

    def rest(self) -> None:
        """Its session is over: no timer is left."""
        self._alarm.off()
