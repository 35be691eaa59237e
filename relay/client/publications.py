"""Messages that are published over a session's own socket, and their results (protocol 2.1, ``publish``)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime

from relay.client import outgoing, refusal
from relay.client.frames import Error, Result
from relay.client.outgoing import Answer, Outgoing
from relay.client.refusal import Refusal, Refused, Unreachable
from relay.client.undecided import Undecided
from relay.core.limits import MIB, Limits

MOST: Final = 1000  #: undecided at a time: the relay takes no more
MOST_BYTES: Final = 16 * MIB  #: … and of their frames, so that a socket which takes nothing cannot fill the memory
MARGIN: Final = 15.0  #: seconds past the wait: for the way there, the commit and the way back
LONGEST_WAIT: Final = Limits().wait_max  #: seconds: no relay waits longer unless it is configured to


class Publications:
    """Those of one agent, over all its sessions. ``say`` sends a frame; False: there is no session to send it over."""

    def __init__(self, clock: IReactorTime, say: Callable[[bytes], bool]) -> None:
        self._say = say
        self._undecided: Undecided[Answer] = Undecided(clock)
        self._refs = map(str, count(1))
        self._bytes = 0
        self.largest = 2 * MIB  #: bytes of a frame, as the relay said

    def publish(self, message: Outgoing) -> Deferred[Answer]:
        """Send it; fires with its answer, or fails with Refused, Unreachable or ValueError."""
        ref = next(self._refs)
        try:
            frame = message.line(type="publish", ref=ref)
        except ValueError as error:
            return fail(error)
        if len(frame) > self.largest:
            return fail(ValueError(f"a frame of {len(frame)} bytes; the relay takes {self.largest}"))
        if len(self._undecided) >= MOST or (self._bytes and self._bytes + len(frame) > MOST_BYTES):
            # What the relay would say, said before it has cost anything.
            detail = f"{len(self._undecided)} publications wait for their result: {MOST} may, and {MOST_BYTES} bytes"
            return fail(Refused(Refusal("rate-limited", 429, detail=detail, retry_after=1.0)))
        limit = (LONGEST_WAIT if message.wait is None else message.wait) + MARGIN
        answer = self._undecided.ask(ref, limit)
        self._bytes += len(frame)
        answer.addBoth(self._leave, len(frame))
        if not self._say(frame):
            self._undecided.refuse(ref, Unreachable("there is no session at the moment: nothing was sent"))
        return answer

    def decided(self, frame: Result) -> None:
        """A ``result`` came."""
        if frame.ref not in self._undecided:
            return
        if bytes(frame.problem):
            self._undecided.refuse(frame.ref, Refused(refusal.read(bytes(frame.problem))))
            return
        try:
            self._undecided.decide(frame.ref, outgoing.read(frame.body))
        except Unreachable as error:
            self._undecided.refuse(frame.ref, error)

    def complained(self, frame: Error) -> None:
        """An ``error`` came, perhaps of one of ours."""
        if frame.ref is not None:
            self._undecided.refuse(frame.ref, Refused(Refusal(frame.code, 0, detail=frame.detail, id=frame.id)))

    def lost(self) -> None:
        """The session has ended."""
        self._undecided.lost("the session ended before the result came: the message may have been delivered")

    def _leave(self, result: object, size: int) -> object:
        self._bytes -= size
        return result
