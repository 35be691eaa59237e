"""The doors without a kernel: a real site, Twisted's own buffers, raw bytes in and out, and time that stands still.

``Socket`` is a connection in memory. It inherits Twisted's ``FileDescriptor``, so that buffering, producers and the
ways of disconnecting are the real ones; only the system calls are played. ``DeskFloor`` is a floor in the small: it
keeps what it is given and answers as it was told.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.tcp import _AbortingMixin
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.auth.audit import AuditLog
from relay.auth.open import OpenHouse
from relay.core.access import Grant
from relay.core.limits import Limits
from relay.core.model import AgentView, Outcome, Readiness, Reason, Submission
from relay.core.ports import AgentTransport, Audit, Authenticator, Floor, Tell
from relay.core.problems import Problem
from relay.edge.site import make_site

FIXED_TIME = 1_700_000_000.0


@implementer(ITCPTransport)
class Socket(_AbortingMixin, FileDescriptor):
    """The relay's end of a connection, and what its peer does."""

    def __init__(self, reactor: MemoryReactorClock, peer: str = "192.0.2.7") -> None:
        super().__init__(reactor)
        self.peer = peer
        self.clock = reactor
        self.protocol: Any = None
        self.room: int | None = None  #: bytes that the peer still takes; None = all
        self.sent = bytearray()
        self.half_closed = False
        self.lost = False
        self._incoming = bytearray()

    def open(self, protocol: Any) -> None:
        self.protocol = protocol
        self.connected = 1
        self.startReading()
        protocol.makeConnection(self)

    # -- what the peer does

    def deliver(self, data: bytes) -> None:
        """The peer sends this; what is not read stays in its kernel, as it were."""
        self._incoming += data
        self.run()

    def hang_up(self, reason: Exception | None = None) -> None:
        """The peer goes away."""
        if not self.lost:
            self.connectionLost(Failure(reason or ConnectionDone()))

    @property
    def reading(self) -> bool:
        return self in self.reactor.getReaders()

    @property
    def unread(self) -> int:
        return len(self._incoming)

    def run(self) -> None:
        """Let the reactor read and write until nothing moves."""
        moved = True
        while moved and not self.lost:
            before = self._state()
            if self.reading and self._incoming:
                data = bytes(self._incoming[: self.bufferSize])
                del self._incoming[: self.bufferSize]
                self.protocol.dataReceived(data)
            if not self.lost and self in self.reactor.getWriters():
                ended = self.doWrite()
                if ended is not None:
                    self.connectionLost(Failure(ended))
            self.clock.advance(0)
            moved = before != self._state()

    def _state(self) -> tuple[int, int, bool, bool]:
        return len(self._incoming), len(self.sent), self.reading, self in self.reactor.getWriters()

    # -- what the kernel does

    def writeSomeData(self, data: bytes) -> int:
        taken = len(data) if self.room is None else min(self.room, len(data))
        self.sent += data[:taken]
        if self.room is not None:
            self.room -= taken
        return taken

    def _closeWriteConnection(self) -> None:
        self.half_closed = True

    def connectionLost(self, reason: Failure) -> None:
        self.lost = True
        super().connectionLost(reason)
        self.protocol.connectionLost(reason)

    def getPeer(self) -> IPv4Address | IPv6Address:
        return (IPv6Address if ":" in self.peer else IPv4Address)("TCP", self.peer, 5000)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 8080)

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass

    def getTcpKeepAlive(self) -> bool:
        return False


@dataclass
class Conversation:
    """An agent's conversation that keeps what it is told."""

    transport: AgentTransport
    frames: list[bytes] = field(default_factory=list)
    heard_count: int = 0
    drained_count: int = 0
    ends: list[tuple[int | None, bool]] = field(default_factory=list)
    on_frame: Callable[[bytes], object] = lambda _: None
    token: str | None = None
    grants: list[Grant] = field(default_factory=list)

    def received(self, *frames: bytes) -> None:
        for frame in frames:
            self.frames.append(frame)
            self.on_frame(frame)

    def granted(self, grant: Grant) -> None:
        self.grants.append(grant)

    def heard(self) -> None:
        self.heard_count += 1

    def drained(self) -> None:
        self.drained_count += 1

    def lost(self, code: int | None, by_relay: bool) -> None:
        self.ends.append((code, by_relay))


@dataclass
class DeskFloor:
    """A floor that keeps what it is given. ``undecided`` submissions wait until a test says what became of them."""

    submissions: list[Submission] = field(default_factory=list)
    conversations: list[Conversation] = field(default_factory=list)
    views: dict[str, AgentView] = field(default_factory=dict)
    state: Readiness = field(default_factory=lambda: Readiness(True, True))
    refusal: Exception | None = None
    closed: Problem | None = None
    patient: bool = False
    undecided: list[Deferred[Outcome]] = field(default_factory=list)
    together: list[int] = field(default_factory=list)  #: how many lines came with each call
    outcome: Callable[[Submission], Outcome] = lambda submission: delivered(submission.agent)

    def submit(self, submission: Submission) -> Deferred[Outcome]:
        self.submissions.append(submission)
        if self.refusal is not None:
            raise self.refusal
        if self.patient:
            self.undecided.append(Deferred())
            return self.undecided[-1]
        return succeed(self.outcome(submission))

    def submit_all(self, lines: Sequence[Submission], tell: Tell) -> Callable[[], object]:
        self.together.append(len(lines))
        works = []
        for index, submission in enumerate(lines):
            try:
                work = self.submit(submission)
            except Problem as problem:
                tell([(index, problem)])
            else:
                works.append(work)
                work.addErrback(lambda failure: failure.value).addCallback(partial(_tell, tell, index))
        return partial(_cancel, works)

    def admit(self) -> None:
        if self.closed is not None:
            raise self.closed

    def admit_agent(self) -> None:
        self.admit()

    def converse(self, transport: AgentTransport, token: str | None = None) -> Conversation:
        self.conversations.append(Conversation(transport, token=token))
        return self.conversations[-1]

    async def agents(self, *, connected: bool | None, prefix: str, after: str, limit: int) -> list[AgentView]:
        found = [
            view
            for name, view in sorted(self.views.items())
            if name > after and name.startswith(prefix) and connected in (None, view.connected)
        ]
        return found[:limit]

    async def agent(self, agent: str) -> AgentView | None:
        return self.views.get(agent)

    def readiness(self) -> Readiness:
        return self.state


def _tell(tell: Tell, index: int, became: Outcome | Problem) -> None:
    tell([(index, became)])


def _cancel(works: Iterable[Deferred[Any]]) -> None:
    for work in works:
        work.cancel()


def delivered(agent: str) -> Outcome:
    return Outcome("m1", agent, "delivered", 1)


def queued(agent: str, reason: Reason = Reason.AWAY) -> Outcome:
    return Outcome("m1", agent, "queued", 0, reason)


def view(agent: str, connected: bool = False, **fields: Any) -> AgentView:
    nothing = dict.fromkeys(
        ("session", "since", "last_seen", "remote", "client", "node", "oldest_at", "transport"), None
    )
    return AgentView(
        **{"agent": agent, "connected": connected, "queued": 0, "queued_bytes": 0, "in_flight": 0, **nothing, **fields}
    )


@dataclass
class Answer:
    """An HTTP answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        assert self.headers["content-type"] == "application/problem+json"
        members = self.json
        assert members["status"] == self.status
        assert members["title"] and members["detail"]
        word: str = members["type"].removeprefix("/problems/")
        return word


@dataclass
class Client:
    """The other end of a ``Socket``."""

    socket: Socket
    _at: int = 0

    def send(self, data: bytes) -> None:
        self.socket.deliver(data)

    def taken(self) -> bytes:
        """What came since the last look."""
        data = bytes(self.socket.sent[self._at :])
        self._at = len(self.socket.sent)
        return data

    def answers(self, to: str = "GET") -> list[Answer]:
        """The HTTP answers that came since the last look."""
        return list(parse(self.taken(), to))

    def answer(self, to: str = "GET") -> Answer:
        (answer,) = self.answers(to)
        return answer

    def ask(self, data: bytes) -> Answer:
        self.send(data)
        return self.answer(data.split(b" ")[0].decode())

    @property
    def closed(self) -> bool:
        return self.socket.lost


def parse(data: bytes, to: str) -> Iterator[Answer]:
    while data:
        head, gap, data = data.partition(b"\r\n\r\n")
        assert gap, head
        line, *fields = head.decode("ascii").split("\r\n")
        version, status, _ = line.split(" ", 2)
        assert version in ("HTTP/1.1", "HTTP/1.0")
        headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
        assert len(headers) == len(fields), "no header stands twice"
        assert "transfer-encoding" not in headers
        length = int(headers.get("content-length", 0)) if to != "HEAD" else 0
        assert len(data) >= length
        yield Answer(int(status), headers, data[:length])
        data = data[length:]


@dataclass
class House:
    """The doors over a desk floor."""

    limits: Limits = field(default_factory=Limits)
    ack_timeout: float = 5.0
    names: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    fast_door: bool = True
    floor: DeskFloor = field(default_factory=DeskFloor)
    reactor: MemoryReactorClock = field(default_factory=MemoryReactorClock)
    clients: list[Client] = field(default_factory=list)
    authenticator: Authenticator = field(default_factory=OpenHouse)
    audit: Audit = field(default_factory=lambda: AuditLog(200))

    def __post_init__(self) -> None:
        self.site = make_site(
            hub=cast(Floor, self.floor),  # it plays what these tests ask for
            authenticator=self.authenticator,
            audit=self.audit,
            limits=self.limits,
            ack_timeout=self.ack_timeout,
            clock=self.reactor,
            wall=lambda: FIXED_TIME + self.reactor.seconds(),
            names=self.names,
            origins=self.origins,
            fast_door=self.fast_door,
        )
        self.site.doStart()

    def connect(self, peer: str = "192.0.2.7", *, proxied: bool = False, run: bool = True) -> Client:
        """A connection from that address; ``proxied``: it speaks the PROXY protocol first. ``run``: a turn passes."""
        socket = Socket(self.reactor, peer)
        factory = HAProxyWrappingFactory(self.site) if proxied else self.site
        socket.open(factory.buildProtocol(socket.getPeer()))
        if run:
            socket.run()
        self.clients.append(Client(socket))
        return self.clients[-1]

    def ask(self, data: bytes) -> Answer:
        """The answer to one request on a connection of its own."""
        return self.connect().ask(data)

    def pass_time(self, seconds: float) -> None:
        """In small steps, so that what a timer starts has its own time."""
        steps = round(seconds * 10)
        for _ in range(steps):
            self.reactor.advance(0.1)
            for client in self.clients:
                client.socket.run()

    def close(self) -> None:
        """Everybody goes; nothing may be left behind."""
        for client in self.clients:
            client.socket.hang_up(ConnectionLost())
        self.site.doStop()
        assert self.reactor.getDelayedCalls() == []
        assert self.reactor.getReaders() == []
        assert self.reactor.getWriters() == []


def get(path: str, *, method: str = "GET", version: str = "1.1", **headers: str | None) -> bytes:
    """A request without a body. Headers are given as ``content_type=…``; None leaves one out."""
    return whole(method, path, version, headers, b"")


def post(agent: str, body: bytes, **headers: str | None) -> bytes:
    """A message for an agent; JSON unless it is said otherwise."""
    return request("POST", f"/v1/agents/{agent}/messages", body, **{"content_type": "application/json", **headers})


def request(method: str, path: str, body: bytes, **headers: str | None) -> bytes:
    """A request with a body, whose length is said unless it is given."""
    return whole(method, path, "1.1", {"content_length": str(len(body)), **headers}, body)


def whole(method: str, path: str, version: str, headers: dict[str, str | None], body: bytes) -> bytes:
    fields = {"host": "localhost", **headers}
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items() if value is not None]
    return f"{method} {path} HTTP/{version}\r\n{''.join(lines)}\r\n".encode() + body


# -- frames

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0
UPGRADE = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec_websocket_version": "13",
}


def upgrade(**headers: str | None) -> bytes:
    return whole("GET", "/v1/connect", "1.1", {**UPGRADE, **headers}, b"")


def frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True, key: bytes | None = b"\x11\x22\x33\x44") -> bytes:
    """One frame of an agent: masked, unless ``key`` is None."""
    masked = 0x80 if key else 0
    if len(payload) < 126:
        length = struct.pack("!B", masked | len(payload))
    elif len(payload) < 65536:
        length = struct.pack("!BH", masked | 126, len(payload))
    else:
        length = struct.pack("!BQ", masked | 127, len(payload))
    if key:
        size = len(payload)
        stream = (key * (size // 4 + 1))[:size]
        payload = (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")
    return bytes([(0x80 if fin else 0) | opcode]) + length + (key or b"") + payload


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """The relay's frames: (opcode, payload)."""
    found = []
    at = 0
    while at < len(data):
        first, size = data[at], data[at + 1]
        assert first & 0x80, "the relay sends no fragments"
        assert not size & 0x80, "the relay masks nothing"
        at += 2
        if size > 125:
            width = "!H" if size == 126 else "!Q"
            (size,) = struct.unpack_from(width, data, at)
            at += struct.calcsize(width)
        assert len(data) >= at + size
        found.append((first & 15, data[at : at + size]))
        at += size
    return found


@dataclass
class Agent:
    """A client whose connection was upgraded."""

    client: Client
    conversation: Conversation
    head: str

    @property
    def socket(self) -> Socket:
        return self.client.socket

    def send(self, *data: bytes) -> None:
        self.client.send(b"".join(data))

    def frames(self) -> list[tuple[int, bytes]]:
        """What the relay sent since the last look."""
        return frames(self.client.taken())

    def close_code(self) -> int:
        """The code of the close frame that must be the last thing that came."""
        opcode, payload = self.frames()[-1]
        assert opcode == CLOSE
        assert payload[2:].decode("ascii")
        return int.from_bytes(payload[:2], "big")


def join(house: House, after: bytes = b"", **headers: str | None) -> Agent:
    """An agent's connection; ``after`` follows the upgrade in its segment."""
    client = house.connect()
    client.send(upgrade(**headers) + after)
    head, gap, _ = bytes(client.socket.sent).partition(b"\r\n\r\n")
    assert gap and head.startswith(b"HTTP/1.1 101 "), head
    client._at = len(head) + 4
    return Agent(client, house.floor.conversations[-1], head.decode())
