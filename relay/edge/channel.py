"""One HTTP connection at the door: bodies that are answered as they come in, and the handover to another protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from relay.edge.answer import POLICY
from relay.edge.gate import GateChannel, Phase

if TYPE_CHECKING:
    from relay.edge.batch import Batch


#: Newcomers that are read for the first time in one turn: their handshakes are its work.
BEGIN_AT_ONCE: Final = 8


class DoorChannel(GateChannel):
    """What passed the gate: a plain request, a batch, or an upgrade."""

    # -- a crowd of newcomers

    def dataReceived(self, data: bytes) -> None:
        if self._phase is Phase.FRESH:
            self._phase, self._ahead = Phase.QUEUED, data
            # Not when it is accepted: who connected long before the others may speak at the same time as all of them.
            if not self.site.newcomers.passes(self._begin):
                self._deadline.clear()  # it waits for us, and cannot be late
                self._networkProducer.pauseProducing()
        elif self._phase is Phase.QUEUED:
            self._ahead += data  # under TLS there may be more of what its socket had
        else:
            super().dataReceived(data)

    def _begin(self) -> None:
        """It is its turn, unless it went while it waited."""
        if self._phase is not Phase.QUEUED:
            return
        self._phase, first, self._ahead = Phase.FIRST, self._ahead, b""
        if not self._deadline.is_set:
            self._deadline.after(self._limits.head_seconds)
            self._networkProducer.resumeProducing()
        self.dataReceived(first)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._phase is Phase.QUEUED:
            self._phase = Phase.CLOSING
        super().connectionLost(reason)

    # -- a body that is answered as it comes in

    @property
    def _stream(self) -> Batch | None:
        return self.requests[-1].stream if self.requests else None

    def hold_body(self, holding: bool) -> None:
        """Read no more of the body for now, or go on."""
        if self._phase is not Phase.BODY:
            return
        if holding:
            self._deadline.clear()
            self._networkProducer.pauseProducing()
        else:
            self._body_began = self.site.clock.seconds()  # what did not come meanwhile was not asked for
            self.brought(0)
            self._networkProducer.resumeProducing()

    def pauseProducing(self) -> None:
        # Twisted would stop reading when an answer is not taken. A publisher that writes before it reads would wait for
        # us for ever, and we for it: the batch itself knows how much may be unread.
        if self._phase is Phase.BODY and self._stream is not None:
            self._waitingForTransport = True
        else:
            super().pauseProducing()

    def resumeProducing(self) -> None:
        if self._phase is Phase.BODY and self._stream is not None:
            self._waitingForTransport = False
        else:
            super().resumeProducing()

    def abort(self) -> None:
        """End the connection at once."""
        self.transport.abortConnection()

    def brought(self, received: int) -> None:
        if self._phase is Phase.BODY and self._stream is not None:
            self._deadline.after(self._limits.batch_pause)
        else:
            super().brought(received)

    def _overdue(self) -> None:
        if self._phase is Phase.BODY and self._stream is not None:
            self.site.counters.reached("batch_pause")
            self.loseConnection()  # its answer has begun
        else:
            super()._overdue()

    # -- answers

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        # Twisted gives the transport some thirty pieces, and each of them is looked at.
        lines = [b"%b %b %b" % (version, code, reason)]
        lines += [b"%b: %b" % (name, value) for name, values in headers.getAllRawHeaders() for value in values]
        lines.append(self.hardening)
        if not headers.hasHeader(b"content-security-policy"):
            lines.append(POLICY)
        self.transport.write(b"\r\n".join((*lines, b"", b"")))

    # -- the handover

    def upgrade(self, successor: IProtocol) -> None:
        """From now on ``successor`` has the connection: it is told of it, and of every byte that follows the head."""
        self._phase = Phase.UPGRADED
        self._deadline.stop()
        self.requests.clear()
        # Left registered, this channel would keep its successor from registering, and nobody would see a slow agent.
        self.transport.unregisterProducer()
        self._successor = successor
        # Where the transport can be told, this channel is forgotten: an idle agent then costs no HTTP.
        for owner in ("wrappedProtocol", "protocol"):
            if getattr(self.transport, owner, None) is self:
                setattr(self.transport, owner, successor)
        successor.makeConnection(self.transport)
