"""A payload on its way, and an agent's end of a connection, as the books of the world have them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relay.core.model import Submission
from relay.core.session import FENCING, Close
from tests.hub.support import Agent, Answer, Wire

if TYPE_CHECKING:
    from tests.simulation.world import World

ACK_WAIT = 30.0
LONGEST_PAUSE = 600.0  #: where doubling ends


@dataclass(eq=False)
class Parcel:
    """One payload on its way, as its publisher knows it. Repeats of a POST are the same parcel."""

    number: int
    order: float  #: of acceptance
    submission: Submission
    id: str | None = None
    answers: list[Answer] = field(default_factory=list)
    watched_until: float = 0.0  #: on the clock: a POST waits for its ACK, if it was not answered before
    line: bool = False  #: of a batch
    moved: bool = False  #: accepted more than once: its place is not known for sure
    sent: bool = False
    superseded: bool = False
    acked: bool = False  #: in this run, or for good
    ever_acked: bool = False
    refused: bool = False
    cancelled: bool = False  #: did anybody ask for that?
    bad: int = 0  #: what an agent did that may count against it

    @property
    def promised(self) -> bool:
        """Was it said that it is durable?"""
        return any(answer.outcome and answer.outcome.status in ("queued", "accepted") for answer in self.answers)

    @property
    def unanswered(self) -> bool:
        return not all(answer.known for answer in self.answers)


class Line(Wire):
    """A wire that tells of each frame at once. One that polls knows at once whether its agent is there."""

    def __init__(self, end: End, *, polls: bool) -> None:
        super().__init__(kind="poll" if polls else "websocket", holds=not polls)
        self.end = end

    def alive(self) -> bool | None:
        return None if self.holds else self.end.answers_pings

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            super().send(frame)
            said = self.frames[-1]
            if said["type"] == "registered":
                self.end.world.was_registered(self.end, said["session"])
            for item in said.get("messages", [said]):
                if item.get("type") == "message":
                    self.end.world.arrived(self.end, item)

    def close(self, code: int, reason: str) -> None:
        super().close(code, reason)
        self.end.world.was_closed(self.end, code)

    def abort(self) -> None:
        if not self.aborted:
            self.end.blame()
        super().abort()


@dataclass
class Flight:
    """A message that its agent has seen in this session and said nothing of."""

    sends: int
    since: float  #: on the clock: its last send, or the last word that it is being worked on


class End(Agent):
    """An agent's end of a connection."""

    def __init__(self, world: World, name: str, window: int, *, polls: bool = False) -> None:
        self.world = world
        self.name = name
        self.window = window
        self.ack_wait = ACK_WAIT
        self.outstanding: dict[str, Flight] = {}
        self.lost = False
        self.answers_pings = True
        self.answered = 0
        self.new = 0  #: messages sent for the first time in this session since the last look
        self.asked = ""  #: the session that it said it comes back from
        self.took_over = ""  #: the session whose place it has
        super().__init__(world.floor, Line(self, polls=polls))

    @property
    def registered(self) -> bool:
        return any(frame["type"] == "registered" for frame in self.wire.frames)

    @property
    def live(self) -> bool:
        return self.registered and not self.lost and not self.wire.aborted and self.wire.closed is None

    @property
    def counts(self) -> bool:
        """Does what it says of messages count?"""
        fenced = self.wire.closed is not None and self.wire.closed[0] in FENCING
        return self.registered and not self.lost and not fenced

    @property
    def replaced(self) -> bool:
        return self.wire.closed is not None and self.wire.closed[0] == Close.REPLACED

    def patience(self, id: str) -> float:
        """Seconds until that message may be sent again in this session; never, if it asked for that."""
        doubled = self.ack_wait * 2 ** (self.outstanding[id].sends - 1)
        return min(doubled, LONGEST_PAUSE) if self.ack_wait else float("inf")

    def blame(self) -> None:
        """It broke: that may count against what was in flight, if it was alone."""
        if len(self.outstanding) == 1:
            for id in self.outstanding:
                self.world.by_id[id].bad += 1

    def end(self, code: int | None, by_relay: bool = False) -> None:
        if not self.lost and not self.wire.aborted:
            self.lost = True
            self.conversation.lost(code, by_relay)
        self.lost = True
