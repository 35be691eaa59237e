"""A relay that asks for tokens, whole and on a fake clock: the real site, floor, checkpoint and token file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock

from relay.auth.checkpoint import Checkpoint
from relay.auth.tokens import TokenFile
from relay.core.limits import Limits
from relay.core.ports import TokenProvider
from relay.core.tokenfile import TokenEntry, digest_of, with_token, without_token
from tests.edge.support import CLOSE, FIXED_TIME, UPGRADE, Client, House, frame, frames, whole
from tests.edge.whole import Relay


@dataclass
class Notes:
    """An audit log that keeps what it is told."""

    lines: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def note(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.lines if name == event]


class Keys:
    """A token file in the making. The secret of a token is its name, and something to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = ""
        self.write()

    def add(self, name: str, **scopes: Any) -> str:
        """One more token; its secret."""
        secret = f"{name}.secret"
        self.text = with_token(self.text, TokenEntry(name, digest_of(secret), **scopes))
        self.write()
        return secret

    def remove(self, name: str) -> None:
        self.text = without_token(self.text, name)
        self.write()

    def write(self) -> None:
        self.path.write_text(self.text, encoding="utf-8")


class Guarded:
    """The house. ``more`` are further providers, asked after the token file."""

    def __init__(
        self, path: Path, more: Sequence[TokenProvider] = (), clock: MemoryReactorClock | None = None, **limits: Any
    ) -> None:
        self.clock = clock or MemoryReactorClock()
        self.audit = Notes()
        self.keys = Keys(path)
        self.file = TokenFile(str(path), wall=self.wall, audit=self.audit)
        self.limits = Limits(**limits)
        self.checkpoint = Checkpoint(
            [self.file, *more], clock=self.clock, wall=self.wall, limits=self.limits, audit=self.audit
        )
        self.house = House(authenticator=self.checkpoint, reactor=self.clock, limits=self.limits, audit=self.audit)
        self.relay = Relay(self.house, **limits)
        self.house.floor = self.relay.hub  # type: ignore[assignment]  # the real one
        self.house.__post_init__()

    def wall(self) -> float:
        return FIXED_TIME + self.clock.seconds()

    def add(self, name: str, **scopes: Any) -> str:
        """A token that is good from now on; its secret."""
        secret = self.keys.add(name, **scopes)
        self.file.reload()
        return secret

    def revoke(self, name: str) -> None:
        self.keys.remove(name)
        self.file.reload()

    def begin(self, method: str, path: str, token: str | None, body: bytes = b"", **headers: str | None) -> Client:
        """A request that may not be answered yet."""
        if token is not None:
            headers.setdefault("authorization", f"Bearer {token}")
        if body or method == "POST":
            headers = {"content_type": "application/json", "content_length": str(len(body)), **headers}
        client = self.house.connect()
        client.send(whole(method, path, "1.1", headers, body))
        self.relay.settle()
        return client

    def status(self, method: str, path: str, token: str | None, body: bytes = b"", **headers: str | None) -> int:
        """The status that a request is answered with, or begins to be."""
        said = self.begin(method, path, token, body, **headers).taken()
        return int(said.split(b" ")[1]) if said else 0

    def agent(self, *, token: str | None = None, **headers: str | None) -> Caller:
        """A WebSocket, upgraded with that token in its header."""
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        client = self.house.connect()
        client.send(whole("GET", "/v1/connect", "1.1", {**UPGRADE, **headers}, b""))
        self.relay.settle()
        return Caller(self, client)

    def pass_time(self, seconds: float) -> None:
        self.house.pass_time(seconds)

    def close(self) -> None:
        for client in self.house.clients:
            client.socket.hang_up()
        self.clock.advance(self.limits.auth_delay)  # who is answered late has gone
        self.relay.close()
        self.relay.settle()
        self.house.close()


class Caller:
    """The other end of a WebSocket."""

    def __init__(self, house: Guarded, client: Client) -> None:
        self.house = house
        self.client = client
        head, _, self._rest = client.taken().partition(b"\r\n\r\n")
        self.status = int(head.split(b" ")[1]) if head else 0
        self.head = head.decode("latin-1")
        self.closed: tuple[int, str] | None = None

    def say(self, type: str, **fields: Any) -> Caller:
        self.client.send(frame(json.dumps({"type": type, **fields}).encode()))
        self.house.relay.settle()
        return self

    def heard(self) -> list[dict[str, Any]]:
        """The frames since the last call; a close is noted."""
        found = []
        self.house.relay.settle()
        data, self._rest = self._rest + self.client.taken(), b""
        for opcode, payload in frames(data):
            if opcode == CLOSE:
                self.closed = (int.from_bytes(payload[:2], "big"), payload[2:].decode())
            elif opcode == 1:
                found.append(json.loads(payload))
        return found

    def end(self) -> tuple[int, str] | None:
        """Code and reason of the close, if the relay has closed."""
        self.heard()
        return self.closed
