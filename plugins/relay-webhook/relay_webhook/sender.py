"""One POST of one batch, by treq."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import treq.client
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from relay.core.webhooks import Answer, Verdict, judge, signatures
from relay_webhook import __version__

ANSWER_BYTES: Final = 4096  #: of an answer's body; the rest is not read
CONNECT_SECONDS: Final = 10.0
LONGEST_DETAIL: Final = 200


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
        response = await client.request(
            "POST",
            self._url,
            headers=self._headers(batch),
            # Not the bytes: what treq makes of them needs the global reactor.
            data=Body(batch.body),
            allow_redirects=False,
            unbuffered=True,
        )
        return await self._read(response)

    def _headers(self, batch: Batch) -> Headers:
        now = int(self._wall())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"relay-webhook/{__version__}",
            "webhook-id": batch.id,
            "webhook-timestamp": str(now),
        }
        if self._secrets:
            headers["webhook-signature"] = signatures(self._secrets, batch.id, now, batch.body)
        return Headers({name: [value] for name, value in headers.items()})

    async def _read(self, response: IResponse) -> Answer:
        """The verdict is in the head. Some of the body is read, so that the connection can be used again."""
        retry_after = [value.decode("latin-1") for value in response.headers.getRawHeaders(b"retry-after", [])]
        answer = judge(response.code, retry_after, self._wall())
        sip = Sip()
        response.deliverBody(sip)
        try:
            await sip.ended
        except CancelledError:
            sip.stop()  # the time is over, and the verdict stands
        return answer


def too_late(result: Answer | Failure, seconds: float) -> Answer:
    """The time of a try is over: whatever it then says is how it was broken off, unless there was a verdict."""
    return result if isinstance(result, Answer) else Answer(Verdict.FAILED, f"no answer in {seconds:g} s")


def failed(failure: Failure) -> Answer:
    """A try that came to no answer."""
    failure.trap(Exception)
    reasons: Any = getattr(failure.value, "reasons", None)  # of twisted.web: it wraps what went wrong
    cause: Failure = reasons[0] if isinstance(reasons, list) and reasons else failure
    return Answer(Verdict.FAILED, f"{type(cause.value).__name__}: {cause.getErrorMessage()}"[:LONGEST_DETAIL])


class Sip(TwistedProtocol):
    """Reads a body until its end, or until that is enough."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()
        self._left = ANSWER_BYTES

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left <= 0:
            self.stop()

    def stop(self) -> None:
        """Read no more of it."""
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        if not self.ended.called:
            self.ended.callback(None)


@implementer(IBodyProducer)
class Body:
    """A body that is written at once."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        pass  # all of it is written

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass


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
