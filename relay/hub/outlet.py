"""The way out to one session: its window, its buffer, its redelivery clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from relay.core import policy, wire
from relay.core.flow import Flow
from relay.core.limits import Limits
from relay.core.model import Message
from relay.core.ports import AgentTransport
from relay.hub.pressure import Pressure
from relay.hub.redelivery import Redelivery


@dataclass(frozen=True, slots=True)
class Wishes:
    """What an agent asked for, within what is allowed. Times in seconds."""

    max_in_flight: int
    ack_wait: float
    max_frame: int | None = None  #: bytes
    raw: bool = False
    batch: bool = False
    publisher: bool = False  #: to be told who handed each message in


class Outlet:
    """What a courier needs of its session. ``window`` is the one in force; a careful one starts at 1 and widens."""

    __slots__ = (
        "_asked",
        "_batch",
        "_batch_bytes",
        "_clock",
        "_limits",
        "_pressure",
        "_transport",
        "_wishes",
        "doubted",
        "flow",
        "holds",
        "redelivery",
        "sent_count",
        "session",
        "window",
    )

    def __init__(
        self,
        session: str,
        transport: AgentTransport,
        wishes: Wishes,
        *,
        clock: IReactorTime,
        pressure: Pressure,
        limits: Limits,
        watched: Callable[[str], bool],
        holds: bool = True,
    ) -> None:
        self.session = session
        self.holds = holds  #: may a direct message be held in memory for it? Otherwise it is made durable at once
        self.doubted = False  #: a direct message was not acknowledged, and nothing was heard since
        self.window = wishes.max_in_flight
        self.flow = Flow()
        self.redelivery = Redelivery(wishes.ack_wait, watched)
        self.sent_count = 0
        self._wishes = wishes
        self._asked = wishes.max_in_flight
        self._transport = transport
        self._clock = clock
        self._pressure = pressure
        self._limits = limits
        self._batch: list[bytes] = []
        self._batch_bytes = 0

    def careful(self, streak: int) -> None:
        """After several breaks in a row the window starts at 1."""
        self.window = policy.starting_window(streak, self._asked)

    def resize(self, max_in_flight: int) -> None:
        """The agent asked for another window."""
        self._asked = self.window = max_in_flight

    def widen(self, acks: int = 1) -> None:
        """An ACK came, or several."""
        while acks and self.window < self._asked:
            self.window = policy.wider_window(self.window, self._asked)
            acks -= 1

    def takes(self, size: int) -> bool:
        """May a frame of that size be sent now?"""
        transport = self._transport
        unsent = transport.unsent() + self._batch_bytes
        return transport.takes() and (not unsent or policy.fits(unsent, size, self._pressure.share()))

    def send(self, message: Message, attempt: int, *, queued: bool) -> bool:
        """Send a message; False if its frame is larger than the agent takes. A batch may wait for ``flush``."""
        wishes = self._wishes
        frame = self.frame(message, attempt, queued=queued)
        if wishes.max_frame is not None and len(frame) > wishes.max_frame:
            return False
        self.sent_count += 1
        if not wishes.batch:
            self._emit(frame)
            return True
        most = min(self._limits.batch_bytes, wishes.max_frame or self._limits.batch_bytes)
        if self._batch and (self._batch_bytes + len(frame) > most - 64 or len(self._batch) >= self._limits.batch_count):
            self.flush()
        self._batch.append(frame)
        self._batch_bytes += len(frame) + 1
        return True

    @property
    def batches(self) -> bool:
        """Does the agent take several messages in a frame?"""
        return self._wishes.batch

    @property
    def raw(self) -> bool:
        """Does it want every payload as base64?"""
        return self._wishes.raw

    def gathers(self) -> tuple[int, int]:
        """How many more messages, and bytes of them, go into the frame that is being gathered for an agent that
        ``batches``; none if nothing may leave now.
        """
        if len(self._batch) >= self._limits.batch_count:
            self.flush()
        if not self._transport.takes():
            return 0, 0
        waiting = self._transport.unsent() + self._batch_bytes
        most = min(self._limits.batch_bytes, self._wishes.max_frame or self._limits.batch_bytes)
        left = min(most - 64 - self._batch_bytes, self._pressure.share() - waiting)
        return self._limits.batch_count - len(self._batch), left

    def gather(self, frames: Sequence[bytes]) -> None:
        """Put these, which were made by ``frame`` or ``first_frames`` and for which there is room, into it."""
        self._batch += frames
        self._batch_bytes += sum(map(len, frames)) + len(frames)
        self.sent_count += len(frames)

    def frame(self, message: Message, attempt: int, *, queued: bool) -> bytes:
        """The frame of a message, as the agent wants it."""
        wishes = self._wishes
        return wire.message(message, queued=queued, attempt=attempt, raw=wishes.raw, publisher=wishes.publisher)

    def first_frames(self, messages: Sequence[Message]) -> list[bytes]:
        """The same of several that were accepted together and are sent at once, with nothing but a payload."""
        return wire.first_messages(messages, raw=self._wishes.raw, publisher=self._wishes.publisher)

    def flush(self) -> None:
        """Send what was collected."""
        if self._batch:
            batch, self._batch, self._batch_bytes = self._batch, [], 0
            self._emit(batch[0] if len(batch) == 1 else wire.messages(batch))

    def _emit(self, frame: bytes) -> None:
        self._transport.send(frame)
        self._pressure.sent(self, len(frame))

    def doubt(self) -> None:
        """A direct message was not acknowledged in time: is the agent still there?"""
        self.doubted = True
        self._transport.ping()

    def look(self, now: float) -> bool:
        """Once a second while bytes wait; True if some of them left."""
        return self.flow.look(now, self._transport.unsent(), self._transport.taken())

    def flow_time(self) -> float:
        """The redelivery clock."""
        return self.flow.time(self._clock.seconds())

    def resend_in(self) -> float | None:
        """Seconds until a redelivery may be due; None when nothing is in flight or the clock stands still."""
        if self.flow.stalled_since is not None:
            self.redelivery.news = True  # for when it goes on
            return None
        due = self.redelivery.due_at()
        if due is None:
            return None
        return max(0.0, due - self.flow_time())
