"""Autobahn behind an adapter: frames and close codes in, calls of a conversation out (protocol 2).

Nothing is decided here. Autobahn's defaults are undone where they contradict the contract: it would drop the connection
where a close code is due, know no limits, and keep time on a clock of its own.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionRequest
from twisted.internet.interfaces import IReactorTime

from relay.core.counters import Counters
from relay.core.limits import Limits
from relay.core.ports import AgentConversation, Floor
from relay.core.session import Close
from relay.edge.idle import OVER, USUAL, strip
from relay.edge.transport import AgentWire
from relay.hub.turnstile import Turnstile

SUBPROTOCOL: Final = "relay.v1"
NO_CODE: Final = 1005  #: what a close frame without a code stands for (RFC 6455 section 7.1.5)

#: Ends that the floor is told of in one turn. Until then a session only seems to live: what is sent to it is as if it
#: had been lost on its way, and its wire says to a newcomer of the same name that it is gone.
END_AT_ONCE: Final = 16

#: The word that goes with each code that the adapter closes with by itself.
WORDS: Final = {
    1002: "protocol-error",
    1003: "binary",
    1007: "invalid-utf8",
    1009: "too-large",
    Close.ERRORS: "unfinished-message",
}


class AgentProtocol(WebSocketServerProtocol):
    """One agent's connection."""

    transport: Any
    wire: AgentWire
    conversation: AgentConversation
    limits: Limits
    token: str | None  #: came with the upgrade

    def onConnect(self, request: ConnectionRequest) -> str | None:
        return SUBPROTOCOL if SUBPROTOCOL in request.protocols else None

    def onOpen(self) -> None:
        self.wire = AgentWire(self, self.factory.reactor, self.limits)
        self.transport.registerProducer(self.wire, True)
        self.conversation = self.factory.hub.converse(self.wire, self.token)

    def dataReceived(self, data: bytes) -> None:
        self._dataReceived(data)
        if "is_open" in vars(self):
            strip(self)
        self.wire.read(self.inside_message)

    def onMessageBegin(self, is_binary: bool) -> None:
        super().onMessageBegin(is_binary)
        self.fragments = 0
        self.wire.read(False)
        if is_binary:
            self.fail(1003)

    def onMessageFrameBegin(self, length: int) -> None:
        super().onMessageFrameBegin(length)
        self.fragments += 1
        # Autobahn's own limit would also refuse to send what is larger, and a message to an agent may be.
        if self.message_data_total_length > self.limits.frame:
            self.fail(1009, limit="frame")
        elif self.fragments > self.limits.fragments:
            self.fail(Close.ERRORS, limit="fragments")

    def onMessageFrameEnd(self) -> None:
        super().onMessageFrameEnd()
        if not self.current_frame.fin:
            self.conversation.heard()

    def onMessageEnd(self) -> None:
        pieces, self.message_data = self.message_data, []
        if not self.failedByMe:
            self.conversation.received(b"".join(pieces))

    def onPing(self, payload: bytes) -> None:
        super().onPing(payload)
        self.conversation.heard()

    def onPong(self, payload: bytes) -> None:
        self.conversation.heard()

    def onClose(self, was_clean: bool, code: int | None, reason: str | None) -> None:
        self.wire.lost()
        said = self.localCloseCode if self.closedByMe else (self.remoteCloseCode or NO_CODE) if was_clean else None
        self.factory.farewells.passes(partial(self.conversation.lost, said, self.closedByMe))

    def sendCloseFrame(self, *said: Any, **named: Any) -> None:
        self.wire.flush()  # nothing may follow it
        super().sendCloseFrame(*said, **named)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        # Autobahn's own formats three strings in colour for each frame, for a log that is off.
        self.transport.write(data)
        if self.state != self.STATE_CONNECTING:
            self.wire.given += len(data)

    def fail(self, code: int = 1002, reason: str = "", *, limit: str | None = None) -> None:
        """Close because of what the agent sent; whatever else it sends is skipped. ``limit``: the one it reached."""
        self.failedByMe = True
        self.wire.close(code, WORDS[code], limit)

    _fail_connection = fail  # Autobahn's own would drop the connection at a second complaint, before the first is read

    def _closeConnection(self, abort: bool = False) -> None:
        self.wire.end()  # to abort at the end of a close handshake may take back what was said last


class AgentFactory(WebSocketServerFactory):
    """Makes the connections of one hub's agents."""

    def __init__(
        self,
        hub: Floor,
        limits: Limits,
        clock: IReactorTime,
        counters: Counters,
        kind: type[AgentProtocol] = AgentProtocol,
    ) -> None:
        super().__init__(server="", reactor=clock)
        self.hub = hub
        self.counters = counters
        self.farewells = Turnstile(clock, END_AT_ONCE)
        # Its own timers are off (0): they follow another clock, and round.
        self.setProtocolOptions(failByDrop=False, webStatus=False, openHandshakeTimeout=0, closeHandshakeTimeout=0)
        # Autobahn copies some thirty options into every connection, and formats them for a log that is off: two thirds
        # of the cost of a handshake. So they stand on a class, and there is nothing left to copy.
        options = {name: getattr(self, name) for name in kind.CONFIG_ATTRS}
        self._kind = type("AgentProtocol", (kind,), {**options, **USUAL, **OVER, "CONFIG_ATTRS": (), "limits": limits})

    def make(self, token: str | None = None) -> AgentProtocol:
        """One connection, not yet connected. ``token`` came with its upgrade."""
        protocol: AgentProtocol = self._kind()
        protocol.factory = self
        protocol.token = token
        return protocol
