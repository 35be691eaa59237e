"""POSTs for agents that are away, of which many may come at once: those that come while others are written go together.

The store would put them into one commit too. But here they cost one write and one answer from it, instead of as many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from relay.core.model import Outcome, Submission
from relay.core.problems import Problem
from relay.hub.context import Context
from relay.hub.couriers import Couriers
from relay.hub.directory import Directory
from relay.hub.parcel import Parcel

MOST_UNDER_WAY = 2  #: parcels: one is being written, and one waits for that to be over
MOST_COUNT = 1000  #: messages that wait for those before them: with more they are written at once …
MOST_BYTES = 1024 * 1024  #: … and with so many bytes of payload …
LONGEST = 0.1  #: … and after so many seconds: a store need not answer in the order in which it is asked

Tell = Callable[[Outcome | Problem], object]


class Mailbag:
    """What gathers is sent off as soon as what is being written is. Who asks has seen that each may go by a parcel."""

    log = Logger()

    def __init__(self, context: Context, couriers: Couriers, directory: Directory) -> None:
        self._context = context
        self._couriers = couriers
        self._directory = directory
        self._tells: list[Tell] = []  #: of what gathers
        self._parcel: Parcel | None = None
        self._size = 0  #: payload bytes
        self._under_way = 0  #: parcels
        self._timer: IDelayedCall | None = None

    def put(self, submission: Submission, tell: Tell) -> None:
        """Accept the message. ``tell`` is called once, when it is durable, or nobody tries any more."""
        if self._parcel is None:
            self._tells = []
            tell_each = partial(self._tell_each, self._tells)
            self._parcel = Parcel(self._context, self._couriers, self._directory, tell_each)
        self._parcel.add(submission, len(self._tells))
        self._tells.append(tell)
        self._size += len(submission.payload)
        if self._under_way < MOST_UNDER_WAY or len(self._tells) >= MOST_COUNT or self._size >= MOST_BYTES:
            self._send()
        elif self._timer is None:
            self._timer = self._context.clock.callLater(LONGEST, self._is_overdue)

    def _tell_each(self, tells: Sequence[Tell], told: Sequence[tuple[int, Outcome | Problem]]) -> None:
        for index, became in told:
            try:
                tells[index](became)
            except Exception:
                self.log.failure("telling what became of a message went wrong")

    def _is_overdue(self) -> None:
        self._timer = None
        self._send()

    def _send(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        parcel, self._parcel, self._size = self._parcel, None, 0
        if parcel is not None:
            self._under_way += 1
            parcel.send(self._written)

    def _written(self) -> None:
        self._under_way -= 1
        if self._under_way < MOST_UNDER_WAY:
            self._send()
