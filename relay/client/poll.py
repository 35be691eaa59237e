"""A session of long polls in the form of a ``Link`` (protocol 1.5): the same agent where no WebSocket gets through.

Frames go in and out as over a WebSocket; here they become two calls, one that waits for messages and one that answers
them. What these calls have no word for (``window``, ``ping``) is done without the relay.
"""

from __future__ import annotations

import enum
from collections.abc import Coroutine
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from relay.client.door import Door
from relay.client.link import CLOSE_SECONDS, Conversation
from relay.client.policy import Ending
from relay.client.refusal import Refused, Unreachable
from relay.core.wire import encode

WAIT: Final = 30  #: seconds that a call for messages waits for one
MOST: Final = 100  #: messages of one answer
MARGIN: Final = 15.0  #: seconds past the wait: for the way there and back
QUIET: Final = 60.0  #: seconds: what is told as the heartbeat; a call that takes longer has failed by then
SHORTEST: Final = 1.0  #: seconds between two calls of which the first came back empty at once
MOST_ACKS: Final = 1000  #: in one call

_PARAMETERS: Final = ("max_in_flight", "ack_wait", "client", "resume")


class _Next(msgspec.Struct):
    session: str
    messages: list[msgspec.Raw] = []


class _Said(msgspec.Struct):
    errors: list[dict[str, str | None]] = []


class State(enum.Enum):
    """It only moves down this list."""

    OPEN = "open"
    CLOSING = "closing"  #: what was answered is still told to the relay
    OVER = "over"


class PollLink:
    """One session. It uses ``door``, which ends with it."""

    def __init__(self, door: Door, agent: str, conversation: Conversation, clock: IReactorTime) -> None:
        self._door = door
        self._path = f"/v1/agents/{quote(agent, safe='')}"
        self._agent = agent
        self._conversation = conversation
        self._clock = clock
        self._state = State.OPEN
        self._session = ""
        self._room: Deferred[None] | None = None  # waited for while the window is closed
        self._open_window = True
        self._answers: list[tuple[str, Any]] = []
        self._polling: Deferred[None] | None = None
        self._posting: Deferred[None] | None = None

    def open(self) -> None:
        """Begin: the conversation is asked for its registration."""
        self._conversation.connected(self)
        self._conversation.opened()

    # what the conversation calls

    def send(self, frame: bytes) -> None:
        if self._state is not State.OPEN:
            return
        fields = msgspec.json.decode(frame, type=dict[str, msgspec.Raw])
        match msgspec.json.decode(fields.pop("type")):
            case "register":
                self._polling = self._go(self._poll(msgspec.json.decode(frame)))
            case "window":
                self._resize(msgspec.json.decode(fields["max_in_flight"]))
            case "ack":
                ids = msgspec.json.decode(fields["ids"]) if "ids" in fields else None
                self._answer(*(("acks", {"id": id}) for id in ids) if ids is not None else [("acks", fields)])
            case "nack":
                self._answer(("nacks", fields))
            case "progress":
                self._answer(*(("progress", id) for id in msgspec.json.decode(fields["ids"])))

    def clogged(self) -> bool:
        return len(self._answers) >= MOST_ACKS

    def close(self) -> None:
        self._state = State.CLOSING
        if self._posting is None or self._posting.called:
            self._end(Ending(code=1000))
        else:
            self._posting.addTimeout(CLOSE_SECONDS, self._clock)
            self._posting.addBoth(lambda _: self._end(Ending(code=1000)))

    def abort(self) -> None:
        self._end(Ending(detail="the relay did not answer"))

    # what goes on

    def _go(self, work: Coroutine[Deferred[Any], Any, None]) -> Deferred[None]:
        return Deferred.fromCoroutine(work).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self._end(_ending(failure.value, bool(self._session)))

    async def _poll(self, hello: dict[str, Any]) -> None:
        asked_for: dict[str, Any] = {name: hello[name] for name in _PARAMETERS if name in hello}
        if hello.get("raw"):
            asked_for["raw"] = "true"
        # Without a wait, so that it is known at once whether there is a session.
        answer = await self._next(0, asked_for)
        self._session = answer.session
        registered = encode(
            "registered", agent=self._agent, session=answer.session, heartbeat=QUIET, ack_wait=hello["ack_wait"]
        )
        self._conversation.received(registered)
        while True:
            if answer.messages:
                self._conversation.received(_in_one_frame(answer.messages))
            await self._have_room()
            begun = self._clock.seconds()
            answer = await self._next(WAIT, {})
            if not answer.messages and self._clock.seconds() - begun < SHORTEST:
                await deferLater(self._clock, SHORTEST)

    async def _next(self, wait: int, asked_for: dict[str, Any]) -> _Next:
        query = urlencode({"wait": wait, "max": MOST, **asked_for})
        reply = await self._door.request(
            "GET", f"{self._path}/next?{query}", headers=self._name(), timeout=wait + MARGIN
        )
        self._conversation.heard()
        return _read(reply.body, _Next)

    async def _have_room(self) -> None:
        if not self._open_window:
            self._room = Deferred()
            await self._room

    def _resize(self, max_in_flight: int) -> None:
        self._open_window = max_in_flight > 0
        room, self._room = self._room, None if self._open_window else self._room
        if self._open_window and room is not None:
            room.callback(None)

    def _answer(self, *answers: tuple[str, Any]) -> None:
        self._answers += answers
        if self._posting is None or self._posting.called:
            self._posting = self._go(self._post())

    async def _post(self) -> None:
        while self._answers:
            now, self._answers = self._answers[:MOST_ACKS], self._answers[MOST_ACKS:]
            body = msgspec.json.encode(
                {kind: [each for name, each in now if name == kind] for kind in ("acks", "nacks", "progress")}
            )
            headers = {"Content-Type": "application/json", **self._name()}
            reply = await self._door.request("POST", f"{self._path}/acks", headers=headers, body=body, timeout=MARGIN)
            self._conversation.heard()
            for error in _read(reply.body, _Said).errors:
                self._conversation.received(encode("error", **error))

    def _name(self) -> dict[str, str]:
        return {"Relay-Session": self._session} if self._session else {}

    def _end(self, ending: Ending) -> None:
        if self._state is State.OVER:
            return
        self._state = State.OVER
        for going in (self._polling, self._posting, self._room):
            if going is not None:
                going.cancel()
        self._door.close()
        self._conversation.lost(ending)


def _in_one_frame(messages: list[msgspec.Raw]) -> bytes:
    return b'{"type":"messages","messages":[' + b",".join(map(bytes, messages)) + b"]}"


T = TypeVar("T")


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreachable(f"what answered is not a relay: {error}") from None


def _ending(error: BaseException | None, begun: bool) -> Ending:
    """How the session ended, in the words of the WebSocket's endings."""
    if not isinstance(error, Refused):
        return Ending(reached=begun, detail="" if isinstance(error, CancelledError) else str(error))
    problem = error.problem
    if problem.word == "duplicate":
        return Ending(code=4000, detail=problem.detail)
    if problem.word == "ended":
        return Ending(detail=problem.detail)
    after = "" if problem.retry_after is None else f"{problem.retry_after:.0f}"
    return Ending(status=problem.status, retry_after=after, detail=problem.detail)
