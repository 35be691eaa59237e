"""Autobahn behind an adapter: frames in, frames out, one ending. It knows nothing of what the frames say.

Autobahn's own timers are all off: they follow a global reactor, and round to whole seconds. Ours run on the clock that
is handed in.
"""

from __future__ import annotations

import json
from typing import Any, Final, Protocol

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from relay import __version__
from relay.client.address import Address
from relay.client.policy import Ending
from relay.client.tokens import bearer
from relay.core.wire import SUBPROTOCOL

CLOSE_SECONDS: Final = 5.0  #: from a close frame to the end of the TCP connection
LONGEST_HEAD: Final = 65536  #: bytes of the answer to the upgrade
MOST_FRAGMENTS: Final = 1000  #: of one message

_TEXT: Final = 1  # RFC 6455 section 5.2
_PONG: Final = 10


class Link(Protocol):
    """What a conversation may do to its wire. No call raises, whatever the state of the connection."""

    def send(self, frame: bytes) -> None:
        """Send one text frame (UTF-8)."""

    def clogged(self) -> bool:
        """Does the wire take nothing at the moment? What can wait should."""

    def close(self) -> None:
        """End the session in order (1000). The connection is gone 5 s later, whatever the relay does."""

    def abort(self) -> None:
        """Drop the connection now."""


class Conversation(Protocol):
    """What a wire tells."""

    def connected(self, link: Link) -> None:
        """There is a connection; the upgrade is asked for."""

    def opened(self) -> None:
        """The upgrade has succeeded: frames may be sent."""

    def received(self, frame: bytes) -> None:
        """A whole text frame came (valid UTF-8, within the limit)."""

    def heard(self) -> None:
        """Something came, be it part of a frame."""

    def lost(self, ending: Ending) -> None:
        """The connection is gone, or never was. Called once."""


class LinkProtocol(WebSocketClientProtocol):
    """One connection. ``Link`` for the conversation, ``IPushProducer`` for the transport."""

    def __init__(self, conversation: Conversation, clock: IReactorTime) -> None:
        super().__init__()
        self._conversation = conversation
        self._clock = clock
        self._deadline: IDelayedCall | None = None
        self._paused = False
        self._ping: bytes | None = None  # the newest that could not be answered yet
        self._fragments = 0
        self._refusal = Ending()

    # what Autobahn calls

    def connectionMade(self) -> None:
        self._conversation.connected(self)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        self._conversation.heard()
        try:
            super().dataReceived(data)
        except UnicodeDecodeError:  # Autobahn's, of a head that is not text
            self.failHandshake("the answer to the upgrade is not HTTP")
        if self.state == self.STATE_CONNECTING and len(self.data) > LONGEST_HEAD:
            self.failHandshake(f"the answer to the upgrade is longer than {LONGEST_HEAD} bytes")

    def onOpen(self) -> None:
        self.registerProducer(self, True)
        self._conversation.opened()

    def onMessageBegin(self, isBinary: bool) -> None:
        self._fragments = 0
        super().onMessageBegin(isBinary)

    def onMessageFrameBegin(self, length: int) -> None:
        self._fragments += 1
        if self._fragments > MOST_FRAGMENTS:
            # Empty fragments without end pass every limit of size.
            self.abort()
        super().onMessageFrameBegin(length)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if not isBinary and self.state == self.STATE_OPEN:
            self._conversation.received(payload)

    def onPing(self, payload: bytes) -> None:
        # One unanswered ping is kept, the newest (RFC 6455 section 5.5.3), so that who sends pings and reads nothing
        # cannot fill our memory. Reading goes on: while two sides wait for each other to read, nothing moves any more.
        if self._paused:
            self._ping = payload
        else:
            self._write(_PONG, payload)

    def onCloseFrame(self, code: int, reason: bytes) -> bool | None:
        self._end_within(CLOSE_SECONDS)
        return super().onCloseFrame(code, reason)

    def failHandshake(self, reason: str) -> None:  # noqa: N802  # Autobahn calls it so
        self._refusal = _refusal(getattr(self, "http_status_line", ""), getattr(self, "http_headers", {}), self.data)
        super().failHandshake(reason)  # type: ignore[no-untyped-call]  # Autobahn's

    def onClose(self, was_clean: bool, code: int | None, reason: str | None) -> None:
        if self._refusal.status is not None:
            self._conversation.lost(self._refusal)
        elif was_clean and not self.failedByMe:
            self._conversation.lost(Ending(code=code, reason=reason or ""))
        else:
            ours = (self.localCloseReason or b"").decode(errors="replace") if self.failedByMe else ""
            self._conversation.lost(Ending(detail=ours or self.wasNotCleanReason or ""))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        super().connectionLost(reason)

    # what the transport calls

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        if self._ping is not None:
            payload, self._ping = self._ping, None
            self._write(_PONG, payload)

    def stopProducing(self) -> None:
        """The connection is gone: ``onClose`` tells."""

    # what the conversation calls

    def send(self, frame: bytes) -> None:
        self._write(_TEXT, frame)

    def clogged(self) -> bool:
        return self._paused

    def close(self) -> None:
        if self.state == self.STATE_OPEN:
            self.sendClose(1000)
            self._end_within(CLOSE_SECONDS)

    def abort(self) -> None:
        transport: Any = self.transport  # TCP or TLS: Autobahn's type knows neither
        if transport is not None:
            transport.abortConnection()

    def _write(self, opcode: int, payload: bytes) -> None:
        if self.state == self.STATE_OPEN:
            self.sendFrame(opcode=opcode, payload=payload)

    def _end_within(self, seconds: float) -> None:
        # A peer that does not read never sees our close, and a connection that is only lost in order never ends.
        if self._deadline is None:
            self._deadline = self._clock.callLater(seconds, self.abort)


class LinkFactory(WebSocketClientFactory):
    """Makes the one connection of one attempt. ``max_frame`` is in bytes, and counts for whole messages too."""

    noisy = False

    def __init__(
        self, address: Address, token: str | None, max_frame: int, conversation: Conversation, clock: IReactorTime
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]  # Autobahn's
            address.websocket,
            protocols=[SUBPROTOCOL],
            useragent=f"relay/{__version__}",
            headers=bearer(token),
            reactor=clock,
        )
        if ":" in address.host:
            self.host = f"[{address.host}]"  # Autobahn writes it into ``Host`` as it is
        self.setProtocolOptions(  # type: ignore[no-untyped-call]  # Autobahn's
            failByDrop=False,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            serverConnectionDropTimeout=0,
            maxFramePayloadSize=max_frame,
            maxMessagePayloadSize=max_frame,
        )
        self._conversation = conversation
        self._clock = clock

    def buildProtocol(self, addr: object) -> LinkProtocol:
        protocol = LinkProtocol(self._conversation, self._clock)
        protocol.factory = self
        return protocol


def _refusal(status_line: str, headers: dict[str, Any], data: bytes) -> Ending:
    """What the answer says that was no upgrade; of its body as much as has come."""
    words = status_line.split()
    if len(words) < 2 or not words[1].isdecimal() or words[1] == "101":
        return Ending()
    try:
        problem = json.loads(data.partition(b"\r\n\r\n")[2])
        detail = str(problem["detail"])
    except (ValueError, TypeError, KeyError, RecursionError):
        detail = ""
    return Ending(status=int(words[1]), retry_after=str(headers.get("retry-after", "")), detail=detail[:300])
