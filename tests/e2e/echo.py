"""Our WebSocket door with somebody behind it who says everything back: the peer for the conformance cases.

It is the real site, channel, upgrade and adapter; only the hub is another one. Run as a program it prints its port.
Sizes and counts are lifted as far as the cases go (16 MiB, 64 bytes a fragment): what happens at the limits is tested
against the whole relay.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react
from twisted.python import log

from relay.auth.audit import AuditLog
from relay.auth.open import OpenHouse
from relay.core.access import Grant
from relay.core.limits import MIB, Limits
from relay.core.model import AgentView, Outcome, Readiness, Submission
from relay.core.ports import AgentConversation, AgentTransport, Floor
from relay.core.problems import Problem
from relay.edge.site import make_site

LIMITS: Final = Limits(frame=17 * MIB, fragments=1_000_000, message_seconds=600.0)


class Echo:
    """A conversation that says back what it hears."""

    def __init__(self, transport: AgentTransport) -> None:
        self._transport = transport

    def received(self, *frames: bytes) -> None:
        self._transport.send(*frames)

    def granted(self, grant: Grant) -> None:
        pass

    def heard(self) -> None:
        pass

    def at_hand(self) -> bool:
        return False

    def drained(self) -> None:
        pass

    def lost(self, code: int | None, by_relay: bool) -> None:
        pass


class EchoFloor:
    """A hub that has no agents: whoever connects talks to himself."""

    def submit(self, submission: Submission) -> Awaitable[Outcome]:
        raise Problem("not-found", "there is only an echo here")

    def admit(self) -> None:
        pass

    def admit_agent(self) -> None:
        pass

    def converse(self, transport: AgentTransport, token: str | None = None) -> AgentConversation:
        return Echo(transport)

    def agents(self, *, connected: bool | None, prefix: str, after: str, limit: int) -> Awaitable[list[AgentView]]:
        raise Problem("not-found", "there is only an echo here")

    def agent(self, agent: str) -> Awaitable[AgentView | None]:
        raise Problem("not-found", "there is only an echo here")

    def readiness(self) -> Readiness:
        return Readiness(ready=True, durable=False)


async def serve(reactor: Any) -> None:
    """Listen, say where, and go on until the process is ended."""
    site = make_site(
        hub=cast(Floor, EchoFloor()),
        authenticator=OpenHouse(),
        audit=AuditLog(LIMITS.logged),
        limits=LIMITS,
        ack_timeout=5.0,
        clock=reactor,
        wall=time.time,
        names=(),
        origins=(),
    )
    port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(site)
    print(f"relay listening on http://127.0.0.1:{port.getHost().port}", flush=True)
    await Deferred()


if __name__ == "__main__":
    log.startLogging(sys.stdout)
    react(lambda reactor: Deferred.fromCoroutine(serve(reactor)))
