"""The HTTP side of a relay as a client sees it: a bounded pool, bounded times and bounded answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from treq import collect
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, succeed
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from twisted.web.client import Agent as HttpAgent
from twisted.web.client import HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

from relay import __version__
from relay.client.address import Address

MOST_CONNECTIONS: Final = 100
IDLE_SECONDS: Final = 30  #: the relay ends idle connections after 60 s: ours are never reused at that moment
CONNECT_SECONDS: Final = 10.0
LONGEST_ANSWER: Final = 16 * 1024 * 1024  #: bytes

Answered = tuple[int, Headers, bytes]  # the status and the body as it came


@dataclass(frozen=True, slots=True)
class Refusal:
    """A problem (RFC 9457) as the relay told it, or what can be told of an answer that was none."""

    word: str  #: the last part of ``type``: ``queue-full`` for one; ``unexpected-answer`` when there was no problem
    status: int  #: HTTP
    title: str = ""
    detail: str = ""
    retry_after: float | None = None  #: seconds
    id: str | None = None  #: of the message, where it had one
    attempts: int | None = None
    sent: bool = False  #: the agent may have acted on it although it was refused
    body: bytes = field(default=b"", repr=False)  #: the answer as it came

    def __str__(self) -> str:
        return f"{self.word}: {self.detail or self.title}"


class Refused(Exception):
    """The relay said no: ``problem`` tells why."""

    def __init__(self, problem: Refusal) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Unreachable(Exception):
    """There was no answer: nothing is known of what became of the request."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A good answer (2xx)."""

    status: int
    headers: Headers
    body: bytes


class Door:
    """Makes requests to one relay. It opens no connection before the first, and keeps idle ones for a while."""

    def __init__(self, address: Address, *, reactor: Any, token: str | None = None, agent: Any = None) -> None:
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
        body: bytes,
        timeout: float,
        take: Callable[[bytes], None],
    ) -> None:
        """The same, but a good answer is given to ``take`` piece by piece as it comes, and may be of any length."""
        await self._request(method, path, headers, body, timeout, take)

    async def _request(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        timeout: float,
        take: Callable[[bytes], None] | None,
    ) -> Reply:
        async with self._slots:
            exchange = Deferred.fromCoroutine(self._exchange(method, path, headers, body, take))
            try:
                status, answered, content = await exchange.addTimeout(timeout, self._reactor, self._too_late)
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
        raise Refused(_refusal(status, answered, content))

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
        self, method: str, path: str, headers: dict[str, str], body: bytes, take: Callable[[bytes], None] | None
    ) -> Answered:
        sent = {"User-Agent": f"relay/{__version__}", **headers}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        response = await self._client.request(
            method,
            self._address.http + path,
            headers=Headers({name: [value] for name, value in sent.items()}),
            data=body or None,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        if take is not None and 200 <= response.code < 300:
            await collect(response, take)
            return response.code, response.headers, b""
        return response.code, response.headers, await _read(response)


async def _read(response: IResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0

    def take(chunk: bytes) -> None:
        nonlocal size
        size += len(chunk)
        if size > LONGEST_ANSWER:
            raise ValueError(f"the answer is longer than {LONGEST_ANSWER} bytes")
        chunks.append(chunk)

    await collect(response, take)
    return b"".join(chunks)


class _Problem(msgspec.Struct):
    type: str
    title: str = ""
    detail: str = ""
    id: str | None = None
    attempts: int | None = None
    sent: bool = False


def _refusal(status: int, headers: Headers, body: bytes) -> Refusal:
    after = headers.getRawHeaders("retry-after", [""])[0]
    retry_after = float(after) if after.isascii() and after.isdecimal() else None
    try:
        told = msgspec.json.decode(body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        detail = f"HTTP {status}, and no problem that tells why: is there a relay at this address?"
        return Refusal("unexpected-answer", status, detail=detail, retry_after=retry_after, body=body)
    word = told.type.rpartition("/")[2]
    return Refusal(word, status, told.title, told.detail, retry_after, told.id, told.attempts, told.sent, body)


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
