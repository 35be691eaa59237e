"""Lines that came together for agents that are away: one write, one answer from the store, and nothing else in mind.

What a message must meet is asked of each by ``Delivery``; here is the way of those that wait for nobody and concern no
other message. It leads to the same answers as the long one by ``Post``, in a third of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from operator import itemgetter
from typing import Final

from twisted.logger import Logger

from relay.core import policy
from relay.core.model import Outcome, Put, Reason, Record, Submission
from relay.core.ports import StoreUnavailable
from relay.core.problems import Problem
from relay.hub.context import Context
from relay.hub.courier import Courier
from relay.hub.couriers import Couriers
from relay.hub.directory import Directory
from relay.hub.post import make_message, not_kept, ttl_of
from relay.hub.room import Room

#: Is told what became of each line, by its index.
Tell = Callable[[int, Outcome | Problem], object]

QUEUED: Final = {False: "queued", True: "accepted"}  #: by whether it was asked not to wait


def is_only_kept(submission: Submission) -> bool:
    """Is it made durable and no more, where its agent is away?"""
    now_or_never = submission.ttl == 0
    return not now_or_never and submission.key is None and submission.topic is None and submission.callback is None


def may_settle(courier: Courier | None) -> bool:
    """Is nobody here, and nothing in the tail? Then what comes may go to the disk without being in mind.

    Who comes meanwhile waits for it (``Line.unsettled``), and reads the disk as far as the tail: what took its place
    behind a message that waits in the tail would not be looked for there.
    """
    return courier is None or (not courier.line.live and not courier.line.tail)


def share_out(
    context: Context, couriers: Couriers, room: Room, lines: Sequence[Submission]
) -> dict[str, list[tuple[int, Submission]]] | None:
    """The lines by agent, each with its index, where one look is enough: all are plain, for agents that are away and
    have nothing in mind, and there is room for all of them. None: each must be looked at by itself.
    """
    if context.draining or not all(map(is_only_kept, lines)):
        return None
    shares: dict[str, list[tuple[int, Submission]]] = {}
    sizes: dict[str, list[int]] = {}
    for index, submission in enumerate(lines):
        agent = submission.agent
        if agent not in shares:
            if not may_settle(couriers.get(agent)):
                return None
            shares[agent], sizes[agent] = [], []
        shares[agent].append((index, submission))
        sizes[agent].append(len(submission.payload))
    return shares if room.holds(sizes) else None


class Parcel:
    """The plain lines among those that came together. ``send`` it when all are in."""

    log = Logger()

    def __init__(self, context: Context, couriers: Couriers, directory: Directory, tell: Tell) -> None:
        self._context = context
        self._couriers = couriers
        self._directory = directory
        self._tell = tell
        self._now = context.wall()
        self._timeline = (context.chronicle.event("accepted"), context.chronicle.event("queued"))
        self._puts: list[Put] = []
        self._lines: list[tuple[int, Submission]] = []
        self._shares: list[tuple[str, int, int]] = []  #: of an agent: how many messages, and their payload bytes

    def add(self, submission: Submission, index: int = 0) -> None:
        """It takes its place in its agent's order, behind all that came before."""
        self._add(submission.agent, [(index, submission)], [self._context.message_id()])

    def add_all(self, shares: dict[str, list[tuple[int, Submission]]]) -> None:
        """The same for lines of several agents. Those of one get places side by side: so they are written sooner."""
        ids = iter(self._context.message_ids(sum(map(len, shares.values())), self._now))
        for agent, share in shares.items():
            self._add(agent, share, list(islice(ids, len(share))))

    def _add(self, agent: str, lines: list[tuple[int, Submission]], ids: list[str]) -> None:
        context, now, limits = self._context, self._now, self._context.limits
        messages = [make_message(submission, id, now, limits) for id, (_, submission) in zip(ids, lines, strict=True)]
        places = context.next_places(len(lines))
        puts = [Put(Record(place, message), self._timeline) for place, message in zip(places, messages, strict=True)]
        context.on_the_way.update(zip(ids, puts, strict=True))
        size = sum([len(message.payload) for message in messages])
        self._puts += puts
        self._lines += lines
        self._shares.append((agent, len(lines), size))
        self._couriers.went(agent, len(lines), size)
        context.chronicle.tell_all(agent, ids, "accepted")

    def send(self) -> None:
        """Make them durable; then each is told."""
        if self._puts:
            self._context.crowd.came(len(self._puts))
            self._context.ledger.put_all(self._puts, self._settled)

    def _settled(self, error: StoreUnavailable | None) -> None:
        context = self._context
        for share in self._shares:
            self._couriers.arrived(*share)
        for put in self._puts:
            del context.on_the_way[put.record.message.id]
        became = self._refused(error) if error is not None else self._kept()
        lines = [(index, each) for (index, _), each in zip(self._lines, became, strict=True)]
        if len(self._shares) > 1:
            lines.sort(key=itemgetter(0))
        for index, each in lines:
            try:
                self._tell(index, each)
            except Exception:
                self.log.failure("telling what became of a line went wrong")
        for agent, _, _ in self._shares:
            if error is None:
                self._directory.seen(agent, 0.0)
            if (courier := self._couriers.get(agent)) is not None:
                courier.pump()
        context.crowd.went(len(self._puts))

    def _refused(self, error: StoreUnavailable) -> Sequence[Outcome | Problem]:
        return [not_kept(error, put.record.message.id, 0) for put in self._puts]

    def _kept(self) -> Sequence[Outcome | Problem]:
        durable, at = self._context.ledger.store.durable, 0
        outcomes: list[Outcome] = []
        for agent, count, _ in self._shares:
            reason, share = self._reason(agent), slice(at, at := at + count)
            messages = [put.record.message for put in self._puts[share]]
            self._context.chronicle.tell_all(agent, [message.id for message in messages], "queued")
            for message, (_, submission) in zip(messages, self._lines[share], strict=True):
                status, ttl = QUEUED[submission.respond_async], ttl_of(submission, message)
                outcomes.append(Outcome(message.id, agent, status, 0, reason, durable, ttl=ttl))
        return outcomes

    def _reason(self, agent: str) -> Reason:
        """Why they are queued: its agent is away still, or has come, and first gets what is queued."""
        courier, draining = self._couriers.get(agent), self._context.draining
        live = courier is not None and courier.outlet is not None
        return policy.obstacles(live=live, draining=draining, ahead=True)[0]  # there is always just one
