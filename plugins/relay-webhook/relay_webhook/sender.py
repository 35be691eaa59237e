"""One POST of one batch, by treq."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import treq.client
from twisted.internet.defer import Deferred
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.iweb import IAgent

from relay.core.webhooks import Answer
from relay.outward.post import Body, failed, headers, read, too_late
from relay_webhook import __version__

CONNECT_SECONDS: Final = 10.0
USER_AGENT: Final = f"relay-webhook/{__version__}"


@dataclass(frozen=True, slots=True)
class Batch:
    """What is posted at once. It never changes, so that a repeat is known by its ``id``."""

    id: str
    body: bytes
    count: int  #: events in it
    missed: int  #: events that it says were dropped


class Sender(Protocol):
    """Whoever posts a batch."""

    def send(self, batch: Batch) -> Deferred[Answer]:
        """Try once. Never fails, and answers in bounded time; cancelling it ends the try."""

    def close(self) -> None:
        """Let go of the connections."""


class TreqSender:
    """Implements Sender. ``secrets`` sign each try, ``wall`` is Unix time, ``timeout`` (seconds) is for a whole try."""

    def __init__(
        self,
        agent: IAgent,
        url: str,
        *,
        clock: Any,
        wall: Callable[[], float],
        secrets: Sequence[bytes] = (),
        timeout: float = 15.0,
        close: Callable[[], object] = lambda: None,
    ) -> None:
        self._agent = agent
        self._url = url
        self._clock = clock
        self._wall = wall
        self._secrets = secrets
        self._timeout = timeout
        self._close = close

    def send(self, batch: Batch) -> Deferred[Answer]:
        attempt = Deferred.fromCoroutine(self._send(batch))
        attempt.addTimeout(self._timeout, self._clock, onTimeoutCancel=too_late)
        return attempt.addErrback(failed)

    def close(self) -> None:
        self._close()

    async def _send(self, batch: Batch) -> Answer:
        # A client for each try: it would keep the receiver's cookies. The connection is the agent's, and stays.
        client = treq.client.HTTPClient(self._agent)
        told = headers(batch.id, batch.body, secrets=self._secrets, now=self._wall(), user_agent=USER_AGENT)
        response = await client.request(
            "POST",
            self._url,
            headers=told,
            data=Body(batch.body),
            allow_redirects=False,
            unbuffered=True,
        )
        return await read(response, self._wall())


def make_agent(reactor: Any, trust: Any) -> tuple[IAgent, Callable[[], object]]:
    """What connects, by one connection that is kept, its certificate checked; and a call that lets go of it."""
    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = 1
    policy = BrowserLikePolicyForHTTPS(trust) if trust is not None else BrowserLikePolicyForHTTPS()
    agent = Agent(reactor, contextFactory=policy, connectTimeout=CONNECT_SECONDS, pool=pool)
    return agent, pool.closeCachedConnections


def read_trust(pem: bytes) -> Any:
    """Whom to trust, from certificates in PEM. Raises ValueError."""
    end = b"-----END CERTIFICATE-----"
    parts = [part + end for part in pem.split(end)[:-1]]
    if not parts:
        raise ValueError("there is no certificate in it")
    try:
        return trustRootFromCertificates([Certificate.loadPEM(part) for part in parts])
    except Exception as error:  # OpenSSL has many of its own
        raise ValueError(f"a certificate in it cannot be read: {error or type(error).__name__}") from error
