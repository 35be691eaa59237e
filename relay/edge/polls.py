"""The calls of agents that poll: ``next`` and ``acks`` (protocol 1.5)."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from relay.core.json import NotJson, check
from relay.core.limits import Limits
from relay.core.ports import Floor
from relay.core.problems import Problem
from relay.edge import query
from relay.edge.access import token_of
from relay.edge.answer import Answer, Header
from relay.edge.poll import Call, PollTransport
from relay.edge.request import DoorRequest
from relay.edge.transport import name_of
from relay.edge.visitors import Visitors

MOST: Final = 1000  #: messages of one answer
DEFAULT_MOST: Final = 100
DEFAULT_WAIT: Final = 30.0

PARAMETERS: Final = {"wait", "max", "max_in_flight", "ack_wait", "raw", "client", "resume"}
JSON: Final[Header] = (b"Content-Type", b"application/json")


class _Nack(msgspec.Struct, omit_defaults=True):
    id: str
    requeue: bool = True
    delay: float | None = None
    reason: str | None = None


class _Ack(msgspec.Struct, omit_defaults=True):
    id: str
    reply: msgspec.Raw = msgspec.Raw(b"")


class _Acks(msgspec.Struct):
    acks: list[_Ack] = []
    nacks: list[_Nack] = []
    progress: list[str] = []


_acks: Final = msgspec.json.Decoder(_Acks)
_encode: Final = msgspec.json.Encoder().encode


class PollDoor:
    """The sessions of all agents that poll, by their names."""

    def __init__(self, hub: Floor, limits: Limits, clock: IReactorTime, visitors: Visitors) -> None:
        self._visitors = visitors
        self._hub = hub
        self._limits = limits
        self._clock = clock
        self._sessions: dict[str, PollTransport] = {}

    async def next(self, request: DoorRequest, agent: str) -> Answer:
        """``GET /v1/agents/{agent}/next``: messages as soon as there are some, none at the end of the wait."""
        asked_for = query.query(request, PARAMETERS)
        wait = min(query.number("wait", asked_for.get("wait"), DEFAULT_WAIT), self._limits.wait_max)
        most = min(max(1, int(query.number("max", asked_for.get("max"), DEFAULT_MOST))), MOST)
        session = await self._session(request, agent, asked_for)
        call = session.open(most, wait)
        request.notifyFinish().addBoth(lambda _: session.abandon(call))
        messages = await call.answered
        if not messages and session.ended is not None and session.ended.word != "draining":
            raise session.ended
        return self._answer(session, call, messages)

    def _answer(self, session: PollTransport, call: Call, messages: list[bytes]) -> Answer:
        body = b'{"session":%b,"messages":[%b]}' % (_encode(session.session), b",".join(messages))
        return Answer(200, (JSON,), body)

    async def _session(self, request: DoorRequest, agent: str, asked_for: dict[str, str]) -> PollTransport:
        if request.requestHeaders.hasHeader(b"relay-session"):
            return self._known(request, agent)
        self._visitors.registers(request.channel.transport.getPeer())
        self._hub.admit_agent()
        register = self._register(agent, asked_for)
        session = PollTransport(agent, name_of(request.client), self._clock, self._limits, self._gone)
        session.conversation = self._hub.converse(session, token_of(request))
        session.conversation.received(_encode(register))
        try:
            await session.begun
        except CancelledError:
            session.abort()  # who called has hung up
            raise
        self._sessions[session.session] = session
        return session

    def _register(self, agent: str, asked_for: dict[str, str]) -> dict[str, Any]:
        """The frame that begins a session."""
        frame: dict[str, Any] = {"type": "register", "agent": agent}
        if (text := asked_for.get("max_in_flight")) is not None:
            frame["max_in_flight"] = int(query.number("max_in_flight", text, 0))
        if (text := asked_for.get("ack_wait")) is not None:
            frame["ack_wait"] = query.number("ack_wait", text, 0)
        frame["raw"] = query.switch("raw", asked_for.get("raw")) is True
        return frame | {name: asked_for[name] for name in ("client", "resume") if name in asked_for}

    def _known(self, request: DoorRequest, agent: str) -> PollTransport:
        names = request.values(b"relay-session")
        session = self._sessions.get(names[0]) if len(names) == 1 else None
        if session is None or session.ended is not None or session.agent != agent:
            raise Problem("ended", "there is no such session of this agent any more: begin anew, without Relay-Session")
        session.conversation.granted(request.grant)
        return session

    def _gone(self, session: PollTransport) -> None:
        self._sessions.pop(session.session, None)

    def acks(self, request: DoorRequest, agent: str) -> Answer:
        """``POST /v1/agents/{agent}/acks``: what the agent says of its messages."""
        session = self._known(request, agent)
        try:
            check(request.body)
            said = _acks.decode(request.body)
        except (NotJson, msgspec.DecodeError) as error:
            raise Problem("invalid-json", f"not a list of acks: {error}"[:200]) from None
        session.errors.clear()
        for ack in said.acks:
            frame = {"type": "ack", "id": ack.id} | ({"reply": ack.reply} if bytes(ack.reply) else {})
            session.conversation.received(_encode(frame))
        for nack in said.nacks:
            session.conversation.received(_encode({"type": "nack"} | msgspec.to_builtins(nack)))
        if said.progress:
            session.conversation.received(_encode({"type": "progress", "ids": said.progress}))
        errors, session.errors = session.errors, []
        return Answer(200, (JSON,), _encode({"errors": errors}))
