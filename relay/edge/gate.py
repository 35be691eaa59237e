"""One HTTP connection: whole and sound heads only, absolute deadlines, and an answer also to what is refused half-way.

Twisted's channel measures idle time, which every byte renews; it closes on a large head without a word, and lets heads
through that a proxy may read differently. So a head is collected and judged here before Twisted's parser sees it.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IProtocol, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from relay.core.limits import Limits
from relay.core.problems import Problem, Unsound
from relay.edge import head
from relay.edge.answer import HARDENING, STRICT_TRANSPORT, last_words, of_problem
from relay.edge.chunks import Chunks
from relay.edge.deadline import Deadline
from relay.edge.request import wants_upgrade
from relay.edge.transport import waiting_in

if TYPE_CHECKING:
    from relay.edge.request import DoorRequest
    from relay.edge.site import DoorSite


class Phase(enum.Enum):
    """Where a connection stands."""

    FRESH = "fresh"  #: accepted; nothing came yet
    QUEUED = "queued"  #: its first bytes wait for their turn in a crowd
    FIRST = "first"  #: they are read, or are no head yet
    IDLE = "idle"  #: between two requests
    HEAD = "head"  #: a head has begun
    BODY = "body"  #: the head is whole, the body is not
    BUSY = "busy"  #: a request is being answered
    REFUSED = "refused"  #: answered before its end; what still comes is thrown away
    CLOSING = "closing"  #: the last bytes are on their way
    UPGRADED = "upgraded"  #: it speaks another protocol now


#: It has not asked for anything yet.
NEW: Final = (Phase.FRESH, Phase.QUEUED, Phase.FIRST)


class GateChannel(HTTPChannel):
    """Twisted's channel with a gate in front of it and one deadline at a time."""

    transport: Any
    site: DoorSite
    requests: list[DoorRequest]

    def __init__(self) -> None:
        super().__init__()
        self._phase = Phase.FRESH
        self._ahead = b""  #: what the parser has not seen yet
        self._body_began = 0.0
        self._successor: IProtocol | None = None

    def connectionMade(self) -> None:
        super().connectionMade()
        self._limits = self.site.limits
        self._room = self._limits.linger_bytes
        self.hardening = b"\r\n".join((HARDENING, STRICT_TRANSPORT)) if self.isSecure() else HARDENING
        self.visit = self.site.visitors.visit(self.transport)
        # Twisted's own bounds would close without an answer: ours come first.
        self.MAX_LENGTH = self.totalHeadersSize = self._limits.head_bytes
        self.maxHeaders = self._limits.header_count
        self._deadline = Deadline(self.site.clock, self._overdue)
        self._deadline.after(self._limits.head_seconds)
        if not self.visit.welcome:
            # It costs nothing more: to be answered it would have to be kept until it has asked something.
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._deadline.stop()
        if self._successor is None:
            self.visit.leave()
            super().connectionLost(reason)
        else:
            self._successor.connectionLost(reason)

    # -- what comes in

    def dataReceived(self, data: bytes) -> None:
        if self._successor is not None:
            self._successor.dataReceived(data)
        elif self._phase in (Phase.REFUSED, Phase.CLOSING):
            self._discard(len(data))
        else:
            self._ahead += data
            # Twisted's parser plays back what came early by calling this method from within: the outer call goes on.
            while self._ahead and not self._busyReceiving and self._feed():
                pass

    def _feed(self) -> bool:
        """Give the parser what it can take now; False when there is nothing more for it."""
        if self.line_mode:
            whole = self._take_head()
            if not whole:
                return False
            super().dataReceived(whole)
        else:
            data, self._ahead = self._ahead, b""
            super().dataReceived(data)
        if self._successor is not None and self._ahead:
            data, self._ahead = self._ahead, b""
            self._successor.dataReceived(data)
        return self._phase not in (Phase.REFUSED, Phase.CLOSING)

    def _take_head(self) -> bytes:
        """A whole and sound head from what came; empty if it is not whole, or was refused."""
        self._ahead = self._ahead.removeprefix(b"\r\n")  # RFC 9112 section 2.2: old clients end a body with one more
        if not self._ahead:
            return b""
        end = self._ahead.find(head.END)
        size = end + len(head.END) if end >= 0 else len(self._ahead)
        if size > self._limits.head_bytes:
            detail = f"a request's head may have {self._limits.head_bytes} bytes"
            self.refuse(Problem("headers-too-large", detail, limit="head_bytes"))
            return b""
        if end < 0:
            self._head_began()
            return b""
        whole, self._ahead = self._ahead[:size], self._ahead[size:]
        try:
            head.check(whole, self._limits.header_count)
        except Problem as problem:
            self.refuse(problem)
            return b""
        return whole

    def _head_began(self) -> None:
        if self._phase is Phase.IDLE:
            self._deadline.after(self._limits.head_seconds)
        self._phase = Phase.HEAD  # the first head of a connection is due by the clock that began with accept

    def allHeadersReceived(self) -> None:
        request = self.requests[-1]
        self.persistent = self.checkPersistence(request, self._version)
        request.gotLength(self.length)
        if self.length is None:
            self._transferDecoder = Chunks(
                request.handleContentChunk, self._finishRequestBody, trailer_bytes=self._limits.head_bytes
            )
        if self.visit.is_strange and not self.visit.introduce():
            self.refuse(Problem("rate-limited", "your address has as many connections as it may", retry_after=1))
            return
        try:
            request.begin(self._command, self._path, self._version, self.length)
        except Problem as problem:
            if self.length != 0 or isinstance(problem, Unsound):
                self.refuse(problem)
                return
            request.refusal = problem
        if wants_upgrade(request):
            self.persistent = False
        self._phase = Phase.BODY
        self._body_began = self.site.clock.seconds()
        self.brought(0)
        # Only after what can be refused by the head alone: who waits for this has not sent the body yet.
        if request.asking is None:
            self.ask_for_body()
        else:
            request.wait_for_grant()

    def ask_for_body(self) -> None:
        """Tell a client that waits for this to go on and send the body."""
        expected = map(str.lower, self.requests[-1].values(b"expect"))
        if self.length != 0 and self._version == b"HTTP/1.1" and "100-continue" in expected:
            self._send100Continue()

    @property
    def is_whole(self) -> bool:
        """Has the request come whole, so that it may be answered?"""
        return self._phase is Phase.BUSY

    def brought(self, received: int) -> None:
        """The body has so many bytes by now: the more there are, the later it is overdue."""
        if self._phase is Phase.BODY:
            self._deadline.at(self._body_began + self._limits.body_grace + received / self._limits.body_rate)

    def allContentReceived(self) -> None:
        if self._phase is Phase.REFUSED:
            return
        self._phase = Phase.BUSY
        self._deadline.clear()
        super().allContentReceived()

    def requestDone(self, request: DoorRequest) -> None:
        if self.persistent:
            self._phase = Phase.IDLE
            self._deadline.after(self._limits.idle_seconds)
        super().requestDone(request)
        if self._waitingForTransport:
            # Twisted does this only where the answer before was late. Who asks on and never reads would fill memory.
            self._networkProducer.pauseProducing()

    # -- the end

    def refuse(self, problem: Problem) -> None:
        """Answer a request that has not wholly come, and close.

        So much more is read and thrown away (``linger_bytes``, ``linger_seconds``): a socket that is closed with
        something unread is reset, and the answer may be lost with it.
        """
        if self._phase in (Phase.REFUSED, Phase.CLOSING):
            return
        self._phase = Phase.REFUSED
        self._ahead = b""
        self.clearLineBuffer()
        self.site.counters.reached(problem.limit)
        self.transport.write(last_words(of_problem(problem), self.site.date(), self.hardening))
        if ITCPTransport.providedBy(self.transport) and not self.isSecure():
            self.transport.loseWriteConnection()
        self._deadline.after(self._limits.linger_seconds)

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802  Twisted's name
        self.refuse(Problem("invalid-request", "the request is malformed"))

    def _discard(self, count: int) -> None:
        self._room -= count
        if self._room < 0:
            self._networkProducer.pauseProducing()

    def loseConnection(self) -> None:
        # A peer that does not read would never let it end.
        self._phase = Phase.CLOSING
        self._last = LastAnswer(self.transport)
        self._deadline.after(self._limits.close_seconds)
        super().loseConnection()

    def _overdue(self) -> None:
        if self._phase in (Phase.HEAD, Phase.BODY):
            self.refuse(too_slow(self._phase, self._limits))
        elif self._phase is Phase.CLOSING and self._last.is_being_read():
            self._deadline.after(self._limits.stalled_seconds)
        elif self._phase is Phase.CLOSING:
            self.site.counters.reached("close_seconds")
            self.transport.abortConnection()
        else:
            if self._phase is not Phase.REFUSED:
                self.site.counters.reached("head_seconds" if self._phase in NEW else "idle_seconds")
            self.loseConnection()


class LastAnswer:
    """What a peer has not taken yet when its connection is to end. It may be on a slow line."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._left = waiting_in(transport)

    def is_being_read(self) -> bool:
        """Did the peer take some of it since the last look, and is there more?"""
        before, self._left = self._left, waiting_in(self._transport)
        return 0 < self._left < before


def too_slow(phase: Phase, limits: Limits) -> Problem:
    """What is said of a head, or a body, that was not whole in time."""
    if phase is Phase.HEAD:
        detail = f"a request's head, ended by an empty line (CR LF), must be whole within {limits.head_seconds:g} s"
        return Problem("request-timeout", detail, limit="head_seconds")
    detail = f"a body must bring {limits.body_rate} bytes a second after its first {limits.body_grace:g} s"
    return Problem("request-timeout", detail, limit="body_rate")
