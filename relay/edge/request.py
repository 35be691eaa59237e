"""A request at the door: what it must be before anybody looks at it, its bounded body, and its one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from relay.core.access import NOBODY, Grant
from relay.core.problems import Problem
from relay.edge import pages
from relay.edge.answer import Answer, of_problem
from relay.edge.target import read_target

if TYPE_CHECKING:
    from relay.edge.batch import Batch
    from relay.edge.channel import DoorChannel
    from relay.edge.site import DoorSite

_SECRETS: Final = frozenset({b"token", b"access_token", b"bearer"})

log = Logger()


class DoorRequest(Request):
    """A request whose path is left as it came and whose body is kept in memory, within its limit.

    Twisted decodes each segment of a path, so that ``a%2Fb`` could not be told from two segments; and it puts a large
    body into a temporary file, written on the reactor's thread.
    """

    defaultContentType = None  # noqa: N815  Twisted's name; every answer says its own, or has no body
    channel: DoorChannel
    site: DoorSite
    body: bytes = b""
    query: bytes = b""
    origin_passed = False  #: a page asks, and may use the relay
    stream: Batch | None = None  #: takes the body as it comes
    refusal: Problem | None = None  #: the answer, when the head alone was enough to refuse it
    grant: Grant = NOBODY  #: what its sender may do; that it may ask this was seen before anybody else was asked
    asking: Deferred[Grant] | None = None  #: who sent it is still being found out: until then it waits

    def __init__(self, channel: DoorChannel, *args: Any) -> None:
        super().__init__(channel, *args)
        self.site = channel.site  # Twisted sets it only when the body is whole
        self._received = bytearray()

    def values(self, name: bytes) -> list[str]:
        """The values of a header, one for each time it was given."""
        return [value.decode("latin-1") for value in self.requestHeaders.getRawHeaders(name, ())]

    def prepare_stream(self, content_type: bytes) -> None:
        """Set the head of an answer whose length is not known."""
        self.setResponseCode(200)
        self.responseHeaders.setRawHeaders(b"Content-Type", [content_type])
        for name, value in pages.told(self):
            self.responseHeaders.setRawHeaders(name, [value])

    def answer(self, answer: Answer) -> None:
        """Answer, and be done. Called while the request is being read: nobody has hung up yet."""
        self.write(self.prepare(answer))
        self.finish()

    def prepare(self, answer: Answer) -> bytes:
        """Set the status and the headers; what is left to write is returned."""
        self.body = b""  # the router leaves the request in a cycle, which may stay for long
        self.site.counters.reached(answer.limit)
        self.setResponseCode(answer.status, answer.phrase)
        for name, value in answer.headers:
            self.responseHeaders.setRawHeaders(name, [value])
        for name, value in pages.told(self):
            self.responseHeaders.setRawHeaders(name, [value])
        if wants_upgrade(self):
            said = [value for name, value in answer.headers if name == b"Connection"]
            self.responseHeaders.setRawHeaders(b"Connection", [b", ".join([*said, b"close"])])
        if answer.status != 204:
            self.responseHeaders.setRawHeaders(b"Content-Length", [b"%d" % len(answer.body)])
        return answer.body

    # -- the head

    def begin(self, method: bytes, target: bytes, version: bytes, length: int | None) -> None:
        """The head is whole. ``length`` is that of the body, None if it comes in chunks.

        The one place through which every path, method and upgrade goes before anything else is done. Raises Problem.
        """
        self.method, self.uri, self.clientproto = method, target, version
        self.args: dict[bytes, list[bytes]] = {}  # the doors read their query themselves
        self.path = b"/"
        self.path, self.query, host = read_target(target, self.values(b"host"))
        secure = bool(self.isSecure())
        self.site.guard.check(host, self.values(b"origin"), secure)
        self.origin_passed = self.requestHeaders.hasHeader(b"origin")
        self.site.visitors.asks(self.channel.transport.getPeer())
        if any(unquote_to_bytes(pair.partition(b"=")[0]).lower() in _SECRETS for pair in self.query.split(b"&")):
            raise Problem("invalid-request", "a token must not stand in a URL; send Authorization: Bearer")
        if self.requestHeaders.hasHeader(b"content-encoding"):
            raise Problem("unsupported-media-type", "the body must not be compressed: send it without Content-Encoding")
        self._length = length
        # A browser asks before it sends, and shows no token yet.
        admitted = NOBODY if pages.is_preflight(self) else self.site.access.admit(self)
        if isinstance(admitted, Grant):
            self._admit(admitted)
        else:
            self.asking = admitted

    def _admit(self, grant: Grant) -> None:
        """It may be made: does its body go to a batch, or may it be too large? Raises Problem."""
        self.grant = grant
        self.site.visitors.publishes(grant.name)
        if self.method == b"POST" and self.path == b"/v1/messages":
            self.stream = self.site.batches.open(self)
            self.site.access.hold(self, self.stream.revoke)
        elif max(self._length or 0, len(self._received)) > self.site.limits.payload:
            raise self._too_large()

    # -- while it is not known who sent it

    def wait_for_grant(self) -> None:
        """Go on when that is known. The rest of it is not read meanwhile."""
        if self.asking is not None:
            self.channel.hold_body(True)
            self.asking.addCallback(self._granted).addErrback(self._not_granted).addErrback(self.processingFailed)

    def _granted(self, grant: Grant) -> None:
        self.asking = None
        if self._disconnected:
            return
        self._admit(grant)
        if self.stream is not None:
            self._received, early = bytearray(), bytes(self._received)
            self.stream.feed(early)
        if self.channel.is_whole:
            self._take()
        else:
            self.channel.hold_body(False)
            self.channel.ask_for_body()

    def _not_granted(self, failure: Failure) -> None:
        self.asking, problem = None, failure.value
        if not isinstance(problem, Problem):
            failure.raiseException()
        elif self._disconnected:
            return
        elif self.channel.is_whole:
            self.refusal = problem
            self.process()
        else:
            self.channel.refuse(problem)

    # -- the body

    def gotLength(self, length: int | None) -> None:  # noqa: N802  Twisted's name
        pass  # no file is made for it

    def handleContentChunk(self, data: bytes) -> None:
        if self.stream is not None:
            self.channel.brought(0)
            self.stream.feed(data)
            return
        self._received += data
        if self.asking is not None:
            return  # no more of it is read than came with the head
        if len(self._received) > self.site.limits.payload:
            self._received.clear()
            self.channel.refuse(self._too_large())
        else:
            self.channel.brought(len(self._received))

    def _too_large(self) -> Problem:
        return Problem("payload-too-large", f"a body may have {self.site.limits.payload} bytes", limit="payload")

    # -- the whole request

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self.asking is None:
            self._take()

    def _take(self) -> None:
        if self.stream is not None and self.refusal is None:
            self.stream.end()
            return
        self.body, self._received = bytes(self._received), bytearray()
        if self.refusal is None:
            try:
                self.site.access.look_again(self)
            except Problem as problem:
                self.refusal = problem
        self.process()

    def process(self) -> None:
        self.responseHeaders.setRawHeaders(b"Date", [self.site.date()])
        self.prepath: list[bytes] = []
        self.postpath = self.path[1:].split(b"/")
        try:
            if self.refusal is None and pages.is_preflight(self):
                self.answer(Answer(204, pages.preflight(self.values(b"access-control-request-headers"))))
            elif self.refusal is None:
                self.site.resource.render(self)
            else:
                self.answer(of_problem(self.refusal))
        except Exception:
            self.processingFailed(Failure())

    def processingFailed(self, reason: Failure) -> Any:
        most = self.site.limits.logged
        log.failure("{method} {path} failed", reason, method=self.method[:most], path=self.path[:most])
        if not self.startedWriting and not self._disconnected:
            self.answer(of_problem(Problem("internal", "the relay failed at this request; its log says how")))
        return reason

    def getRequestHostname(self) -> bytes:  # noqa: N802  Twisted's name
        # Asked for by the router, which would put it through IDNA and fail on some. It plays no part in our routes.
        return b"relay"


def wants_upgrade(request: DoorRequest) -> bool:
    """Does it ask to go on as WebSocket?

    Whoever stands before us may believe that it does, whatever it is answered, and pass on its client's frames.
    So nothing that follows is ever read as a request.
    """
    return any("websocket" in value.lower() for value in request.values(b"upgrade"))
