"""A publisher of the plainest kind: ``http.client``, and a bare socket for what no decent client would send."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

PATIENCE = 45.0  #: seconds until a test gives up on an answer: more than the longest wait of a POST


@dataclass(frozen=True)
class Answer:
    """An HTTP answer. ``headers`` have names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def problem(self) -> str:
        """The problem's word. Every refusal must be a problem in the manner of RFC 9457, without a trace or a path."""
        assert self.headers.get("content-type") == "application/problem+json", (self.status, self.headers, self.body)
        told = self.json
        assert told["status"] == self.status
        assert told["title"] and told["detail"]
        assert "Traceback" not in told["detail"] and "site-packages" not in told["detail"]
        if self.status in (429, 503):
            assert int(self.headers["retry-after"]) >= 0
        return str(told["type"]).removeprefix("/problems/")

    @property
    def outcome(self) -> str:
        """``delivered``, ``queued: away`` and so on; ``404 not-found`` for a problem."""
        if self.status >= 400:
            return f"{self.status} {self.problem}"
        told = self.json
        assert self.headers["relay-status"] == told["status"]
        assert self.headers["location"] == f"/v1/messages/{told['id']}"
        return ": ".join(filter(None, [told["status"], told.get("reason")]))


def request(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()


def get(port: int, path: str, headers: Mapping[str, str] | None = None) -> Answer:
    return request(port, "GET", path, headers=headers)


def post(
    port: int,
    agent: str,
    payload: bytes | str,
    *,
    wait: float | None = None,
    content_type: str | None = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """POST one message. ``wait`` is ``Prefer: wait``; None leaves it to the relay."""
    body = payload.encode() if isinstance(payload, str) else payload
    told = {} if content_type is None else {"Content-Type": content_type}
    if wait is not None:
        told["Prefer"] = f"wait={wait}"
    return request(port, "POST", f"/v1/agents/{agent}/messages", body, {**told, **(headers or {})})


def dial(port: int, timeout: float = PATIENCE) -> socket.socket:
    """A bare connection."""
    found = socket.create_connection(("127.0.0.1", port), timeout)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found


def rest_of(line: socket.socket, limit: int = 1 << 20) -> bytes:
    """Everything that still comes until the other side ends the connection, by a reset too."""
    taken = bytearray()
    while len(taken) < limit:
        try:
            chunk = line.recv(65536)
        except ConnectionError:
            break
        if not chunk:
            break
        taken += chunk
    return bytes(taken)


def take_answer(line: socket.socket, taken: bytes = b"") -> tuple[Answer, bytes]:
    """The next whole answer on a bare connection, and what came after it. ``taken`` was read already."""
    while b"\r\n\r\n" not in taken:
        taken += more(line)
    head, _, rest = taken.partition(b"\r\n\r\n")
    found = parse_head(head)
    size = int(found.headers.get("content-length", 0))
    while len(rest) < size:
        rest += more(line)
    return replace(found, body=rest[:size]), rest[size:]


def more(line: socket.socket) -> bytes:
    chunk = line.recv(65536)
    if not chunk:
        raise ConnectionError("the connection was ended without an answer")
    return chunk


def parse_head(head: bytes) -> Answer:
    """An answer without its body."""
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Answer(int(first.split(" ")[1]), headers, b"")


def converse(port: int, data: bytes) -> Answer:
    """Send these bytes, then take the answer to them."""
    with dial(port) as line:
        line.sendall(data)
        return take_answer(line)[0]


def settle(port: int) -> None:
    """Return once everything that the relay was asked to write down before is written.

    Writes take effect in order: a durable POST to nobody is answered after all that went before it.
    """
    assert post(port, "nobody", "0", wait=0).outcome == "queued: away"
