"""One connection's conversation with the relay, from the attempt to its end."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from relay.client.desk import Desk
from relay.client.frames import BadFrame, Deliveries, Delivery, Error, Frame, Registered, parse
from relay.client.link import Link
from relay.client.message import Message
from relay.client.policy import Ending
from relay.client.watch import Watch
from relay.core.wire import encode

OPENING_SECONDS: Final = 30.0  #: from the TCP connection's start to ``registered``
QUIET_MARGIN: Final = 10.0  #: seconds of silence past the relay's heartbeat
PONG_SECONDS: Final = 10.0  #: for an answer to our ping
PROGRESS_PART: Final = 3  #: of ``ack_wait``: so often it is said that work goes on
SHORTEST_REPORT: Final = 0.1  #: seconds between two of these, whatever the relay says

log = Logger()


class State(enum.Enum):
    """Where a session stands. It only moves down this list."""

    CONNECTING = "connecting"
    REGISTERING = "registering"
    LIVE = "live"
    CLOSING = "closing"
    OVER = "over"


class Session:
    """Registers, hands messages to the desk, and notices when the relay is gone.

    ``hello`` is the ``register`` frame. ``told`` is called with each frame that is not a message, the answer to
    ``hello`` first. ``max_bytes`` bounds the payloads in
    hand: past that the relay is asked to send nothing new, until half of it has been handled.
    """

    def __init__(
        self,
        hello: bytes,
        desk: Desk,
        clock: IReactorTime,
        *,
        max_in_flight: int,
        max_bytes: int,
        told: Callable[[Frame], object],
    ) -> None:
        self._hello = hello
        self._desk = desk
        self._clock = clock
        self._max_in_flight = max_in_flight
        self._max_bytes = max_bytes
        self._told = told
        self._window = max_in_flight  # as the relay knows it
        self._state = State.CONNECTING
        self._link: Link | None = None
        self._watch: Watch | None = None
        self._registered_at: float | None = None
        self._complaint = ""  # the last ``error`` frame's
        self._timer: IDelayedCall = clock.callLater(OPENING_SECONDS, self.abort)
        self._agent = ""
        self._acks: list[str] | None = None  # gathered while a frame is being handled
        self.ended: Deferred[Ending] = Deferred()

    @property
    def live(self) -> bool:
        """Is the agent registered, and nobody leaving?"""
        return self._state is State.LIVE

    # what the wire tells

    def connected(self, link: Link) -> None:
        self._link = link

    def opened(self) -> None:
        self._state = State.REGISTERING
        if self._link is not None:
            self._link.send(self._hello)

    def heard(self) -> None:
        if self._watch is not None:
            self._watch.heard()

    def received(self, data: bytes) -> None:
        try:
            frame = parse(data)
        except BadFrame as error:
            log.warn("the relay sent {error}", error=error)
            return
        if not isinstance(frame, Error):
            self._complaint = ""  # it had nothing to do with an end that comes later
        match frame:
            case Delivery() if self._registered_at is not None:
                self._take([frame])
            case Deliveries() if self._registered_at is not None:
                self._take(frame.messages)
            case Registered() if self._state is State.REGISTERING:
                self._begin(frame)
            case Error():
                self._complain(frame)
                self._told(frame)
            case _ if frame is not None and self.live:
                self._told(frame)

    def lost(self, ending: Ending) -> None:
        if self._state is State.OVER:
            return
        self._state = State.OVER
        if self._timer.active():
            self._timer.cancel()
        if self._watch is not None:
            self._watch.stop()
        lasted = self._clock.seconds() - self._registered_at if self._registered_at is not None else 0.0
        self.ended.callback(replace(ending, lasted=lasted, detail=self._complaint or ending.detail))

    # what the agent asks for

    def say(self, frame: bytes) -> bool:
        """Send a frame, if the relay would listen; otherwise it is left out, and this is False."""
        if self._link is None or not self.live:
            return False
        self._link.send(frame)
        self._adjust()
        return True

    def ack(self, id: str) -> None:
        """Acknowledge it. Those of one frame's messages, as far as they are handled at once, go in one."""
        if self._acks is not None:
            self._acks.append(id)
        else:
            self.say(encode("ack", id=id))

    def resize(self, max_in_flight: int) -> None:
        """From now on so many may be in flight; 0: nothing new is to be sent."""
        self._max_in_flight = max_in_flight
        self._adjust()

    def leave(self) -> None:
        """End the session in order; one that is not live yet is just dropped."""
        self._say_acks()
        if self._link is not None and self.live:
            self._state = State.CLOSING
            self._link.close()
        elif self._state in (State.CONNECTING, State.REGISTERING):
            self.abort()

    def abort(self) -> None:
        """End it now, whatever its state."""
        if self._link is not None:
            self._link.abort()
        else:
            self.lost(Ending(reached=False, detail=f"no connection within {OPENING_SECONDS:g} s"))

    def _begin(self, frame: Registered) -> None:
        self._state = State.LIVE
        self._agent = frame.agent or ""
        self._registered_at = self._clock.seconds()
        self._timer.cancel()
        self._watch = Watch(
            self._clock,
            quiet=max(1.0, frame.heartbeat) + QUIET_MARGIN,
            grace=PONG_SECONDS,
            ask=self._ask,
            give_up=self._silent,
        )
        if frame.ack_wait > 0:
            self._report(max(SHORTEST_REPORT, frame.ack_wait / PROGRESS_PART))
        self._told(frame)
        self._adjust()

    def _take(self, frames: Sequence[Delivery]) -> None:
        self._acks = []
        for frame in frames:
            self._desk.take(Message.of(frame, self._agent))
        self._say_acks()
        self._acks = None
        self._adjust()

    def _say_acks(self) -> None:
        ids, self._acks = self._acks, [] if self._acks is not None else None
        if ids:
            self.say(encode("ack", id=ids[0]) if len(ids) == 1 else encode("ack", ids=ids))

    def _report(self, interval: float) -> None:
        """Say regularly of what is in hand that it is: waiting here counts as well, for it was sent."""
        self._timer = self._clock.callLater(interval, self._report, interval)
        ids = self._desk.in_hand()
        if ids and self._link is not None and not self._link.clogged():
            self.say(encode("progress", ids=ids))

    def _adjust(self) -> None:
        """Keep the bytes in hand bounded: a window counts messages, and these may be large."""
        if not self.live:
            return
        full = self._desk.bytes > (self._max_bytes if self._window else self._max_bytes // 2)
        wanted = 0 if full else self._max_in_flight
        if wanted != self._window and self._link is not None:
            self._window = wanted
            self._link.send(encode("window", max_in_flight=wanted))

    def _ask(self) -> None:
        self.say(encode("ping"))

    def _silent(self) -> None:
        self._complaint = "nothing came from the relay any more"
        self.abort()

    def _complain(self, frame: Error) -> None:
        self._complaint = (f"{frame.code}: {frame.detail}" if frame.detail else frame.code)[:300]
        if frame.holder is not None:
            parts = (frame.holder.client, f"since {frame.holder.since}" if frame.holder.since else "")
            self._complaint += " (" + ", ".join(filter(None, parts)) + ")" if any(parts) else ""
        log.warn("the relay said {complaint}", complaint=self._complaint)
