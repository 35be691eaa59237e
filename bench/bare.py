"""The least that a Twisted server can do for a round trip: what the relay's figures are bounded by.

The stock reactor, two expressions, one dictionary of agents and one of messages under way. No parser, no limits, no
authentication, no time, nothing kept. It speaks with the bench's own clients alone: it trusts every byte.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import itertools
import re
from typing import Any, Final

import msgspec
from twisted.internet import protocol, reactor

TARGET: Final = re.compile(rb"POST /v1/agents/([^/]+)/")
KEY: Final = re.compile(rb"Sec-WebSocket-Key: (\S+)", re.IGNORECASE)
MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
UPGRADE: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Protocol: relay.v1\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)
MESSAGE: Final = (
    b'{"type":"message","id":"%b","payload":%b,"content_type":"application/json","queued":false,"attempt":1,'
    b'"created_at":"2026-01-01T00:00:00.000Z","expires_at":"2026-01-08T00:00:00.000Z"}'
)
OUTCOME: Final = b'{"id":"%b","status":"delivered","attempts":1}'
ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nRelay-Status: delivered\r\n"
    b"Location: /v1/messages/%b\r\nContent-Length: %d\r\n\r\n%b"
)


class Bare(protocol.Protocol):
    """A publisher's connection, or, once it was upgraded, an agent's."""

    transport: Any
    agents: Final[dict[bytes, Bare]] = {}
    waiting: Final[dict[bytes, Bare]] = {}
    ids = itertools.count()
    upgraded = False

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        if self.upgraded:
            while data:
                data = self._frame(data)
        elif (target := TARGET.match(data)) is not None:
            id = b"%036d" % next(self.ids)
            self.waiting[id] = self
            frame = MESSAGE % (id, data[data.index(b"\r\n\r\n") + 4 :])
            self.agents[target[1]].transport.writeSomeData(head(frame) + frame)
        else:
            key = KEY.search(data)
            assert key is not None, data
            self.upgraded = True
            self.transport.write(UPGRADE % base64.b64encode(hashlib.sha1(key[1] + MAGIC).digest()))

    def _frame(self, data: bytes) -> bytes:
        """Take a frame; what follows it is returned."""
        length, at = data[1] & 127, 2
        if length == 126:
            length, at = int.from_bytes(data[2:4], "big"), 4
        mask, hidden, rest = data[at : at + 4], data[at + 4 : at + 4 + length], data[at + 4 + length :]
        stream = (mask * (length // 4 + 1))[:length]
        text = (int.from_bytes(stream, "big") ^ int.from_bytes(hidden, "big")).to_bytes(length, "big")
        if text.startswith(b'{"type":"ack"'):
            at = text.index(b'"id":"') + 6
            id = text[at : at + 36]
            outcome = OUTCOME % id
            self.waiting.pop(id).transport.writeSomeData(ANSWER % (id, len(outcome), outcome))
        elif b'"register"' in text:
            agent = msgspec.json.decode(text)["agent"]
            self.agents[agent.encode()] = self
            told = msgspec.json.encode({"type": "registered", "agent": agent, "session": "s", "queued": 0})
            self.transport.write(head(told) + told)
        return rest


def head(text: bytes) -> bytes:
    """The first bytes of a text frame, of less than 64 KiB."""
    return bytes((0x81, len(text))) if len(text) < 126 else b"\x81\x7e" + len(text).to_bytes(2, "big")


def main() -> None:
    factory = protocol.ServerFactory()
    factory.protocol = Bare
    port: Any = reactor.listenTCP(0, factory, backlog=4096, interface="127.0.0.1")
    print(f"relay listening on http://127.0.0.1:{port.getHost().port}", flush=True)
    gc.freeze()
    reactor.run()


if __name__ == "__main__":
    main()
