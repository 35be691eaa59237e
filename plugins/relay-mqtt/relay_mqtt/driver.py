"""paho's client on Twisted's reactor: it is told when its socket can be read or written, and when a second is over."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, Final

from paho.mqtt.client import Client
from twisted.internet.interfaces import IDelayedCall, IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

TICK: Final = 1.0  #: seconds between two looks at the keep-alive
PACKETS: Final = 100  #: read in one turn of the reactor


@implementer(IReadWriteDescriptor)
class Driver:
    """``start`` it when the client has a socket. ``broken`` is told why the client cannot go on."""

    def __init__(self, client: Client, reactor: Any, broken: Callable[[str], object]) -> None:
        self._client = client
        self._reactor = reactor
        self._broken = broken
        self._socket: Any = None  #: that the reactor looks at; None before it does, and after it
        self._holding = False
        self._timer: IDelayedCall | None = None
        client.on_socket_close = self._on_close
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write

    def start(self) -> None:
        """From now on the reactor looks after the client's socket."""
        self._socket = self._client.socket()
        self._timer = self._reactor.callLater(TICK, self._tick)
        if not self._holding:
            self._reactor.addReader(self)
        self._reactor.addWriter(self)

    def stop(self) -> None:
        """Close the socket, wherever the client stands: it may be in the middle of reading it."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        wire = self._socket
        if wire is not None:
            self._let_go()
            self._reactor.callLater(0, wire.close)

    def hold(self, holding: bool) -> None:
        """Read nothing more, or go on."""
        self._holding = holding
        if self._socket is None:
            return
        if holding:
            self._reactor.removeReader(self)
        else:
            self._reactor.addReader(self)
            if self._decrypted():
                self._reactor.callLater(0, self.doRead)

    def _let_go(self) -> None:
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._socket = None

    # -- what paho tells; while it connects, in a thread, there is no socket for us yet

    def _on_close(self, _client: Any, _: Any, _socket: Any) -> None:
        if self._socket is not None:
            self._let_go()

    def _on_register_write(self, _client: Any, _: Any, _socket: Any) -> None:
        if self._socket is not None:
            self._reactor.addWriter(self)

    def _on_unregister_write(self, _client: Any, _: Any, _socket: Any) -> None:
        if self._socket is not None:
            self._reactor.removeWriter(self)

    # -- what the reactor tells

    def fileno(self) -> int:
        return -1 if self._socket is None else int(self._socket.fileno())

    def logPrefix(self) -> str:
        return "mqtt"

    def doRead(self) -> None:
        for _ in range(PACKETS):
            if self._socket is None or self._holding:
                return
            self._guarded(self._client.loop_read)
            if not self._decrypted():
                return
        self._reactor.callLater(0, self.doRead)

    def _decrypted(self) -> bool:
        """Has TLS decrypted what nobody has taken yet? The reactor, which looks at the socket, does not know."""
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def doWrite(self) -> None:
        self._guarded(self._client.loop_write)

    def connectionLost(self, reason: Failure) -> None:
        self._broken(reason.getErrorMessage())

    def _tick(self) -> None:
        self._timer = self._reactor.callLater(TICK, self._tick)
        self._guarded(self._client.loop_misc)

    def _guarded(self, call: Callable[[], object]) -> None:
        """What a broker sends that paho cannot read is the end of the connection, and of nothing else."""
        try:
            call()
        except Exception as error:
            self._broken(f"{type(error).__name__}: {error}")
