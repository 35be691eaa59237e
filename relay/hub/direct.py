"""The way of nearly all that is delivered: the agent is here, the message is sent at once, its ACK is the answer.

What a message must meet is asked of each by ``Delivery``. Here is the way of those that nothing is known of but their
payload, and whose agent is free. Whatever else comes of one than its ACK is the rest of a ``Post``, as for all others:
it leads to the same answers as the long way, in a third of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.core import wire
from relay.core.entry import Entry
from relay.core.line import NEVER, launch
from relay.core.model import Message, Outcome, Reason, Status, Submission
from relay.hub.acks import DELIVERED, Reader, Waiter
from relay.hub.context import Context
from relay.hub.courier import Courier
from relay.hub.patience import Awaited
from relay.hub.post import make_message

#: Does what is left to do where no ACK came, and says what became of it.
Finish = Callable[["Direct", Reason | None], Deferred[Outcome]]

#: Who reads an answer, and has not hung up: nearly all of them.
SOMEBODY: Final = Reader()

D = TypeVar("D", bound="Direct")


def is_plain(submission: Submission) -> bool:
    """Is there nothing about it that would have to be durable, or compared with others, or sent now or never?"""
    return (
        submission.key is None
        and submission.topic is None
        and submission.ttl is None
        and submission.callback is None
        and not submission.respond_async
        and submission.wait > 0
    )


class Direct(Waiter, eq=False, kw_only=True):
    """A message that was sent directly, and the POST that waits for its ACK."""

    courier: Courier
    submission: Submission
    entry: Entry
    message: Message
    sent_at: float  #: on the clock of its session's redelivery
    until: float  #: when it is waited for no longer, in seconds of the clock
    finish: Finish

    def wait(self) -> Deferred[Outcome]:
        """What became of it. Whoever cancels that reads it no more; the message goes its way all the same."""
        self.over = over = Awaited(self._hung_up)
        over.addTimeout(self.submission.wait, self.courier.context.patience, self.ran_out)
        if self.is_over:
            self.over = None
            over.callback(None)
        return over.addBoth(self.decided)

    @property
    def is_over(self) -> bool:
        """Did it end, or its session, while it was sent?"""
        return self.ending is not None or self.courier.outlet is None

    def _hung_up(self, _over: object) -> None:
        self.own_reader().gone = True
        if self.courier.context.draining:
            self.courier.acks.give_up_forsaken(Reason.DRAINING, self.id)

    def own_reader(self) -> Reader:
        """Who reads its answer, by itself from now on: until then all stand for each other."""
        if self.reader is SOMEBODY:
            self.reader = Reader(id=self.id)
        return self.reader

    def decided(self, why: Reason | Failure | None) -> Outcome | Deferred[Outcome]:
        """What became of it, when waiting is over. Raises Problem."""
        courier, ending = self.courier, self.ending
        if ending is not None and (ending is DELIVERED or ending.status is Status.DELIVERED):
            courier.acks.answered(self)
            if (outlet := courier.outlet) is not None and outlet.redelivery.held:
                outlet.redelivery.unwatched(self.id, outlet.flow_time)
            return Outcome(self.id, courier.agent, "delivered", self.attempts, None, True, ending.reply)
        if isinstance(why, Failure):  # it was cancelled, and is still waited for: the end of that wait is the store
            left = max(0.0, self.until - courier.context.clock.seconds())
            return courier.acks.wait(self, left).addBoth(self.decided)
        if courier.outlet is not None:
            courier.outlet.redelivery.resume(self.entry, self.sent_at, courier.outlet.flow_time())
        return self.finish(self, why)


def is_free(courier: Courier, size: int) -> bool:
    """May a message of ``size`` bytes that nothing else is asked of be sent at once, and be held in memory?

    If not, ``Courier.obstacles`` say why.
    """
    outlet, context = courier.outlet, courier.context
    return (
        outlet is not None
        and outlet.holds
        and not outlet.doubted
        and not context.draining
        and context.screen is None
        and courier.line.flying < outlet.window
        and not courier.line.ahead()
        and context.pressure.may_hold(size)
        and outlet.takes(size + wire.ENVELOPE)
    )


def send(
    context: Context, courier: Courier, submission: Submission, line: bool, finish: Finish, make: Callable[..., D]
) -> D:
    """Accept a plain message, and send it when its outlet is flushed: its courier is free.

    ``finish`` sees to the rest if no ACK comes. ``make`` makes a Direct of it.
    """
    outlet, now, clock = courier.outlet, context.wall(), context.clock.seconds()
    assert outlet is not None
    message = make_message(submission, context.message_id(now), now, context.limits)
    entry = launch(courier.line, context.next_place(), message)
    direct = make(
        id=message.id,
        reader=Reader(id=message.id) if line else SOMEBODY,
        attempts=1,
        line=line,
        courier=courier,
        submission=submission,
        entry=entry,
        message=message,
        sent_at=outlet.flow.time(clock),
        until=clock + submission.wait,
        finish=finish,
    )
    courier.acks.add(direct)
    if line:
        courier.silence.watch()
    courier.hold(1, entry.size)
    if outlet.send(message, 1, queued=False):
        # What is waited for is not sent again: its redelivery clock need not run before that is over.
        context.chronicle.launched(courier.agent, entry, outlet.session, now)
    else:
        context.chronicle.note(courier.agent, entry, "accepted")
        direct.attempts, entry.sends, entry.trials = 0, 0, NEVER
        courier.end(entry, Status.REJECTED, "too-large-for-agent")
    return direct
