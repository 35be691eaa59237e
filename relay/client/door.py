"""The HTTP side of a relay as a client sees it: a bounded pool, bounded times and bounded answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, succeed
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent as HttpAgent
from twisted.web.client import HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

from relay import __version__
from relay.client import refusal
from relay.client.address import Address
from relay.client.refusal import Refused, Unreachable
from relay.client.tokens import Token, bearer, fresh

MOST_CONNECTIONS: Final = 100
IDLE_SECONDS: Final = 30  #: the relay ends idle connections after 60 s: ours are never reused at that moment
CONNECT_SECONDS: Final = 10.0
LONGEST_ANSWER: Final = 16 * 1024 * 1024  #: bytes

Answered = tuple[int, Headers, bytes]  # the status and the body as it came


@dataclass(frozen=True, slots=True)
class Reply:
    """A good answer (2xx)."""

    status: int
    headers: Headers
    body: bytes


class Door:
    """Makes requests to one relay. It opens no connection before the first, and keeps idle ones for a while."""

    def __init__(self, address: Address, *, reactor: Any, token: Token | None = None, agent: Any = None) -> None:
        self._address = address
        self._reactor = reactor
        self._token = token
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = MOST_CONNECTIONS
        self._pool.cachedConnectionTimeout = IDLE_SECONDS
        self._client = HTTPClient(
            agent or HttpAgent(reactor, connectTimeout=CONNECT_SECONDS, pool=self._pool), data_to_body_producer=_Body
        )
        self._slots = DeferredSemaphore(MOST_CONNECTIONS)

    async def request(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes = b"", timeout: float
    ) -> Reply:
        """One request, of which nothing is repeated and no redirect followed.

        ``path`` begins with a slash and is encoded already. ``timeout`` is in seconds, from when a connection is
        free for it to the last byte of the answer. Raises Refused or Unreachable.
        """
        return await self._request(method, path, headers or {}, body, timeout, None)

    async def stream(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str],
        body: bytes = b"",
        timeout: float | None,
        take: Callable[[bytes], object],
        begun: Callable[[IPushProducer], object] | None = None,
    ) -> None:
        """The same, but a good answer is given to ``take`` piece by piece as it comes, and may be of any length.

        ``begun`` is given what pauses and resumes that. Without a ``timeout`` who calls cancels when it has had enough.
        """
        await self._request(method, path, headers, body, timeout, _Sink(take, begun))

    async def _request(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        timeout: float | None,
        sink: _Sink | None,
    ) -> Reply:
        async with self._slots:
            exchange = Deferred.fromCoroutine(self._exchange(method, path, headers, body, sink))
            if timeout is not None:
                exchange.addTimeout(timeout, self._reactor, self._too_late)
            try:
                status, answered, content = await exchange
            except (CancelledError, Unreachable):
                raise
            except Exception as error:
                cause = _cause(error)
                if isinstance(cause, CancelledError):
                    raise cause from None
                text = (str(cause) or type(cause).__name__).rstrip(".")
                raise Unreachable(f"cannot reach {self._address.http}: {text}") from error
        if 200 <= status < 300:
            return Reply(status, answered, content)
        raise Refused(refusal.read(content, status, _seconds(answered)))

    def close(self) -> Deferred[None]:
        """Close the idle connections."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    def _too_late(self, result: Answered | Failure, timeout: float) -> Answered:
        # What a cancelled request fails with depends on how far it came: only here it is known that time ran out.
        if isinstance(result, Failure):
            raise Unreachable(f"{self._address.http} did not answer within {timeout:g} s")
        return result

    async def _exchange(
        self, method: str, path: str, headers: dict[str, str], body: bytes, sink: _Sink | None
    ) -> Answered:
        sent = {"User-Agent": f"relay/{__version__}", **bearer(await fresh(self._token)), **headers}
        response = await self._client.request(
            method,
            self._address.http + path,
            headers=Headers({name: [value] for name, value in sent.items()}),
            data=body or None,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        if sink is None or not 200 <= response.code < 300:
            content = bytearray()
            sink = _Sink(content.extend, most=LONGEST_ANSWER)
            await sink.of(response)
            return response.code, response.headers, bytes(content)
        await sink.of(response)
        return response.code, response.headers, b""


class _Sink(Protocol):
    """Takes the body of an answer. Unlike treq's own it ends the connection when it is cancelled, or has too much."""

    def __init__(
        self,
        take: Callable[[bytes], object],
        begun: Callable[[IPushProducer], object] | None = None,
        *,
        most: int | None = None,
    ) -> None:
        self._take = take
        self._begun = begun
        self._left = most  # bytes; None: any number
        self._finished: Deferred[None] = Deferred(lambda _: self._close())

    def of(self, response: IResponse) -> Deferred[None]:
        """Take the body of this answer; fires at its end."""
        response.deliverBody(self)
        return self._finished

    def connectionMade(self) -> None:
        if self._begun is not None:
            self._begun(self._connection())

    def dataReceived(self, data: bytes) -> None:
        if self._finished.called:
            return
        try:
            if self._left is not None:
                self._left -= len(data)
                if self._left < 0:
                    raise ValueError(f"the answer is longer than {LONGEST_ANSWER} bytes")
            self._take(data)
        except Exception:
            self._finished.errback()
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._finished.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self._finished.callback(None)
        else:
            self._finished.errback(reason)

    def _close(self) -> None:
        self._connection().loseConnection()

    def _connection(self) -> Any:  # Twisted's ``TransportProxyProducer``
        return self.transport


def _seconds(headers: Headers) -> float | None:
    """``Retry-After``, where it is a number."""
    after: str = headers.getRawHeaders("retry-after", [""])[0]
    return float(after) if after.isascii() and after.isdecimal() else None


def _cause(error: BaseException) -> BaseException:
    """What happened. Twisted wraps it in lists of failures, which are of several types and say nothing for people."""
    reasons = getattr(error, "reasons", None)
    return _cause(reasons[0].value) if reasons else error


@implementer(IBodyProducer)
class _Body:
    """A request's body, written at once. treq's own cuts it in pieces, for which it needs the global reactor."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """There is nothing left to hold back."""

    def resumeProducing(self) -> None:
        """There is nothing left to write."""

    def stopProducing(self) -> None:
        """It has stopped."""
