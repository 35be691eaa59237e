"""The WebSocket door: from a request to a conversation (protocol 2, RFC 6455 section 4.2).

Autobahn's own resource drops what follows the upgrade in its TCP segment, takes the body of an upgrade for frames, and
leaves the HTTP channel registered as the transport's producer. This one hands all of it over in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from relay.core.counters import Counters
from relay.core.limits import Limits
from relay.core.ports import Floor
from relay.core.problems import Problem
from relay.edge.access import token_of
from relay.edge.answer import Answer, of_problem
from relay.edge.request import DoorRequest
from relay.edge.visitors import Visitors
from relay.edge.websocket import SUBPROTOCOL, AgentFactory, AgentProtocol

VERSION: Final = "13"
#: What a subprotocol begins with that is a token: a web page can set no header on its upgrade. It is never chosen.
BEARER: Final = "bearer."

_KEY: Final = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes in base64


class UpgradeDoor:
    """``/v1/connect``: a whole and sound upgrade becomes an agent's connection, all else is told what is wrong."""

    def __init__(
        self,
        hub: Floor,
        limits: Limits,
        clock: IReactorTime,
        visitors: Visitors,
        counters: Counters,
        kind: type[AgentProtocol] = AgentProtocol,
    ) -> None:
        self._hub = hub
        self._visitors = visitors
        self._factory = AgentFactory(hub, limits, clock, counters, kind)

    def render(self, request: DoorRequest) -> None:
        """Answer the request, or take its connection over."""
        try:
            refusal = self._refusal(request)
            if refusal is None:
                key, chosen = _read(request)
                self._visitors.registers(request.channel.transport.getPeer())
                self._hub.admit_agent()
        except Problem as problem:
            refusal = of_problem(problem)
        if refusal is not None:
            request.answer(refusal)
            return
        protocol = self._factory.make(_token(request))
        request.channel.upgrade(protocol)
        protocol.dataReceived(_handshake(key, chosen))
        protocol.wire.leave = request.channel.visit.leave

    def _refusal(self, request: DoorRequest) -> Answer | None:
        """The answer to what is no upgrade at all, or none that this relay speaks."""
        if "websocket" not in _tokens(request.values(b"upgrade")):
            if request.method not in (b"GET", b"HEAD"):
                allow = (b"Allow", b"GET, HEAD, OPTIONS")
                if request.method == b"OPTIONS":
                    return Answer(204, (allow,))
                return of_problem(Problem("method-not-allowed", "this path takes GET, to upgrade to WebSocket"), allow)
            return _upgrade_required("this path speaks WebSocket: send Upgrade: websocket and Connection: Upgrade")
        versions = request.values(b"sec-websocket-version")
        if request.method == b"GET" and len(versions) == 1 and versions[0].isdecimal() and versions[0] != VERSION:
            return _upgrade_required(f"this relay speaks version {VERSION} of WebSocket")
        return None


def _upgrade_required(detail: str) -> Answer:
    return of_problem(
        Problem("upgrade-required", detail),
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Version", VERSION.encode("ascii")),
    )


def _read(request: DoorRequest) -> tuple[str, bool]:
    """The key, and whether our subprotocol was offered. Raises Problem (``invalid-request``)."""
    if request.method != b"GET" or request.clientproto != b"HTTP/1.1":
        raise _refused("it must be a GET by HTTP/1.1")
    if request.body or request.requestHeaders.hasHeader(b"transfer-encoding"):
        raise _refused("it must have no body")
    if "upgrade" not in _tokens(request.values(b"connection")):
        raise _refused("Connection must be Upgrade")
    if request.values(b"sec-websocket-version") != [VERSION]:
        raise _refused(f"Sec-WebSocket-Version must be {VERSION}, once")
    keys = request.values(b"sec-websocket-key")
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise _refused("Sec-WebSocket-Key must be 16 bytes in base64, once")
    offers = request.values(b"sec-websocket-protocol")
    chosen = SUBPROTOCOL in _tokens(offers, fold=False)
    if offers and not chosen:
        raise _refused(f"Sec-WebSocket-Protocol must offer {SUBPROTOCOL}, or nothing")
    return keys[0], chosen


def _token(request: DoorRequest) -> str | None:
    """The token that comes with the upgrade: in a header, or, from a browser, as a subprotocol beside ours."""
    token = token_of(request)
    if token is not None:
        return token
    offers = _tokens(request.values(b"sec-websocket-protocol"), fold=False)
    offered = [offer.removeprefix(BEARER) for offer in offers if offer.startswith(BEARER)]
    # Two of them are none that anybody knows.
    return " ".join(offered) if offered else None


def _refused(rule: str) -> Problem:
    return Problem("invalid-request", f"the upgrade to WebSocket is malformed: {rule}")


def _tokens(values: Iterable[str], fold: bool = True) -> set[str]:
    return {(token.lower() if fold else token).strip() for value in values for token in value.split(",")}


def _handshake(key: str, chosen: bool) -> bytes:
    """A head for Autobahn, made of what was found good: but for the key it sees nothing that a stranger wrote."""
    offer = f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n" if chosen else ""
    return (
        "GET /v1/connect HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: {VERSION}\r\nSec-WebSocket-Key: {key}\r\n{offer}\r\n"
    ).encode("ascii")
