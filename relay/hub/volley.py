"""Lines that came together and were sent directly: one Deferred with its timeout for all that wait equally long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.core import run, wire
from relay.core.model import Outcome, Reason, Submission
from relay.core.ports import Tell
from relay.core.problems import Problem
from relay.hub.acks import Reader, Waiter
from relay.hub.context import Context
from relay.hub.courier import Courier
from relay.hub.couriers import Couriers
from relay.hub.direct import Direct, Finish, is_free, is_plain, send
from relay.hub.outlet import Outlet
from relay.hub.post import make_message
from relay.hub.room import Room

#: Lines of one agent, each with its index.
Share = Sequence[tuple[int, Submission]]


def tell_one(tell: Tell, index: int, result: Outcome | Failure) -> None:
    """Tell what became of one line."""
    if isinstance(result, Outcome):
        tell([(index, result)])
        return
    problem = result.value
    if not isinstance(problem, Problem):
        problem = Problem("internal", "the relay failed at this line; its log says how")
    tell([(index, problem)])


class Shot(Direct, eq=False, kw_only=True):
    """One line. It stands where a POST has the Deferred of its own: it is called when waiting for it is over."""

    index: int

    def callback(self, why: Reason | None) -> None:
        """Its ACK came, or there is a reason to wait no longer."""
        if self.crew is not None:
            self.crew.decided(self, why)


class Volley:
    """Lines that are waited for equally long, from the same moment. ``close`` it when all are in."""

    def __init__(self, context: Context, seconds: float, tell: Tell) -> None:
        self._tell = tell
        self._open: dict[str, Shot] = {}  #: those that are not decided, by id
        self._closed = False
        self._over: Deferred[Any] = Deferred()
        patience = cast(IReactorTime, context.patience)  # as much of one as ``addTimeout`` asks for
        self._over.addTimeout(seconds, patience, onTimeoutCancel=self._ran_out)

    def add(self, shots: Sequence[Shot]) -> None:
        """These were sent, and are waited for from now on."""
        for shot in shots:
            self._open[shot.id] = shot.over = shot

    def close(self) -> None:
        """No more come."""
        self._closed = True
        self._look()

    def decided(self, waiter: Waiter, why: Reason | None) -> None:
        """Waiting for this one is over."""
        shot = self._open.pop(waiter.id)
        try:
            became = shot.decided(why)
        except Exception:
            tell_one(self._tell, shot.index, Failure())
        else:
            if isinstance(became, Outcome):
                self._tell([(shot.index, became)])
            else:
                became.addBoth(partial(tell_one, self._tell, shot.index))
        if not self._open:
            self._look()

    def delivered(self, waiters: Sequence[Waiter], reply: bytes | None) -> None:
        """These shots, all of one agent, were delivered: what ``Direct.decided`` comes to then."""
        shots = [self._open.pop(waiter.id) for waiter in waiters]
        agent = shots[0].courier.agent
        self._tell([(shot.index, Outcome(shot.id, agent, "delivered", shot.attempts, reply=reply)) for shot in shots])
        self._look()

    def undecided(self) -> list[Shot]:
        """Those that are waited for."""
        return list(self._open.values())

    def _look(self) -> None:
        if self._closed and not self._open and not self._over.called:
            self._over.callback(None)

    def _ran_out(self, _result: object, _seconds: float) -> None:
        for shot in self.undecided():
            if shot.over is not None:
                shot.over = None
                self.decided(shot, Reason.SILENT)


class Volleys:
    """Those of the lines that came together. ``send_off`` when all are in."""

    def __init__(self, context: Context, finish: Finish, tell: Tell) -> None:
        self._context = context
        self._finish = finish
        self._tell = tell
        self._volleys: dict[float, Volley] = {}  #: by how long they are waited for
        self._couriers: set[Courier] = set()
        self._reader = Reader()  #: reads what becomes of each of them

    def send(self, courier: Courier, index: int, submission: Submission) -> None:
        """Accept a plain line whose courier is free, and send it."""
        volley = self._volley(submission.wait)
        make = partial(Shot, index=index, crew=volley)
        self._couriers.add(courier)
        shot = send(self._context, courier, submission, True, self._finish, make)
        shot.reader = self._reader
        volley.add([shot])
        if shot.is_over:
            shot.over = None
            volley.decided(shot, None)

    def fire(self, couriers: Couriers, room: Room, lines: Sequence[Submission]) -> Share:
        """Accept and send the plain lines for agents that take many at a time, an agent's together.

        Returns the others, each with its index: those which one look at their agent is not enough for.
        """
        shares: dict[str, list[tuple[int, Submission]]] = defaultdict(list)
        for index, submission in enumerate(lines):
            shares[submission.agent].append((index, submission))
        # An agent's only one is sent sooner by itself.
        several = [agent for agent, share in shares.items() if len(share) > 1]
        targets = {agent: courier for agent in several if (courier := couriers.get(agent)) and _takes_many(courier)}
        sizes = {agent: [len(submission.payload) for _, submission in shares[agent]] for agent in targets}
        if not targets or not room.holds(sizes) or not self._context.pressure.may_hold(sum(map(sum, sizes.values()))):
            return list(enumerate(lines))
        count = sum(map(len, sizes.values()))
        now = self._context.wall()
        names = zip(self._context.next_places(count), self._context.message_ids(count, now), strict=True)
        rest: list[tuple[int, Submission]] = []
        for agent, share in shares.items():
            rest += self._fire_some(targets[agent], share, names, now) if agent in targets else share
        rest.sort(key=itemgetter(0))
        return rest

    def _fire_some(self, courier: Courier, share: Share, names: Iterator[tuple[int, str]], now: float) -> Share:
        """Those of an agent, a frame at a time. Returns what is left; what comes after one that is left is left too."""
        outlet = courier.outlet
        while share and outlet is not None and (count := _fitting(courier, outlet, share)):
            self._fire(courier, outlet, share[:count], list(islice(names, count)), now)
            share = share[count:]
        return share

    def _fire(
        self, courier: Courier, outlet: Outlet, share: Share, names: Sequence[tuple[int, str]], now: float
    ) -> None:
        context, clock = self._context, self._context.clock.seconds()
        sent_at = outlet.flow.time(clock)
        messages = [
            make_message(submission, id, now, context.limits)
            for (_, id), (_, submission) in zip(names, share, strict=True)
        ]
        entries = run.launched(courier.line, [place for place, _ in names], messages)
        volleys = {wait: self._volley(wait) for wait in {submission.wait for _, submission in share}}  # as a rule one
        shots = [
            Shot(
                id=entry.id,
                reader=self._reader,
                attempts=1,
                line=True,
                crew=volleys[submission.wait],
                courier=courier,
                submission=submission,
                entry=entry,
                message=message,
                sent_at=sent_at,
                until=clock + submission.wait,
                finish=self._finish,
                index=index,
            )
            for entry, message, (index, submission) in zip(entries, messages, share, strict=True)
        ]
        courier.hold(len(entries), sum([entry.size for entry in entries]))
        courier.acks.add_all(shots)
        courier.silence.watch()
        # What is waited for is not sent again: its redelivery clock need not run before that is over.
        context.chronicle.launched_all(courier.agent, entries, outlet.session, now)
        for volley in volleys.values():
            volley.add([shot for shot in shots if shot.crew is volley])
        outlet.gather(outlet.first_frames(messages))
        self._couriers.add(courier)

    def _volley(self, wait: float) -> Volley:
        volley = self._volleys.get(wait)
        if volley is None:
            volley = self._volleys[wait] = Volley(self._context, wait, self._tell)
        return volley

    def send_off(self) -> None:
        """What was collected for an agent that takes many at a time leaves."""
        for courier in self._couriers:
            if courier.outlet is not None:
                courier.outlet.flush()
        for volley in self._volleys.values():
            volley.close()

    def hang_up(self) -> None:
        """Nobody reads what becomes of them. They go their way all the same, but a drain does not wait for an ACK."""
        self._reader.gone = True
        if self._context.draining:
            for volley in self._volleys.values():
                for shot in volley.undecided():
                    shot.courier.acks.give_up_forsaken(Reason.DRAINING, shot.id)


def _takes_many(courier: Courier) -> bool:
    """Does its agent take several lines at once now?"""
    return courier.outlet is not None and courier.outlet.batches and not courier.silence.mute and is_free(courier, 0)


def _fitting(courier: Courier, outlet: Outlet, share: Share) -> int:
    """How many of the first of these go into the frame that is being gathered."""
    (count, space), raw = outlet.gathers(), outlet.raw
    fitting = 0
    for _, submission in share[: max(min(count, outlet.window - courier.line.flying), 0)]:
        space -= wire.most(len(submission.payload), submission.form, raw=raw) + wire.ENVELOPE
        if space < 0 or submission.headers or not is_plain(submission):
            break
        fitting += 1
    return fitting
