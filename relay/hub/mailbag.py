"""POSTs for agents that are away, of which many may come at once: those that come while others are written go together.

The store would put them into one commit too. But here they cost one write and one answer from it, instead of as many.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.core.model import Outcome, Submission
from relay.core.problems import Problem
from relay.hub.context import Context
from relay.hub.couriers import Couriers
from relay.hub.directory import Directory
from relay.hub.parcel import Parcel

MOST_COUNT = 1000  #: messages that wait for those before them: with more they are written at once …
MOST_BYTES = 1024 * 1024  #: … and with so many bytes of payload

Tell = Callable[[Outcome | Problem], object]


class Mailbag:
    """What gathers is sent off as soon as nothing is being written. Who asks has seen that each may go by a parcel."""

    def __init__(self, context: Context, couriers: Couriers, directory: Directory) -> None:
        self._context = context
        self._couriers = couriers
        self._directory = directory
        self._tells: list[Tell] = []  #: of what gathers
        self._parcel: Parcel | None = None
        self._size = 0  #: payload bytes
        self._under_way = 0  #: parcels

    def put(self, submission: Submission, tell: Tell) -> None:
        """Accept the message. ``tell`` is called once, when it is durable, or nobody tries any more."""
        if self._parcel is None:
            tells: list[Tell] = []
            self._tells = tells
            self._parcel = Parcel(
                self._context, self._couriers, self._directory, lambda index, became: tells[index](became)
            )
        self._parcel.add(submission, len(self._tells))
        self._tells.append(tell)
        self._size += len(submission.payload)
        if not self._under_way or len(self._tells) >= MOST_COUNT or self._size >= MOST_BYTES:
            self._send()

    def _send(self) -> None:
        parcel, self._parcel, self._size = self._parcel, None, 0
        if parcel is not None:
            self._under_way += 1
            parcel.send(self._written)

    def _written(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._send()
