"""Lines that came together and were sent directly: one Deferred with its timeout for all that wait equally long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.core import run, wire
from relay.core.model import Outcome, Reason, Submission
from relay.hub.acks import Reader
from relay.hub.context import Context
from relay.hub.courier import Courier
from relay.hub.couriers import Couriers
from relay.hub.direct import Direct, Finish, is_free, is_plain, send
from relay.hub.post import make_message
from relay.hub.room import Room

NO_SPACE: Final = (0, 0)
#: Is told what became of each line, by its index.
Told = Callable[[int, Outcome | Failure], object]


class Shot(Direct, eq=False, kw_only=True):
    """One line. It stands where a POST has the Deferred of its own: it is called when waiting for it is over."""

    index: int
    volley: Volley

    def callback(self, why: Reason | None) -> None:
        """Its ACK came, or there is a reason to wait no longer."""
        self.volley.decided(self, why)


class Volley:
    """Lines that are waited for equally long, from the same moment. ``close`` it when all are in."""

    def __init__(self, context: Context, seconds: float, told: Told) -> None:
        self._told = told
        self._open: dict[str, Shot] = {}  #: those that are not decided, by id
        self._closed = False
        self._over: Deferred[Any] = Deferred()
        patience = cast(IReactorTime, context.patience)  # as much of one as ``addTimeout`` asks for
        self._over.addTimeout(seconds, patience, onTimeoutCancel=self._ran_out)

    def add(self, shot: Shot) -> None:
        """It was sent, and is waited for from now on."""
        self._open[shot.id] = shot
        shot.over = shot
        if shot.is_over:
            shot.over = None
            self.decided(shot, None)

    def close(self) -> None:
        """No more come."""
        self._closed = True
        self._look()

    def decided(self, shot: Shot, why: Reason | None) -> None:
        """Waiting for this one is over."""
        del self._open[shot.id]
        try:
            became = shot.decided(why)
        except Exception:
            self._told(shot.index, Failure())
        else:
            if isinstance(became, Outcome):
                self._told(shot.index, became)
            else:
                became.addBoth(partial(self._told, shot.index))
        self._look()

    def _look(self) -> None:
        if self._closed and not self._open and not self._over.called:
            self._over.callback(None)

    def _ran_out(self, _result: object, _seconds: float) -> None:
        for shot in list(self._open.values()):
            if shot.over is not None:
                shot.over = None
                self.decided(shot, Reason.SILENT)


class Volleys:
    """Those of the lines that came together. ``send_off`` when all are in."""

    def __init__(self, context: Context, finish: Finish, told: Told) -> None:
        self._context = context
        self._finish = finish
        self._told = told
        self._volleys: dict[float, Volley] = {}  #: by how long they are waited for
        self._couriers: set[Courier] = set()
        self.readers: list[tuple[str, Reader]] = []  #: who reads what became of each, and its agent

    def send(self, courier: Courier, index: int, submission: Submission) -> None:
        """Accept a plain line whose courier is free, and send it."""
        volley = self._volley(submission.wait)
        make = partial(Shot, index=index, volley=volley)
        self._couriers.add(courier)
        shot = send(self._context, courier, submission, True, self._finish, make)
        volley.add(shot)
        self.readers.append((courier.agent, shot.reader))

    def fire(self, couriers: Couriers, room: Room, lines: Sequence[Submission]) -> list[tuple[int, Submission]]:
        """Accept and send the plain lines for agents that take many at a time, an agent's together.

        Returns the others, each with its index: those which one look at their agent is not enough for.
        """
        rest: list[tuple[int, Submission]] = []
        shares: dict[str, list[tuple[int, Submission]]] = {}
        # An agent's only one is sent sooner by itself.
        counts = Counter([submission.agent for submission in lines])
        left = {agent: _left(couriers.get(agent)) for agent, count in counts.items() if count > 1}
        for index, submission in enumerate(lines):
            agent, size = submission.agent, len(submission.payload) + wire.ENVELOPE
            count, space = left.get(agent, NO_SPACE)
            if count > 0 and size <= space and not submission.headers and is_plain(submission):
                left[agent] = count - 1, space - size
                shares.setdefault(agent, []).append((index, submission))
            else:
                left[agent] = NO_SPACE  # what comes after it goes after it
                rest.append((index, submission))
        sizes = {agent: [len(submission.payload) for _, submission in share] for agent, share in shares.items()}
        if not room.holds(sizes) or not self._context.pressure.may_hold(sum(map(sum, sizes.values()))):
            return list(enumerate(lines))
        for agent, share in shares.items():
            self._fire(couriers.of(agent), share)
        return rest

    def _fire(self, courier: Courier, share: Sequence[tuple[int, Submission]]) -> None:
        context, outlet = self._context, courier.outlet
        assert outlet is not None
        now, clock = context.wall(), context.clock.seconds()
        ids, places = context.message_ids(len(share), now), context.next_places(len(share))
        messages = [make_message(each, id, now, context.limits) for id, (_, each) in zip(ids, share, strict=True)]
        entries = run.launched(courier.line, places, messages)
        courier.hold(len(entries), sum([entry.size for entry in entries]))
        shots = [
            Shot(
                id=entry.id,
                reader=Reader(id=entry.id),
                attempts=1,
                line=True,
                courier=courier,
                submission=submission,
                entry=entry,
                message=message,
                sent_at=outlet.flow.time(clock),
                until=clock + submission.wait,
                finish=self._finish,
                index=index,
                volley=self._volley(submission.wait),
            )
            for entry, message, (index, submission) in zip(entries, messages, share, strict=True)
        ]
        courier.acks.add_all(shots)
        courier.silence.watch()
        outlet.gather([outlet.frame(message, 1, queued=False) for message in messages])
        outlet.redelivery.start_all(entries, outlet.flow_time())
        context.chronicle.launched_all(courier.agent, entries, outlet.session, now)
        courier.set_alarm()
        self._couriers.add(courier)
        for shot in shots:
            shot.volley.add(shot)
            self.readers.append((courier.agent, shot.reader))

    def _volley(self, wait: float) -> Volley:
        volley = self._volleys.get(wait)
        if volley is None:
            volley = self._volleys[wait] = Volley(self._context, wait, self._told)
        return volley

    def send_off(self) -> None:
        """What was collected for an agent that takes many at a time leaves."""
        for courier in self._couriers:
            if courier.outlet is not None:
                courier.outlet.flush()
        for volley in self._volleys.values():
            volley.close()


def _left(courier: Courier | None) -> tuple[int, int]:
    """How many lines its agent takes at once now, and of how many bytes with their envelopes."""
    outlet = None if courier is None else courier.outlet
    if courier is None or outlet is None or not outlet.batches or courier.silence.mute or not is_free(courier, 0):
        return NO_SPACE
    count, space = outlet.gathers()
    return min(count, outlet.window - courier.line.flying), space
