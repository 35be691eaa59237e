"""A relay for the client's tests that does what the test says: the wire protocol over transports in memory.

Both ends are real Autobahn; bytes move between them only when the test moves them, and time passes only when it says.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionRequest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.test.iosim import ConnectionCompleter, IOPump

from relay.client import Agent, Feed, Joined, Message, Parted, Settings

URL = "http://127.0.0.1:8080"
PORT = 8080
LIFE = {"created_at": "2026-01-01T00:00:00.000Z", "expires_at": "2026-01-08T00:00:00.000Z"}


class RelayTwin(WebSocketServerProtocol):
    """The relay's end of one connection: it notes what comes, and says what the test tells it to."""

    def __init__(self) -> None:
        super().__init__()
        self.request: ConnectionRequest | None = None
        self.frames: list[dict[str, Any]] = []
        self.pongs: list[bytes] = []
        self.closed_with: int | None = None
        self.gone = False

    def onConnect(self, request: ConnectionRequest) -> str | None:
        self.request = request
        return "relay.v1" if "relay.v1" in request.protocols else None

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        assert not isBinary
        self.frames.append(json.loads(payload))

    def onPong(self, payload: bytes) -> None:
        self.pongs.append(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.closed_with, self.gone = code, True

    def take(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The frames (of that type) that came since they were last taken, and forget them."""
        taken = [frame for frame in self.frames if kind in (None, frame["type"])]
        self.frames = [frame for frame in self.frames if frame not in taken]
        return taken


class TwinFactory(WebSocketServerFactory):
    def __init__(self, reactor: MemoryReactorClock) -> None:
        super().__init__("ws://127.0.0.1:8080", protocols=["relay.v1"], reactor=reactor)
        self.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0, failByDrop=False)
        self.connections: list[RelayTwin] = []

    def buildProtocol(self, addr: object) -> RelayTwin:
        twin = RelayTwin()
        twin.factory = self
        self.connections.append(twin)
        return twin


class Answering(Protocol):
    """Answers whatever is asked with the bytes that it was made with."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.gone = False

    def connectionLost(self, reason: object = None) -> None:
        self.gone = True

    def dataReceived(self, data: bytes) -> None:
        answer, self.answer = self.answer, b""
        if self.transport is not None:
            self.transport.write(answer)


@dataclass
class Stage:
    """An agent, a relay and the time between them."""

    settings: Settings = field(default_factory=Settings)
    handler: Callable[[Message], Any] | None = None  # content at once, unless something else is given …
    slow: bool = False  # … or until the test lets it go on
    chance: Callable[[], float] = lambda: 0.5
    token: Any = None
    url: str = URL
    feed: bool = False  # a session that only publishes, in place of the agent

    def __post_init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self.reactor.listenTCP(PORT, twin := TwinFactory(self.reactor))
        self.twin = twin
        self.completer = ConnectionCompleter(self.reactor)
        self.pumps: list[IOPump] = []
        self.messages: list[Message] = []
        self.notices: list[Joined | Parted] = []
        self.pending: dict[str, Deferred[None]] = {}
        around: dict[str, Any] = {
            "reactor": self.reactor,
            "settings": self.settings,
            "token": self.token,
            "notice": self.notices.append,
            "chance": self.chance,
            "endpoint": TCP4ClientEndpoint(self.reactor, "127.0.0.1", PORT),
        }
        handler = self.handler or (self.hold if self.slow else self.collect)
        self.agent = Agent(self.url, "desk-1", handler, **around)
        self.presence: Agent | Feed = Feed(self.url, **around) if self.feed else self.agent

    async def collect(self, message: Message) -> None:
        """A handler that is content at once."""
        self.messages.append(message)

    async def hold(self, message: Message) -> None:
        """A handler that takes until the test lets it go on."""
        self.messages.append(message)
        self.pending[message.id] = Deferred()
        await self.pending[message.id]

    def let_go(self, id: str) -> None:
        """That message's handler returns."""
        self.pending[id].callback(None)
        self.flush()

    @property
    def relay(self) -> RelayTwin:
        """The relay's end of the newest connection."""
        return self.twin.connections[-1]

    def start(self) -> Stage:
        self.presence.startService()
        return self

    def connect(self) -> RelayTwin:
        """Let the attempt at a connection succeed."""
        pump = self.completer.succeedOnce()
        assert pump is not None, "nobody is connecting"
        self.pumps.append(pump)
        self.flush()
        return self.relay

    def register(self, **fields: Any) -> RelayTwin:
        """… and its registration, too."""
        relay = self.connect()
        # A long heartbeat: only tests of silence are about silence.
        self.say("registered", **{"agent": "desk-1", "session": f"s{len(self.pumps)}", "heartbeat": 3600, **fields})
        return relay

    def answer_with(self, answer: bytes) -> Answering:
        """Let the attempt at a connection be answered with these bytes, and nothing else."""
        self.reactor.tcpServers[0] = (PORT, Factory.forProtocol(lambda: Answering(answer)), 50, "")
        pump = self.completer.succeedOnce()
        assert pump is not None, "nobody is connecting"
        self.pumps.append(pump)
        self.flush()
        self.reactor.tcpServers[0] = (PORT, self.twin, 50, "")
        server: Answering = pump.server
        return server

    def say(self, kind: str, **fields: Any) -> None:
        """Send a frame to the agent."""
        self.say_raw(json.dumps({"type": kind, **fields}).encode())

    def say_raw(self, frame: bytes) -> None:
        self.relay.sendMessage(frame)
        self.flush()

    def push(self, id: str, payload: Any = "hello", **fields: Any) -> None:
        """Send a message to the agent."""
        content_type = fields.pop("content_type", "text/plain")
        self.say("message", id=id, payload=payload, content_type=content_type, **{**LIFE, **fields})

    def close(self, code: int, reason: str = "") -> None:
        """Close the newest connection as a relay does, also with codes that Autobahn would not send."""
        self.relay.sendCloseFrame(code, reason.encode())
        self.flush()
        self.drop()

    def drop(self) -> None:
        """Let the network lose the newest connection."""
        assert self.relay.transport is not None
        self.relay.transport.loseConnection()
        self.flush()

    def flush(self) -> None:
        for _ in range(10):
            for pump in self.pumps:
                pump.flush()

    def advance(self, seconds: float) -> None:
        """Let time pass, in steps small enough that what falls due in between has its effect in between."""
        whole, rest = divmod(seconds, 0.25)
        for step in [0.25] * int(whole) + [rest]:
            self.reactor.advance(step)
            self.flush()

    def connecting(self) -> bool:
        """Is there an attempt at a connection under way?"""
        return bool(self.reactor.tcpClients)

    def parted(self) -> Parted:
        """The newest notice, which must be that of an end."""
        assert isinstance(self.notices[-1], Parted)
        return self.notices[-1]

    def stop(self) -> Deferred[None]:
        stopped = self.presence.stopService()
        self.flush()
        return stopped

    def finish(self) -> None:
        """Whatever became of the agent: it ends, and leaves no timer behind."""
        stopped = self.stop()
        for held in self.pending.values():
            if not held.called:
                held.callback(None)
        self.advance(30)
        assert stopped.called, "the agent did not stop"
        assert self.reactor.getDelayedCalls() == []
