"""Server-Sent Events: what happens on the floor, to whoever watches (protocol 1.4)."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from relay.core.counters import Counters
from relay.core.limits import Limits
from relay.core.model import Notice
from relay.core.ports import Notices
from relay.core.problems import Problem
from relay.core.wire import stamp
from relay.edge.request import DoorRequest

COMMENT_SECONDS: Final = 20.0  #: a proxy ends a stream that says nothing
BUSY_RETRY: Final = 5  #: seconds, ``Retry-After`` when there are as many subscribers as may be

TYPES: Final = frozenset(
    {"agent.connected", "agent.disconnected", "agent.conflict"}
    | {f"message.{word}" for word in ("accepted", "queued", "sent", "delivered", "rejected", "expired", "dead")}
    | {"message.cancelled", "message.replaced"}
)

_ID: Final = re.compile(r"([0-9a-f]{1,32})-([0-9]{1,18})")


def wanted_types(text: str | None) -> frozenset[str]:
    """The types that ``?types=`` names, all where it is left out. Raises Problem."""
    if text is None:
        return TYPES
    types = frozenset(text.split(","))
    if unknown := types - TYPES:
        detail = f"types must be of {', '.join(sorted(TYPES))}, not {min(unknown)[:40]!r}"
        raise Problem("invalid-request", detail)
    return types


@implementer(IPushProducer)
class EventStream:
    """One subscriber. What its socket does not take waits here, up to so many notices, and for so long; then it is
    disconnected: there are only so many places.
    """

    def __init__(
        self,
        request: DoorRequest,
        notices: Notices,
        clock: IReactorTime,
        *,
        wanted: Callable[[Notice], bool],
        limits: Limits,
        counters: Counters,
    ) -> None:
        self._request = request
        self._notices = notices
        self._clock = clock
        self._wanted = wanted
        self._limits = limits
        self._counters = counters
        self._waiting: deque[Notice] = deque()
        self._paused_at: float | None = None  #: since then its socket takes nothing
        self._timer: IDelayedCall | None = None
        self._unsubscribe: Callable[[], object] = lambda: None
        self._ended: Deferred[None] = Deferred()

    def run(self, last_event_id: str | None) -> Deferred[None]:
        """Answer the request with events, those after ``last_event_id`` first. Fires when the stream has ended."""
        request = self._request
        request.prepare_stream(b"text/event-stream")
        request.responseHeaders.setRawHeaders(b"Cache-Control", [b"no-store"])
        request.notifyFinish().addBoth(lambda _: self._end())
        missed = self._missed(last_event_id)
        hello = {} if missed is not None else {"lost": True}
        # A browser notes the id of every event, of this one too: were it the newest, whoever lost the connection now
        # would never be told what it missed.
        resumed = last_event_id.encode("ascii") if last_event_id is not None and missed is not None else None
        self._write(b"event: hello\nid: %b\ndata: %b\n\n" % (resumed or self._id(self._notices.number), encode(hello)))
        request.registerProducer(self, True)
        self._unsubscribe = self._notices.subscribe(self._told)
        for notice in missed or ():
            self._told(notice)
        self._comment_later()
        return self._ended

    def _missed(self, last_event_id: str | None) -> list[Notice] | None:
        """What came after that id; None if that cannot be said."""
        if last_event_id is None:
            return []
        match = _ID.fullmatch(last_event_id)
        if match is None or match[1] != self._notices.boot:
            return None
        return self._notices.since(int(match[2]))

    def _id(self, number: int) -> bytes:
        return f"{self._notices.boot}-{number}".encode("ascii")

    def end(self) -> None:
        """Nothing more is told."""
        self._request.unregisterProducer()
        self._end()  # Klein ends the answer

    def _told(self, notice: Notice | None) -> None:
        if notice is None:
            self.end()
        elif not self._wanted(notice):
            return
        elif self._paused_at is None:
            self._send(notice)
        elif len(self._waiting) < self._limits.events:
            self._waiting.append(notice)
        else:
            self._give_up("events")

    def _give_up(self, limit: str) -> None:
        self._counters.reached(limit)
        self._request.channel.abort()

    def _send(self, notice: Notice) -> None:
        data = encode({"at": stamp(notice.at), "agent": notice.agent, **notice.fields})
        self._write(b"event: %b\nid: %b\ndata: %b\n\n" % (notice.event.encode("ascii"), self._id(notice.number), data))

    def _write(self, data: bytes) -> None:
        self._request.write(data)

    def _comment_later(self) -> None:
        self._timer = self._clock.callLater(COMMENT_SECONDS, self._comment)

    def _comment(self) -> None:
        self._comment_later()
        if self._paused_at is None:
            self._write(b":\n\n")
        elif self._clock.seconds() - self._paused_at >= self._limits.stalled_seconds:
            self._give_up("stalled_seconds")

    def _end(self) -> None:
        self._unsubscribe()
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._waiting.clear()
        if not self._ended.called:
            self._ended.callback(None)

    # -- what the transport says

    def pauseProducing(self) -> None:
        self._paused_at = self._clock.seconds()

    def resumeProducing(self) -> None:
        self._paused_at = None
        while self._waiting and self._paused_at is None:
            self._send(self._waiting.popleft())

    def stopProducing(self) -> None:
        pass  # the request says when it is over


def encode(members: Mapping[str, object]) -> bytes:
    """JSON on one line, as an event's data must be."""
    return msgspec.json.encode(members)
