"""Lines that came together for agents that are away: one write, one answer from the store, and nothing else in mind.

What a message must meet is asked of each by ``Delivery``; here is the way of those that wait for nobody and concern no
other message. It leads to the same answers as the long one by ``Post``, in a third of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Final

from twisted.logger import Logger

from relay.core import policy
from relay.core.model import Event, Outcome, Put, Record, Submission
from relay.core.ports import StoreUnavailable, Tell
from relay.core.problems import Problem
from relay.hub.context import Context
from relay.hub.courier import Courier
from relay.hub.couriers import Couriers
from relay.hub.directory import Directory
from relay.hub.post import make_message, not_kept, ttl_of
from relay.hub.room import Room

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
    if context.draining:
        return None
    shares: dict[str, list[tuple[int, Submission]]] = {}
    sizes: dict[str, list[int]] = {}
    for index, submission in enumerate(lines):
        agent = submission.agent
        if not is_only_kept(submission):
            return None
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
        self._now = -1.0  #: Unix time of what is accepted …
        self._timeline: tuple[Event, ...] = ()  #: … and its history
        self._puts: list[Put] = []
        self._lines: list[tuple[int, Submission]] = []
        self._shares: list[tuple[str, int, int]] = []  #: of an agent: how many messages, and their payload bytes

    def add(self, submission: Submission, index: int = 0) -> None:
        """It takes its place in its agent's order, behind all that came before."""
        context, now = self._context, self._look_at_time()
        message = make_message(submission, context.message_id(now), now, context.limits)
        self._puts.append(Put(Record(context.next_place(), message), self._timeline))
        self._lines.append((index, submission))
        self._went(message.agent, 1, len(message.payload))
        self._accepted(self._puts[-1:])

    def add_all(self, shares: dict[str, list[tuple[int, Submission]]]) -> None:
        """The same for lines of several agents. Those of one get places side by side: so they are written sooner."""
        context, now, limits = self._context, self._look_at_time(), self._context.limits
        lines = list(chain.from_iterable(shares.values()))
        ids, places = context.message_ids(len(lines), now), context.next_places(len(lines))
        messages = [make_message(submission, id, now, limits) for id, (_, submission) in zip(ids, lines, strict=True)]
        puts = [Put(Record(n, message), self._timeline) for n, message in zip(places, messages, strict=True)]
        self._puts += puts
        self._lines += lines
        for agent, share in shares.items():
            self._went(agent, len(share), sum([len(submission.payload) for _, submission in share]))
        self._accepted(puts)

    def _look_at_time(self) -> float:
        now = self._context.wall()
        if now != self._now:
            self._now, event = now, self._context.chronicle.event
            self._timeline = (event("accepted"), event("queued"))
        return now

    def _went(self, agent: str, count: int, size: int) -> None:
        self._shares.append((agent, count, size))
        self._couriers.went(agent, count, size)

    def _accepted(self, puts: Sequence[Put]) -> None:
        self._context.on_the_way.update([(put.record.message.id, put) for put in puts])
        self._say(puts, "accepted")
        self._context.crowd.came(len(puts))

    def _say(self, puts: Sequence[Put], name: str) -> None:
        messages = [put.record.message for put in puts]
        self._context.chronicle.tell_all([(message.agent, message.id) for message in messages], name)

    def send(self, then: Callable[[], object] = lambda: None) -> None:
        """Make them durable; then each is told, and ``then`` is called."""
        if self._puts:
            self._context.ledger.put_all(self._puts, partial(self._settled, then))

    def _settled(self, then: Callable[[], object], error: StoreUnavailable | None) -> None:
        context = self._context
        for share in self._shares:
            self._couriers.arrived(*share)
        for put in self._puts:
            del context.on_the_way[put.record.message.id]
        became = self._refused(error) if error is not None else self._kept()
        if len(self._shares) > 1:
            became.sort(key=itemgetter(0))
        try:
            self._tell(became)
        except Exception:
            self.log.failure("telling what became of lines went wrong")
        for agent, _, _ in self._shares:
            if error is None:
                self._directory.seen(agent, 0.0)
            if (courier := self._couriers.get(agent)) is not None:
                courier.pump()
        context.crowd.went(len(self._puts))
        then()

    def _refused(self, error: StoreUnavailable) -> list[tuple[int, Outcome | Problem]]:
        ids = [put.record.message.id for put in self._puts]
        return [(index, not_kept(error, id, 0)) for id, (index, _) in zip(ids, self._lines, strict=True)]

    def _kept(self) -> list[tuple[int, Outcome | Problem]]:
        self._say(self._puts, "queued")
        durable = self._context.ledger.store.durable
        # Nobody was here for them, whoever has come since.
        reason = policy.obstacles(live=False, draining=self._context.draining)[0]
        became: list[tuple[int, Outcome | Problem]] = []
        for put, (index, submission) in zip(self._puts, self._lines, strict=True):
            message = put.record.message
            id, agent, ttl = message.id, message.agent, ttl_of(submission, message)
            status = QUEUED[submission.respond_async]
            became.append((index, Outcome(id, agent, status, 0, reason, durable, ttl=ttl)))
        return became
