"""An agent within the relay's own process: a wire like any other, whose far end is a plugin's function."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.core.ports import AgentConversation
from relay.core.problems import Problem
from relay.core.session import Close
from relay.extensions.health import TURN, Health

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Received:
    """A message as its agent sees it. ``payload`` is the bytes that came in; of a batch line, the JSON slice."""

    id: str
    agent: str
    payload: bytes
    content_type: str
    attempt: int  #: counts sends, from 1
    headers: dict[str, str]
    topic: str | None = None
    publisher: str = ""  #: who handed it in: the name of a token, ``x-NAME`` of a plugin; "": nobody has to say
    expires_at: float = 0.0  #: Unix time, seconds


class _Frame(msgspec.Struct):
    type: str
    id: str = ""
    payload: str = ""  #: base64: the session is ``raw``
    content_type: str = ""
    attempt: int = 1
    headers: dict[str, str] = {}
    topic: str | None = None
    publisher: str = ""
    expires_at: datetime = datetime.fromtimestamp(0, UTC)
    code: str = ""
    detail: str = ""


_frame: Final = msgspec.json.Decoder(_Frame)

Handler = Callable[[Received], Any]


class InsideWire:
    """Implements ``relay.core.ports.AgentTransport``. A message is acknowledged when ``handler`` (or its Deferred) is
    done with it, refused for good when that raises Problem, and refused to come again when it fails otherwise or takes
    more than ``seconds``.

    ``lost`` is told the Problem with which the session ended, unless the plugin ended it.
    """

    kind = "inside"
    holds = True

    def __init__(
        self,
        agent: str,
        handler: Handler,
        health: Health,
        clock: IReactorTime,
        *,
        seconds: float,
        lost: Callable[[Problem], object],
    ) -> None:
        self.agent = agent
        self.peer = f"plugin {health.name}"
        self.begun: Deferred[None] = Deferred()
        self.conversation: AgentConversation
        self._handler = handler
        self._health = health
        self._clock = clock
        self._seconds = seconds
        self._lost = lost
        self._refusal = "the session has ended"
        self._over = False
        self._taken = 0
        self._came: deque[_Frame] = deque()  #: no more than the window, and what comes at the beginning and the end
        self._at_work = False

    def begin(self, conversation: AgentConversation, *, max_in_flight: int) -> Deferred[None]:
        """Register. Fires when the agent is held; fails with Problem (``duplicate``, ``draining``, ``overloaded``)."""
        self.conversation = conversation
        # No redelivery clock of the session's: the handler's time limit is one already.
        wishes = {"raw": True, "ack_wait": 0, "max_in_flight": max_in_flight}
        self._say(type="register", agent=self.agent, client=self.peer, **wishes)
        return self.begun

    def end(self) -> None:
        """The plugin has enough: what is in flight comes again to whoever is next."""
        if not self._over:
            self._over = True
            self._clock.callLater(0, self.conversation.lost, 1000, False)

    # -- what the hub may do

    def takes(self) -> bool:
        return not self._over

    def alive(self) -> bool | None:
        return not self._over

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            self._taken += len(frame)
            if not self._over:
                self._came.append(_frame.decode(frame))
                self._look()

    def send_soon(self, frame: bytes) -> None:
        self.send(frame)

    def ping(self) -> None:
        if not self._over:
            self._clock.callLater(0, self.conversation.heard)

    def close(self, code: int, reason: str) -> None:
        word = {Close.DUPLICATE: "duplicate", Close.GOING_AWAY: "draining", Close.OVERLOADED: "overloaded"}.get(
            Close(code), "ended"
        )
        retry = 5 if word in ("draining", "overloaded") else None
        self._end(Problem(word, f"{self._refusal}: {reason}", retry_after=retry), code)

    def abort(self) -> None:
        self._end(Problem("ended", "the session was dropped"), None)

    def unsent(self) -> int:
        return 0

    def taken(self) -> int:
        return self._taken

    def hold(self, holding: bool) -> None:
        pass  # it says nothing but its answers, and they are as many as the window

    # -- the far end

    def _end(self, problem: Problem, code: int | None) -> None:
        if self._over:
            return
        self._over = True
        self._clock.callLater(0, self.conversation.lost, code, code is not None)
        if not self.begun.called:
            self.begun.errback(problem)
            return
        # Whoever ended the session has others to see to.
        maybeDeferred(self._lost, problem).addErrback(lambda failure: self._health.failed("lost", failure))

    def _look(self) -> None:
        """In a turn of its own: who sends is in the middle of something."""
        if self._came and not self._at_work:
            self._at_work = True
            self._clock.callLater(0, self._receive_all)

    def _receive_all(self) -> None:
        """As many as there is time for: a burst to a slow handler must not be one turn."""
        self._at_work = False
        until = self._clock.seconds() + TURN
        while self._came and not self._over and self._clock.seconds() <= until:
            self._receive(self._came.popleft())
        if self._over:
            self._came.clear()
        self._look()

    def _receive(self, frame: _Frame) -> None:
        if frame.type == "message":
            self._handle(frame)
        elif frame.type == "registered":
            self.begun.callback(None)
        elif frame.type == "error":
            self._refusal = frame.detail

    def _handle(self, frame: _Frame) -> None:
        payload = base64.b64decode(frame.payload)
        received = Received(
            frame.id,
            self.agent,
            payload,
            frame.content_type,
            frame.attempt,
            frame.headers,
            frame.topic,
            frame.publisher,
            frame.expires_at.timestamp(),
        )
        work = self._health.within(self._seconds, maybeDeferred(self._handler, received))
        work.addCallbacks(self._done, self._failed, (frame.id,), {}, (frame.id,), {})
        work.addErrback(lambda failure: self._health.failed("handler", failure))

    def _done(self, _result: object, id: str) -> None:
        self._health.worked()
        self._say(type="ack", id=id)

    def _failed(self, failure: Failure, id: str) -> None:
        if isinstance(failure.value, Problem):
            self._health.worked()
            self._say(type="nack", id=id, requeue=False, reason=failure.value.detail)
        elif not self._over:  # after that it comes again anyway, and a plugin that lets go of its work does well
            self._health.failed("handler", failure)
            self._say(type="nack", id=id)

    def _say(self, **frame: object) -> None:
        if not self._over:
            self.conversation.received(_encode(frame))
