"""Lines that came together for agents that are away: one write, one answer from the store, and nothing else in mind.

What a message must meet is asked of each by ``Delivery``; here is the way of those that wait for nobody and concern no
other message. It leads to the same answers as the long one by ``Post``, in a third of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from relay.core import policy
from relay.core.line import Line
from relay.core.model import Message, Outcome, Put, Reason, Record, Submission
from relay.core.ports import StoreUnavailable
from relay.core.problems import Problem
from relay.hub.context import Context
from relay.hub.courier import Courier
from relay.hub.directory import Directory
from relay.hub.post import make_message, not_kept, ttl_of

#: Is told what became of each line, by its index.
Tell = Callable[[int, Outcome | Problem], object]

QUEUED: Final = {False: "queued", True: "accepted"}  #: by whether it was asked not to wait


def is_plain(submission: Submission) -> bool:
    """Is it made durable and no more, where its agent is away?"""
    now_or_never = submission.ttl == 0
    return not now_or_never and submission.key is None and submission.topic is None and submission.callback is None


def may_settle(line: Line) -> bool:
    """Is nobody here, and nothing in the tail? Then what comes may go to the disk without being in mind.

    Who comes meanwhile waits for it (``Line.unsettled``), and reads the disk as far as the tail: what took its place
    behind a message that waits in the tail would not be looked for there.
    """
    return not line.live and not line.tail


class Parcel:
    """The plain lines among those that came together. ``send`` it when all are in."""

    log = Logger()

    def __init__(self, context: Context, directory: Directory, tell: Tell) -> None:
        self._context = context
        self._directory = directory
        self._tell = tell
        self._now = context.wall()
        self._timeline = (context.chronicle.event("accepted"), context.chronicle.event("queued"))
        self._puts: list[Put] = []
        self._lines: list[tuple[int, Submission]] = []
        self._shares: dict[Courier, list[Message]] = {}

    def takes(self, courier: Courier, submission: Submission) -> bool:
        """Is it plain, and its agent away with nothing that waits to be written on its own?"""
        return may_settle(courier.line) and is_plain(submission)

    def add(self, courier: Courier, index: int, submission: Submission) -> None:
        """It takes its place in its agent's order, behind all that came before."""
        context = self._context
        message = make_message(submission, context.message_id(), self._now, context.limits)
        put = context.on_the_way[message.id] = Put(Record(context.next_place(), message), self._timeline)
        self._puts.append(put)
        self._lines.append((index, submission))
        share = self._shares.get(courier)
        if share is None:
            share = self._shares[courier] = []
            courier.line.unsettled += 1
        share.append(message)
        courier.hold(1, len(message.payload))
        context.chronicle.tell(message.agent, message.id, "accepted")

    def send(self) -> None:
        """Make them durable; then each is told."""
        if self._puts:
            self._context.crowd.came(len(self._puts))
            self._context.ledger.put_all(self._puts, self._settled)

    def _settled(self, error: StoreUnavailable | None) -> None:
        for courier, share in self._shares.items():
            courier.line.unsettled -= 1
            courier.hold(-len(share), -sum(len(message.payload) for message in share))
        reasons = {courier.agent: self._reason(courier) for courier in self._shares}
        for put, (index, submission) in zip(self._puts, self._lines, strict=True):
            message = put.record.message
            del self._context.on_the_way[message.id]
            if error is not None:
                became: Outcome | Problem = not_kept(error, message.id, 0)
            else:
                became = self._kept(message, submission, reasons[message.agent])
            try:
                self._tell(index, became)
            except Exception:
                self.log.failure("telling what became of a line went wrong")
        for courier in self._shares:
            if error is None:
                self._directory.seen(courier.agent, 0.0)
            courier.pump()
        self._context.crowd.went(len(self._puts))

    def _reason(self, courier: Courier) -> Reason:
        """Why they are queued: its agent is away still, or has come, and first gets what is queued."""
        live, draining = courier.outlet is not None, self._context.draining
        return policy.first_reason(policy.obstacles(live=live, draining=draining, ahead=True))

    def _kept(self, message: Message, submission: Submission, reason: Reason) -> Outcome:
        context = self._context
        context.chronicle.tell(message.agent, message.id, "queued")
        return Outcome(
            message.id,
            message.agent,
            QUEUED[submission.respond_async],
            0,
            reason,
            context.ledger.store.durable,
            ttl=ttl_of(submission, message),
        )
