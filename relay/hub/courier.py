"""Carries one agent's messages: drives its line with the store on one side and its session on the other."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from relay.core import policy, wire
from relay.core.entry import Entry, Phase, Send
from relay.core.line import Line
from relay.core.model import End, Key, Message, Reason, Revise, Status
from relay.hub import burst, ends, intake, resend, saving
from relay.hub.acks import AckTable
from relay.hub.alarm import Alarm
from relay.hub.context import Context
from relay.hub.ends import Then, nothing
from relay.hub.outlet import Outlet
from relay.hub.silence import Silence


class Courier:
    """One agent's messages on their way. Lives as long as there is a session, or something under way."""

    def __init__(self, agent: str, context: Context, retire: Callable[[Courier], object]) -> None:
        self.agent = agent
        self.context = context
        self.line = Line()
        self.acks = AckTable(context.patience, context.crowd)
        self.outlet: Outlet | None = None
        self.held_count = 0  #: accepted, and neither durable nor ended …
        self.held_bytes = 0  #: … and their payloads
        self.silence = Silence(context.clock, context.limits, self.acks)
        self._retire = retire
        self._pumping = False
        self._alarm = Alarm(context.clock)

    @property
    def idle(self) -> bool:
        """May it be forgotten?"""
        return self.outlet is None and self.line.empty and not self.acks and not self.silence.watched

    # -- a new message

    def obstacles(self, message: Message) -> tuple[Reason, ...]:
        """Why a message cannot be sent at once; nothing if it can."""
        outlet, draining = self.outlet, self.context.draining
        if outlet is None:
            return policy.obstacles(live=False, draining=draining)
        return policy.obstacles(
            live=True,
            draining=draining,
            room=outlet.takes(wire.estimate(message)) and self.context.pressure.may_hold(len(message.payload)),
            window=self.line.flying < outlet.window,
            ahead=self.line.ahead(),
        )

    def accept(self, message: Message, *, again: bool = False) -> Entry:
        """It takes its place at the end of the agent's order. ``again``: a dead letter, which replaces nothing."""
        self.hold(1, len(message.payload))
        entry = self.line.accept(self.context.next_place(), message)
        if again:
            return entry
        if entry.topic is not None:
            for other in self.line.topics.others(entry):
                if other.phase is Phase.FLYING and not other.replaced_by:
                    other.replaced_by = entry.id
        self.context.chronicle.note(self.agent, entry, "accepted")
        return entry

    def send_directly(self, entry: Entry) -> None:
        """Send what was just accepted, with nothing ahead of it. It may end at once, being too large for the agent."""
        screen, message = self.context.screen, entry.message
        assert message is not None and self.outlet is not None
        passed = message if screen is None else screen.passed(self, message, lambda: self.line.fly(entry, entry.trials))
        if passed is None:
            return self.set_alarm()
        trials = policy.sent_once_more(entry.trials)
        if self.outlet.send(passed, trials.attempts, queued=False):
            self.line.fly(entry, trials)
            self.was_sent(entry)
            self.outlet.flush()
            self.set_alarm()
        else:
            self.end(entry, Status.REJECTED, "too-large-for-agent")

    def must_replace(self, entry: Entry) -> bool:
        """May the store have older messages of its topic? Then both changes are one commit."""
        return entry.topic is not None and (
            self.context.ledger.depth(self.agent).count > 0 or len(self.line.topics.others(entry)) > 0
        )

    def save(self, entry: Entry, key: Key | None = None) -> Deferred[None]:
        """Make it durable. Never fails: its waiter is told if it could not be kept, or need not; it is then gone."""
        done: Deferred[None] = Deferred()
        saving.save(self, entry, key, lambda: done.callback(None))
        return done

    def hold(self, count: int, size: int) -> None:
        self.held_count += count
        self.held_bytes += size
        self.context.pressure.held += size

    # -- on its way

    def pump(self) -> None:
        """Send what may be sent. Called whenever something changed that may let a message go."""
        if self._pumping:
            return
        quiet = self.line.quiet
        if self.outlet is not None and not quiet:
            self._pumping = True
            try:
                if self.outlet.takes(1):  # asked once here; for each message it is asked whether that one fits
                    while self._advance():
                        pass
            finally:
                self._pumping = False
        if self.outlet is not None:
            self.outlet.flush()
            if not quiet or self.outlet.redelivery.news:
                self.set_alarm()
        elif self.idle:
            self._retire(self)

    def _advance(self) -> bool:
        """Take one step; False when there is none to take now."""
        outlet, context = self.outlet, self.context
        if outlet is None or context.draining or self.line.flying >= outlet.window:
            return False
        if context.ledger.ends.count(self.agent) >= context.limits.unrecorded:
            return False
        if outlet.batches and burst.send(self, outlet):
            return True
        step = self.line.next(context.wall())
        if isinstance(step, Send):
            return self._send(step, outlet)
        if step is not None:
            intake.read(self, step)
        return step is not None

    def _send(self, step: Send, outlet: Outlet) -> bool:
        message = step.record.message
        if message.expires_at <= self.context.wall() and not self.acks.is_urgent(message.id):
            self.end(self.line.unsendable(step), Status.EXPIRED, "expired")
            return True
        if not outlet.takes(wire.estimate(message)):
            return False
        screen = self.context.screen
        passed = message if screen is None else screen.passed(self, message, lambda: self.line.sent(step, step.trials))
        if passed is None:
            return True
        trials = policy.sent_once_more(step.trials)
        if outlet.send(passed, trials.attempts, queued=True):
            self.was_sent(self.line.sent(step, trials))
        else:
            self.end(self.line.unsendable(step), Status.REJECTED, "too-large-for-agent")
        return True

    def was_sent(self, entry: Entry) -> None:
        """Its waiter, its redelivery clock and its timeline are told."""
        assert self.outlet is not None
        entry.sends += 1
        self.acks.sent(entry.id, entry.trials.attempts)
        self.outlet.redelivery.start(entry, self.outlet.flow_time())
        self.context.chronicle.note(self.agent, entry, "sent", session=self.outlet.session)

    # -- its end

    def end(
        self, entry: Entry, status: Status, reason: str = "", *, reply: bytes | None = None, then: Then = nothing
    ) -> None:
        """It has ended: its waiter is told now, the store as soon as may be.

        ``then`` is called when that is durable, with whether there was anything to end.
        """
        ends.end(self, entry, status, reason, reply, then)

    def end_unseen(
        self, id: str, status: Status, reason: str = "", *, reply: bytes | None = None, then: Then = nothing
    ) -> None:
        """The same for a message that perhaps only the disk has."""
        ends.end_unseen(self, End(self.agent, id, status, reason, reply=reply), then)

    def revise(self, entry: Entry) -> None:
        """Note its trials in the store; a session that begins meanwhile waits for that."""
        entry.writes += 1
        op = Revise(self.agent, entry.id, entry.trials, self.context.chronicle.take(entry))
        self.context.ledger.revise(op).addCallback(lambda _: self._revised(entry))

    def _revised(self, entry: Entry) -> None:
        self.line.written(entry)
        self.pump()

    # -- time

    def set_alarm(self) -> None:
        """Wake up when the next message is due again. One that is due already waits for room, not for time."""
        outlet = self.outlet
        if outlet is None:
            return
        due_at = self.line.due_at()
        if due_at is not None and due_at > (now := self.context.wall()):
            self._alarm.set(due_at - now, self._wake)
        outlet.redelivery.news = False
        if self._alarm.rings_within(outlet.redelivery.soonest):
            return  # as nearly always: what was sent before is due before
        resend_in = outlet.resend_in()
        if resend_in is not None:
            self._alarm.set(resend_in, self._wake)

    def _wake(self) -> None:
        resend.what_is_due(self)
        self.pump()
        self.set_alarm()

    def rest(self) -> None:
        """Its session is over: no timer is left."""
        self._alarm.off()
