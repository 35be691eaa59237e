"""One POST to somebody else, as every sender does it: signed, written at once, and judged by its head alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

from relay.core.webhooks import Answer, Verdict, judge, signatures

BODY_BYTES: Final = 4096  #: of an answer; the rest is not read
LONGEST_DETAIL: Final = 200


def headers(id: str, body: bytes, *, secrets: Sequence[bytes], now: float, user_agent: str) -> Headers:
    """The head of a Standard Webhooks POST of JSON. Each of ``secrets`` signs it; ``now`` is Unix time."""
    fields = {
        "Content-Type": "application/json",
        "User-Agent": user_agent,
        "webhook-id": id,
        "webhook-timestamp": str(int(now)),
    }
    if secrets:
        fields["webhook-signature"] = signatures(secrets, id, int(now), body)
    return Headers({name: [value] for name, value in fields.items()})


async def read(response: IResponse, now: float) -> Answer:
    """The verdict, which is in the head.

    Some of the body is read, so that a receiver is not cut off while it writes. Cancelling ends that, and the verdict
    stands.
    """
    retry_after = [value.decode("latin-1") for value in response.headers.getRawHeaders(b"retry-after", [])]
    answer = judge(response.code, retry_after, now)
    sip = Sip()
    response.deliverBody(sip)
    try:
        await sip.ended
    except CancelledError:
        sip.stop()
    return answer


def too_late(result: Answer | Failure, seconds: float) -> Answer:
    """The time of a try is over; what it then says is how it was broken off, unless there was a verdict."""
    return result if isinstance(result, Answer) else Answer(Verdict.FAILED, f"no answer in {seconds:g} s")


def failed(failure: Failure) -> Answer:
    """A try that came to no answer."""
    failure.trap(Exception)
    reasons: Any = getattr(failure.value, "reasons", None)  # of twisted.web: it wraps what went wrong
    cause: Failure = reasons[0] if isinstance(reasons, list) and reasons else failure
    return Answer(Verdict.FAILED, f"{type(cause.value).__name__}: {cause.getErrorMessage()}"[:LONGEST_DETAIL])


class Sip(Protocol):
    """Reads a body until its end, or until that is enough."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()
        self._left = BODY_BYTES

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
    """A body that is written at once. (Twisted's own producer for files, and treq's, need the global reactor.)"""

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
