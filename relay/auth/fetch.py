"""What stands at a URL, within bounds: for sets of keys."""

from __future__ import annotations

from typing import Any

import treq
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent


class NotFetched(Exception):
    """There is nothing there that could be used. The text says why."""


class _Body(Protocol):
    """Collects a body of at most ``most`` bytes."""

    transport: Any

    def __init__(self, most: int) -> None:
        self._most = most
        self._data = bytearray()
        self.whole: Deferred[bytes] = Deferred(lambda _: self._end())

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > self._most:
            self._end()

    def _end(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if len(self._data) > self._most:
            self.whole.errback(NotFetched(f"it has more than {self._most} bytes"))
        elif reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(bytes(self._data))
        else:
            self.whole.errback(reason)


async def fetch(agent: IAgent, url: str, most: int) -> bytes:
    """The body of a 200 at ``url``, of at most ``most`` bytes. A redirect is not followed. Raises any exception."""
    headers = Headers({"Accept": ["application/jwk-set+json, application/json"]})
    # Without ``unbuffered`` treq keeps all that comes.
    response = await treq.get(url, agent=agent, headers=headers, allow_redirects=False, unbuffered=True)
    if response.code != 200:
        raise NotFetched(f"it answers {response.code}")
    body = _Body(most)
    response.deliverBody(body)
    return await body.whole
