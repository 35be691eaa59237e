"""Lines that came together and were sent directly: one Deferred with its timeout for all that wait equally long."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.core.model import Outcome, Reason, Submission
from relay.hub.acks import Reader
from relay.hub.context import Context
from relay.hub.courier import Courier
from relay.hub.direct import Direct, Finish, send

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

    def send(self, courier: Courier, index: int, submission: Submission) -> Reader:
        """Accept a plain line whose courier is free, and send it. Returns who reads what became of it."""
        volley = self._volleys.get(submission.wait)
        if volley is None:
            volley = self._volleys[submission.wait] = Volley(self._context, submission.wait, self._told)
        make = partial(Shot, index=index, volley=volley)
        self._couriers.add(courier)
        shot = send(self._context, courier, submission, True, self._finish, make)
        volley.add(shot)
        return shot.reader

    def send_off(self) -> None:
        """What was collected for an agent that takes many at a time leaves."""
        for courier in self._couriers:
            if courier.outlet is not None:
                courier.outlet.flush()
        for volley in self._volleys.values():
            volley.close()
