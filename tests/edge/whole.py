"""The doors over the real floor, on one fake clock: a publisher by raw HTTP, agents frame by frame."""

from __future__ import annotations

import json
import random
from typing import Any

from relay.core.limits import Limits
from relay.hub.service import Hub
from relay.store.memory import MemoryStore
from tests.edge.support import FIXED_TIME, Answer, Client, House, get, post, request
from tests.hub.support import Wire


class Agent:
    """An agent on a wire in memory."""

    def __init__(self, relay: Relay, agent: str, fields: dict[str, Any]) -> None:
        self.wire = Wire()
        self.conversation = relay.hub.converse(self.wire)
        self.wire.conversation = self.conversation
        self.say("register", agent=agent, **fields)

    def say(self, kind: str, **fields: Any) -> None:
        self.conversation.received(json.dumps({"type": kind, **fields}).encode())

    def messages(self) -> list[dict[str, Any]]:
        return [frame for frame in self.wire.frames if frame["type"] == "message"]

    def ack_all(self, **fields: Any) -> None:
        for message in self.messages():
            self.say("ack", id=message["id"], **fields)


class Relay:
    """A hub over the memory store behind the doors."""

    def __init__(self, house: House, **limits: Any) -> None:
        self.house = house
        self.clock = house.reactor
        self.store = MemoryStore()
        self.limits = Limits(**limits)
        self.hub = Hub(
            store=self.store,
            authenticator=house.authenticator,
            audit=house.audit,
            clock=self.clock,
            wall=lambda: FIXED_TIME + self.clock.seconds(),
            random=random.Random(1),
            limits=self.limits,
            ack_timeout=5.0,
            heartbeat=30.0,
            on_duplicate="reject",
            node="n1",
            server="relay-test",
        )
        self.hub.start()

    def agent(self, name: str = "desk-1", **fields: Any) -> Agent:
        return Agent(self, name, fields)

    def ask(self, data: bytes) -> Answer:
        """The answer to a request, once the turn is over."""
        client = self.begin(data)
        return client.answer(data.split(b" ")[0].decode())

    def begin(self, data: bytes) -> Client:
        """A request that may not be answered yet."""
        client = self.house.connect()
        client.send(data)
        self.settle()
        return client

    def settle(self) -> None:
        """Let what was put off to the end of the turn happen."""
        for _ in range(3):
            self.clock.advance(0)
            for client in self.house.clients:
                client.socket.run()

    def post(self, body: bytes = b"1", agent: str = "desk-1", **headers: str | None) -> Answer:
        return self.ask(post(agent, body, **headers))

    def get(self, path: str, **headers: Any) -> Answer:
        return self.ask(get(path, **headers))

    def delete(self, path: str) -> Answer:
        return self.ask(request("DELETE", path, b""))

    def pass_time(self, seconds: float) -> None:
        self.house.pass_time(seconds)

    def close(self) -> None:
        self.hub.close()


def unchunked(data: bytes) -> tuple[str, bytes]:
    """The head of an answer in chunks, and its body as far as it came."""
    head, _, rest = data.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower()
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return head.decode("ascii"), body
