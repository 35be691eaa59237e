"""The hot path: the plain case of a POST and of an agent's frame, taken before the general parsers see it.

A message costs its publisher and its agent one request and one frame each, nearly always of the same plain form. What
has that form to the last byte is read here, at a tenth of the cost; whatever else comes, or comes in another state of
the connection, goes on unchanged to Klein (``edge.http``) or Autobahn (``edge.websocket``). Nothing is decided here:
the hub is asked the same, and what it says is written the same, byte for byte (tests/edge/test_both_doors.py). The
setting ``fast_door`` turns this off.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.core import payload
from relay.core.access import Grant
from relay.core.ids import is_agent_id
from relay.core.limits import Limits
from relay.core.model import Outcome, Submission
from relay.core.ports import Authenticator, Floor
from relay.core.problems import Problem
from relay.edge.access import BEARER
from relay.edge.answer import Answer, delivered, of_outcome, of_problem, written
from relay.edge.channel import DoorChannel
from relay.edge.gate import Phase
from relay.edge.guard import Guard
from relay.edge.head import END
from relay.edge.http import refusal, started
from relay.edge.transport import write_now
from relay.edge.websocket import AgentProtocol

if TYPE_CHECKING:
    from relay.edge.batch import Batch
    from relay.edge.site import DoorSite

_BEGIN: Final = b"POST /v1/agents/"
_TARGET: Final = re.compile(_BEGIN + rb"([0-9A-Za-z._~:@-]{1,128})/messages HTTP/1\.1\r\n")
_LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,9})\r\n")
#: Lines that no two parsers read differently: nothing but visible characters, and one blank between two words.
_LINES: Final = re.compile(rb"(?:[A-Za-z-]{1,32}+: [!-~]++(?: [!-~]++)*\r\n)+")
LONGEST_KNOWN: Final = 1024  #: bytes of a head that is kept in mind, or of its lines
HEADS: Final = 512  #: that are kept in mind
#: What a plain head may say. The last three change nothing for anybody.
ALLOWED: Final = frozenset(
    {b"host", b"content-length", b"content-type", b"connection", b"authorization"}
    | {b"accept", b"accept-encoding", b"user-agent"}
)
_IDLE: Final = Phase.IDLE  # to name a member by its class takes twenty times as long
_BUSY: Final = Phase.BUSY
#: The first two bytes of a frame (RFC 6455 section 5.2).
_WHOLE_TEXT: Final = 0x81  #: text in one frame, without extensions
_MASKED: Final = 0x80  #: and the length in the lower bits
_HUGE: Final = _MASKED + 127  #: the length stands in the next eight bytes
_SMALLEST: Final = 7  #: bytes of a masked frame that says something


class Said(NamedTuple):
    """What plain header lines say, beside the length."""

    content_types: tuple[str, ...]
    token: str | None


class Head(NamedTuple):
    """A plain head."""

    agent: str
    said: Said
    body_at: int
    size: int  #: of the whole request, in bytes


class FastDoor:
    """What of the HTTP door does not depend on the connection. ``passed_on``: headers that agents are given."""

    def __init__(
        self,
        hub: Floor,
        guard: Guard,
        authenticator: Authenticator,
        limits: Limits,
        ack_timeout: float,
        passed_on: frozenset[str] = frozenset(),
    ) -> None:
        self._hub = hub
        self._guard = guard
        self._authenticator = authenticator
        # Rates are counted, and pages of others are told what they may read, by the general way alone.
        self._is_shut = bool(limits.address_requests or limits.publisher_requests or guard.is_open)
        self._limits = limits
        self._ack_timeout = ack_timeout
        self._allowed = ALLOWED - {name.encode("latin-1") for name in passed_on}
        # A client sends the same head again and again, or the same lines but for the length. What is made of them
        # depends on nothing else: whether the token is still good is asked each time.
        self._known = lru_cache(maxsize=HEADS)(self._head)
        self._known_lines = lru_cache(maxsize=256)(self._said)

    def read(self, data: bytes) -> tuple[Head, Grant] | None:
        """The head of a plain POST that ``data`` begins with, the whole of which is within the limits, and who asks."""
        if self._is_shut or not data.startswith(_BEGIN):
            return None
        end = data.find(END)
        if end < 0:
            return None
        lines = data[: end + 2]
        head = self._known(lines) if end < LONGEST_KNOWN else self._head(lines)
        if head is None:
            return None
        token, grant = head.said.token, self._authenticator.nobody
        if grant is None and token is not None:
            grant = self._authenticator.known(token)  # of who asks, where that is known at once
        return None if grant is None or not grant.may_publish(head.agent) else (head, grant)

    def _head(self, head: bytes) -> Head | None:
        """What a head says, which is given without the empty line at its end, if it is plain."""
        target, body_at = _TARGET.match(head), len(head) + 2
        if target is None or body_at > self._limits.head_bytes:
            return None
        first = target.end()
        length = _LENGTH.search(head, first - 2)
        if length is None or not 0 < int(length[1]) <= self._limits.payload:
            return None
        lines = head[first : length.start(1)] + b"0" + head[length.end(1) :]
        said = self._known_lines(lines) if len(lines) <= LONGEST_KNOWN else self._said(lines)
        agent = target[1].decode("ascii")
        if said is None or not is_agent_id(agent):
            return None
        return Head(agent, said, body_at, body_at + int(length[1]))

    def _said(self, lines: bytes) -> Said | None:
        """What the lines of a head say, each with its CR LF, if all of them are plain."""
        if _LINES.fullmatch(lines) is None or lines.count(b"\n") >= self._limits.header_count:
            return None
        found: dict[bytes, bytes] = {}
        for line in lines[:-2].split(b"\r\n"):
            name, _, value = line.partition(b": ")
            name = name.lower()
            if name not in self._allowed or name in found:
                return None
            found[name] = value
        if found.get(b"connection", b"keep-alive") != b"keep-alive" or not self._may_enter(found.get(b"host", b"")):
            return None
        content_type, authorization = found.get(b"content-type"), found.get(b"authorization")
        bearer = None if authorization is None else BEARER.fullmatch(authorization.decode("ascii"))
        types = () if content_type is None else (content_type.decode("ascii"),)
        return Said(types, None if bearer is None else bearer[1])

    def _may_enter(self, host: bytes) -> bool:
        try:
            self._guard.check(host.decode("ascii"), (), False)
        except Problem:
            return False
        return True

    def submit(self, head: Head, grant: Grant, body: bytes) -> Deferred[Outcome]:
        """Hand the message to the hub. Raises Problem."""
        form, content_type = payload.read(head.said.content_types, body)
        submission = Submission(head.agent, body, content_type, form, self._ack_timeout, publisher=grant.name)
        waiting = self._hub.submit(submission)
        return waiting if isinstance(waiting, Deferred) else started(waiting)


class FastPost(msgspec.Struct, eq=False):
    """A plain POST that waits for its answer: as much of a request as the channel asks for."""

    stream: ClassVar[Batch | None] = None

    gone: bool = False
    waiting: Deferred[Outcome] | None = None  #: its outcome

    def connectionLost(self, reason: Failure) -> None:
        self.gone = True
        if self.waiting is not None:
            self.waiting.cancel()  # the floor is told that nobody reads it; the message goes its way


class FastChannel(DoorChannel):
    """A connection that answers a plain POST by itself, while nothing else is under way on it."""

    site: DoorSite
    _half: bytes = b""  #: a plain head, and of its body what there is

    def dataReceived(self, data: bytes) -> None:
        if self._half:
            self._go_on(data)
            return
        phase = self._phase
        # Does it wait for a request, and has read nothing of it?
        is_quiet = (phase is _IDLE or phase is Phase.FIRST) and not self._ahead and not self.visit.is_strange
        plain = self.site.fast.read(data) if is_quiet else None
        if plain is None or len(data) > plain[0].size:
            super().dataReceived(data)
        elif len(data) == plain[0].size:
            self._post(*plain, data)
        else:
            self._half = data
            self._phase, self._body_began = Phase.BODY, self.site.clock.seconds()
            self.brought(len(data) - plain[0].body_at)

    def _go_on(self, data: bytes) -> None:
        """Many clients send the body after the head. A body that comes in more pieces is not plain any more."""
        half, self._half = self._half, b""
        if self._phase is not Phase.BODY:
            super().dataReceived(data)  # it is too late, and was answered so
            return
        data = half + data
        began, self._phase = self._body_began, Phase.IDLE
        plain = self.site.fast.read(data)
        # A token may have been revoked since.
        if plain is not None and len(data) == plain[0].size:
            self._post(*plain, data)
            return
        super().dataReceived(data)
        if self._phase is Phase.BODY:  # it has no more time than it would have had
            self._body_began = began
            self.brought(len(data) - data.index(END) - len(END))

    def _post(self, head: Head, grant: Grant, data: bytes) -> None:
        post = FastPost()
        # What follows meanwhile is kept, and the end of the connection is told, as for any request.
        self.requests.append(post)  # type: ignore[arg-type]  # as much of one as is asked for
        self.persistent = self._handlingRequest = True
        self.line_mode = 0
        self._phase = _BUSY
        self._deadline.clear()
        try:
            post.waiting = waiting = self.site.fast.submit(head, grant, data[head.body_at :])
        except Problem as problem:
            self._answer(post, of_problem(problem))
        except Exception:
            self._answer(post, refusal(Failure(), b"POST"))
        else:
            waiting.addCallbacks(self._decided, self._refused, (post,), errbackArgs=(post,))

    def _decided(self, outcome: Outcome, post: FastPost) -> None:
        if outcome.status != "delivered":
            self._answer(post, of_outcome(outcome))
        elif not post.gone:
            self._write(post, delivered(outcome, self.site.date(), self.hardening))

    def _refused(self, failure: Failure, post: FastPost) -> None:
        if not post.gone:
            self._answer(post, refusal(failure, b"POST"))

    def _answer(self, post: FastPost, answer: Answer) -> None:
        if not post.gone:
            self.site.counters.reached(answer.limit)
            self._write(post, written(answer, self.site.date(), self.hardening))

    def _write(self, post: FastPost, answer: bytes) -> None:
        write_now(self.transport, answer)
        if self._ahead or self._dataBuffer or self._waitingForTransport:
            self.requestDone(post)  # type: ignore[arg-type]  # as above
            return
        # What that comes to when nothing came meanwhile, and the answer has left.
        self.requests.clear()
        self._handlingRequest = False
        self.line_mode = 1
        self._phase = _IDLE
        self._deadline.after(self._limits.idle_seconds)


class FastProtocol(AgentProtocol):
    """An agent's connection that reads plain frames and writes by itself, while nothing else is under way on it."""

    def dataReceived(self, data: bytes) -> None:
        at = 0
        if self.state == self.STATE_OPEN and not (self.data or self.inside_message or self.current_frame):
            texts, at = plain_texts(data, self.limits.frame)
            if texts:
                self.conversation.received(*texts)
        if at < len(data):
            super().dataReceived(data[at:])

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        write_now(self.transport, data)
        if self.state != self.STATE_CONNECTING:
            self.wire.given += len(data)


def plain_texts(data: bytes, most: int) -> tuple[list[bytes], int]:
    """The texts of the plain frames that ``data`` begins with, unmasked, and the size of these frames in bytes.

    Each is a whole message in one masked frame of UTF-8, of 1 to ``most`` bytes and less than 64 KiB.
    """
    texts: list[bytes] = []
    start, end = 0, len(data)
    while end - start >= _SMALLEST and data[start] == _WHOLE_TEXT and _MASKED < data[start + 1] < _HUGE:
        length, at = data[start + 1] - _MASKED, start + 2
        if length == 126:
            length, at = int.from_bytes(data[at : at + 2], "big"), at + 2
            if length < 126:
                break  # it could have been said shorter, and must be
        after = at + 4 + length
        if length > most or after > end:
            break
        stream = (data[at : at + 4] * (length // 4 + 1))[:length]
        hidden = int.from_bytes(data[at + 4 : after], "big")
        text = (hidden ^ int.from_bytes(stream, "big")).to_bytes(length, "big")
        if not (text.isascii() or _is_utf8(text)):
            break
        texts.append(text)
        start = after
    return texts, start


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
