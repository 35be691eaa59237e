"""Agents that can hold no WebSocket: a session of calls, spoken to by the same conversation (protocol 1.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from relay.core.limits import Limits
from relay.core.ports import AgentConversation
from relay.core.problems import Problem
from relay.core.session import Close

LIFE_SECONDS: Final = 10.0  #: so long after a call its agent counts as alive
SESSION_SECONDS: Final = 60.0  #: so long after its last call a session ends
AT_HAND_SECONDS: Final = 1.0  #: what a call waits at least for what is being read from the disk
ANSWER_BYTES: Final = 4 * 1024 * 1024  #: of one answer, but for one message of any size
BUSY_RETRY: Final = 5


class _Frame(msgspec.Struct):
    type: str
    session: str = ""
    code: str = ""
    detail: str = ""
    id: str | None = None


_frame: Final = msgspec.json.Decoder(_Frame)


class Call:
    """One open ``next``: answered once, with messages or with none."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.answered: Deferred[list[bytes]] = Deferred()

    def answer(self, messages: list[bytes]) -> None:
        if not self.answered.called:
            self.answered.callback(messages)


class PollTransport:
    """Implements ``relay.core.ports.AgentTransport``: what is sent goes into the open call, if there is one.

    ``gone`` is told when the session is over.
    """

    kind = "poll"
    holds = False

    def __init__(
        self, agent: str, peer: str, clock: IReactorTime, limits: Limits, gone: Callable[[PollTransport], object]
    ) -> None:
        self.agent = agent
        self.peer = peer
        self.session = ""
        self.ended: Problem | None = None
        self.begun: Deferred[None] = Deferred()
        self.errors: list[dict[str, str | None]] = []
        self.conversation: AgentConversation
        self._clock = clock
        self._limits = limits
        self._gone = gone
        self._call: Call | None = None
        self._call_ended_at = clock.seconds()
        self._messages: list[bytes] = []
        self._waiting = 0
        self._taken = 0
        self._refusal: _Frame | None = None
        self._answering: IDelayedCall | None = None
        self._deadline: IDelayedCall | None = None

    # -- what the hub may do

    def takes(self) -> bool:
        return self._call is not None and len(self._messages) < self._call.most and self._waiting < ANSWER_BYTES

    def alive(self) -> bool | None:
        return self._call is not None or self._clock.seconds() - self._call_ended_at < LIFE_SECONDS

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            self._send(frame)

    def _send(self, frame: bytes) -> None:
        if frame.startswith(b'{"type":"message"'):
            self._messages.append(frame)
            self._waiting += len(frame)
            self._answer_soon()
            return
        read = _frame.decode(frame)
        if read.type == "registered":
            self.session = read.session
            self.begun.callback(None)
        elif read.type == "error":
            self._refusal = read
            self.errors.append({"code": read.code, "detail": read.detail, "id": read.id})

    def send_soon(self, frame: bytes) -> None:
        self.send(frame)

    def ping(self) -> None:
        if self.alive():
            self._clock.callLater(0, self._heard)

    def _heard(self) -> None:
        if self.ended is None:
            self.conversation.heard()

    def close(self, code: int, reason: str) -> None:
        self._end(_problem(code, reason, self._refusal), code)

    def abort(self) -> None:
        self._end(Problem("ended", "the session has ended: its last call is too long ago"), None)

    def unsent(self) -> int:
        return self._waiting

    def taken(self) -> int:
        return self._taken

    def hold(self, holding: bool) -> None:
        pass  # what an agent says comes in requests of their own, each of them bounded

    # -- what the agent does

    def open(self, most: int, seconds: float) -> Call:
        """A call for messages begins; one that was open ends empty."""
        self._finish_call([])
        self._rest()
        call = self._call = Call(most)
        if self._messages:
            self._answer_soon()
        self.conversation.heard()
        self.conversation.drained()
        # Only now: a call that waits 0 seconds still gets what is at hand, and what comes from the disk.
        if seconds < AT_HAND_SECONDS and self.conversation.at_hand():
            seconds = AT_HAND_SECONDS
        call.answered.addTimeout(seconds, self._clock, onTimeoutCancel=lambda _result, _seconds: [])
        call.answered.addBoth(self._call_is_over, call)
        return call

    def _call_is_over(self, messages: list[bytes], call: Call) -> list[bytes]:
        if self._call is call:
            self._call = None
            self._call_ended_at = self._clock.seconds()
            if self.ended is None:
                self._deadline = self._clock.callLater(SESSION_SECONDS, self.abort)
        return messages

    def abandon(self, call: Call) -> None:
        """Who called has hung up: what was meant for it waits for the next call."""
        if self._call is call:
            self._finish_call([])

    def _answer_soon(self) -> None:
        # At the end of this turn: a burst is sent message by message, and is one answer.
        if self._answering is None and self._call is not None:
            self._answering = self._clock.callLater(0, self._answer)

    def _answer(self) -> None:
        self._answering = None
        if self._call is not None:
            messages, self._messages = self._messages, []
            self._taken += self._waiting
            self._waiting = 0
            self._finish_call(messages)

    def _finish_call(self, messages: list[bytes]) -> None:
        if self._call is not None:
            self._call.answer(messages)

    def _rest(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()

    def _end(self, problem: Problem, code: int | None) -> None:
        if self.ended is not None:
            return
        self.ended = problem
        if self._answering is not None:
            self._answering.cancel()
            self._answering = None
        self._finish_call([])
        self._rest()
        if not self.begun.called:
            self.begun.errback(problem)
        # Not from within the hub's own call: it is not done with the session yet.
        self._clock.callLater(0, self._lost, code)

    def _lost(self, code: int | None) -> None:
        self._gone(self)
        self.conversation.lost(code, code is not None)


def _problem(code: int, reason: str, refusal: _Frame | None) -> Problem:
    """What a close of the session says to who calls."""
    detail = refusal.detail if refusal is not None else f"the session has ended: {reason}"
    if code == Close.DUPLICATE:
        return Problem("duplicate", detail)
    if code == Close.UNREGISTERED:
        return Problem("invalid-request", detail)  # not ``ended``: to begin anew would be refused again
    if code == Close.GOING_AWAY:
        return Problem("draining", "the relay is shutting down", retry_after=BUSY_RETRY)
    if code in (Close.UNAUTHORISED, Close.TOKEN_EXPIRED):
        return Problem("unauthenticated", detail)
    if code == Close.OVERLOADED:
        return Problem("overloaded", detail, retry_after=BUSY_RETRY)
    return Problem("ended", detail)
