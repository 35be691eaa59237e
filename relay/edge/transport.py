"""What a conversation may do to its wire: the hub's ``AgentTransport`` over one Autobahn protocol."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IAddress, IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from relay.core.limits import Limits
from relay.core.session import Close
from relay.edge.deadline import Deadline
from relay.edge.visitors import Leave

if TYPE_CHECKING:
    from relay.edge.websocket import AgentProtocol


MUCH: Final = 2 * FileDescriptor.bufferSize  #: bytes
SOON_BYTES: Final = 65536  #: with so many what waits for the end of the turn leaves at once


class Brake(enum.Flag):
    """Why nothing is read from an agent."""

    NONE = 0
    CHOKED = enum.auto()  #: its socket takes nothing: what it says would only be answered into memory
    HELD = enum.auto()  #: the hub wants nothing more for now


class Gone:
    """Stands for a protocol whose connection is gone: nothing can be said to it, and nothing waits in it."""

    state = WebSocketProtocol.STATE_CLOSED
    transport = None


_GONE: Final[Any] = Gone()


@implementer(IPushProducer)
class AgentWire:
    """One agent's wire. It is the producer of its transport, which says when the socket takes nothing more."""

    __slots__ = (
        "_brakes",
        "_clock",
        "_limits",
        "_protocol",
        "_soon",
        "_soon_size",
        "_taken",
        "_turn",
        "deadline",
        "given",
        "holds",
        "kind",
        "leave",
        "peer",
    )

    def __init__(self, protocol: AgentProtocol, clock: IReactorTime, limits: Limits) -> None:
        self.peer = name_of(protocol.transport.getPeer())
        self.kind = "websocket"
        self.holds = True
        self.leave: Leave = lambda: None  #: called when the connection is gone
        self.deadline = Deadline(clock, self._overdue)
        self._clock = clock
        self._protocol = protocol
        self._limits = limits
        self._brakes = Brake.NONE
        self.given = 0  #: bytes that were written since the upgrade
        self._taken = 0
        self._soon: list[bytes] | None = None  #: what leaves together, at the end of the turn …
        self._soon_size = 0  #: … and its bytes
        self._turn: IDelayedCall | None = None

    # -- what the hub may do

    def takes(self) -> bool:
        return True  # what the socket does not take waits here, and is counted by ``unsent``

    def alive(self) -> bool | None:
        return False if self._protocol is _GONE else None

    def send(self, *frames: bytes) -> None:
        protocol = self._protocol
        if protocol.state != WebSocketProtocol.STATE_OPEN:
            return
        if self._soon is not None:
            self.flush()
        if len(frames) == 1:
            protocol.sendData(_head_of(len(frames[0])) + frames[0])
        else:
            protocol.sendData(b"".join([piece for frame in frames for piece in (_head_of(len(frame)), frame)]))

    def send_soon(self, frame: bytes) -> None:
        if self._protocol.state != WebSocketProtocol.STATE_OPEN:
            return
        if self._soon is None:
            self._soon = []
            if self._turn is None:
                self._turn = self._clock.callLater(0, self._turn_is_over)
        self._soon.append(data := _head_of(len(frame)) + frame)
        self._soon_size += len(data)
        if self._soon_size >= SOON_BYTES:
            self.flush()

    def _turn_is_over(self) -> None:
        self._turn = None
        self.flush()

    def flush(self) -> None:
        """What was to be sent soon leaves."""
        soon, self._soon, self._soon_size = self._soon, None, 0
        if soon is not None and self._open():
            self._protocol.sendData(b"".join(soon))

    def ping(self) -> None:
        if self._open():
            self._protocol.sendPing()

    def close(self, code: int, reason: str, limit: str | None = None) -> None:
        if self._open():
            self._protocol.factory.counters.reached(limit)
            self._protocol.sendCloseFrame(code=code, reasonUtf8=reason.encode("ascii", "replace")[:123])
            self.deadline.after(self._limits.close_seconds)
            self.hold(False)  # or its answer would not be seen

    def abort(self) -> None:
        if self._protocol is not _GONE:
            self._protocol.transport.abortConnection()

    def unsent(self) -> int:
        return waiting_in(self._protocol.transport) + self._soon_size

    def taken(self) -> int:
        self._taken = max(self._taken, self.given - waiting_in(self._protocol.transport))
        return self._taken

    def hold(self, holding: bool) -> None:
        self._brake(self._brakes | Brake.HELD if holding else self._brakes & ~Brake.HELD)

    # -- what the protocol says

    def read(self, under_way: bool) -> None:
        """Something was read; is a message under way, of which the rest has not come?"""
        if not self._open():
            return
        if not under_way:
            self.deadline.clear()
        elif not self.deadline.is_set:
            self.deadline.after(self._limits.message_seconds)

    def end(self) -> None:
        """Nothing more is to be said. Ends the connection when all has left, or when it has had its time."""
        if self._protocol is _GONE:
            return
        self._protocol.transport.loseConnection()
        if not self._protocol.closedByMe:
            self.deadline.after(self._limits.close_seconds)

    def lost(self) -> None:
        """The connection is gone, and let go of: in a cycle with this it would stay until the collector comes."""
        self.deadline.stop()
        turn, self._turn, self._soon, self._soon_size = self._turn, None, None, 0
        if turn is not None:
            turn.cancel()
        self.leave()
        self._protocol = _GONE

    # -- what the transport says

    def pauseProducing(self) -> None:
        self._brake(self._brakes | Brake.CHOKED)

    def resumeProducing(self) -> None:
        self._brake(self._brakes & ~Brake.CHOKED)
        if self._protocol is not _GONE:
            self._protocol.conversation.drained()

    def stopProducing(self) -> None:
        pass  # the protocol is told of the lost connection too

    def _brake(self, brakes: Brake) -> None:
        before, self._brakes = self._brakes, brakes
        if self._protocol is _GONE or bool(before) == bool(brakes):
            return
        if brakes:
            self._protocol.transport.pauseProducing()
        else:
            self._protocol.transport.resumeProducing()

    def _overdue(self) -> None:
        if not self._open():
            self.abort()
        elif self._brakes:
            self.deadline.after(self._limits.message_seconds)  # the rest may have come long ago: we did not read
        else:
            self._protocol.fail(Close.ERRORS, limit="message_seconds")

    def _open(self) -> bool:
        return bool(self._protocol.state == WebSocketProtocol.STATE_OPEN)


def _head_of(size: int) -> bytes:
    """What stands before a text of so many bytes: whole, not masked (RFC 6455 section 5.2)."""
    if size < 126:
        return b"\x81%c" % size
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


def write_now(transport: Any, data: bytes) -> None:
    """Write to ``transport``, and to its socket at once if nothing is to be written before.

    Through the reactor a write costs two more system calls and a turn of its loop. What the socket does not take, and
    a socket that is broken, is left to the reactor.
    """
    if (
        isinstance(transport, FileDescriptor)
        and transport.connected
        and not (transport.dataBuffer or transport._tempDataLen or transport.disconnecting)
        and not (transport._writeDisconnecting or getattr(transport, "_aborting", False))
    ):
        taken = transport.writeSomeData(data)
        if taken == len(data):
            return
        if isinstance(taken, int):
            data = data[max(taken, 0) :]
    if data:
        transport.write(data)


def read_much(transport: Any) -> None:
    """Read twice as much as Twisted does from the socket of ``transport`` at a time, where that is its own.

    Of lines of a batch those for one agent that come together go together. Twice as much is as many lines as may be
    undecided; with more there are no more that go together.
    """
    if isinstance(transport, FileDescriptor):
        transport.bufferSize = MUCH


def waiting_in(transport: Any) -> int:
    """Bytes that were written to ``transport`` and that its socket has not taken.

    Twisted has no question for this: a producer learns that there is much, not how much. So its buffers are looked at:
    those of a TCP or UNIX connection, and under TLS those of each layer. Each is asked for its own alone: a layer
    answers for all that it wraps when it is asked by name.
    """
    if isinstance(transport, FileDescriptor):
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    waiting = 0
    while transport is not None:
        own = vars(transport)
        waiting += len(own.get("dataBuffer", b"")) - own.get("offset", 0) + own.get("_tempDataLen", 0)
        waiting += sum(map(len, own.get("_appSendBuffer", ())))
        waiting += sum(map(len, getattr(own.get("_aggregator"), "_buffer", ())))
        transport = own.get("transport")
    return waiting


def name_of(address: IAddress) -> str:
    """An address for people: ``127.0.0.1:5000``, ``[::1]:5000``, ``unix``."""
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    if host is None:
        return "unix"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
