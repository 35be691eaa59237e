"""A floor on a fake clock with the memory store, and agents that speak to it frame by frame."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.auth.audit import AuditLog
from relay.auth.open import OpenHouse
from relay.core.limits import Limits
from relay.core.model import Form, MessageView, Outcome, Past, Standing, Submission, Write
from relay.core.ports import AgentConversation, StoreUnavailable
from relay.core.problems import Problem
from relay.hub.service import Hub
from relay.store.memory import MemoryStore

WALL = 1_800_000_000.0
EVERYTHING: dict[str, Any] = {"after": 0, "before": 2**60, "now": float("inf"), "limit": 100_000, "max_bytes": 1 << 40}


@dataclass
class Answer:
    """What became of a POST, when it is known."""

    outcome: Outcome | None = None
    problem: Problem | None = None

    def is_(self, became: Outcome | Problem) -> None:
        """That became of it."""
        if isinstance(became, Problem):
            self.problem = became
        else:
            self.outcome = became

    @property
    def known(self) -> bool:
        return self.outcome is not None or self.problem is not None

    @property
    def id(self) -> str:
        """Of the message; its answer must be known."""
        if self.outcome is not None:
            return self.outcome.id
        assert self.problem is not None
        return str(self.problem.fields["id"])

    @property
    def said(self) -> str:
        """``delivered``, ``queued:away``, a problem's word, or ``waiting``."""
        if self.problem is not None:
            return self.problem.word
        if self.outcome is None:
            return "waiting"
        return self.outcome.status + (f":{self.outcome.reason.value}" if self.outcome.reason else "")


@dataclass(eq=False)
class Wire:
    """An AgentTransport in memory: it remembers what was said, and takes it as fast as ``stall`` allows."""

    peer: str = "127.0.0.1:1"
    kind: str = "websocket"
    holds: bool = True
    taking: bool = True  #: does it take anything at all?
    frames: list[dict[str, Any]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    pings: int = 0
    closed: tuple[int, str] | None = None
    aborted: bool = False
    held: bool = False
    stalled: bool = False
    waiting: int = 0
    gone: int = 0
    conversation: AgentConversation | None = None

    def alive(self) -> bool | None:
        return None

    def takes(self) -> bool:
        return self.taking

    def send(self, *frames: bytes) -> None:
        self.frames += map(json.loads, frames)
        self.sizes += map(len, frames)
        if self.stalled:
            self.waiting += sum(map(len, frames))
        else:
            self.gone += sum(map(len, frames))

    def send_soon(self, frame: bytes) -> None:
        self.send(frame)

    def ping(self) -> None:
        self.pings += 1

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = True
            assert self.conversation is not None
            self.conversation.lost(None, False)

    def unsent(self) -> int:
        return self.waiting

    def taken(self) -> int:
        return self.gone

    def hold(self, holding: bool) -> None:
        self.held = holding

    def take(self, size: int | None = None) -> None:
        """The socket takes some of what waits, or all of it."""
        size = self.waiting if size is None else min(size, self.waiting)
        self.waiting -= size
        self.gone += size
        if not self.waiting and self.conversation is not None:
            self.conversation.drained()


class Agent:
    """The other end of a wire."""

    def __init__(self, floor: Floor, wire: Wire | None = None) -> None:
        self.floor = floor
        self.wire = wire or Wire()
        self.conversation = floor.hub.converse(self.wire)
        self.wire.conversation = self.conversation
        self.read = 0

    def say(self, type: str, **fields: Any) -> None:
        self.conversation.received(json.dumps({"type": type, **fields}).encode())

    def register(self, agent: str = "desk-1", **fields: Any) -> Agent:
        self.say("register", agent=agent, **fields)
        return self

    @property
    def session(self) -> str:
        return str(next(frame for frame in self.wire.frames if frame["type"] == "registered")["session"])

    def heard(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The frames since the last call (all of them are taken, those of ``kind`` returned)."""
        new, self.read = self.wire.frames[self.read :], len(self.wire.frames)
        return [frame for frame in new if kind in (None, frame["type"])]

    def messages(self) -> list[Any]:
        """The payloads that came since the last call."""
        return [frame["payload"] for frame in self.heard("message")]

    def batches(self) -> list[list[Any]]:
        """The payloads that came since the last call, by the frames they came in."""
        frames = [frame for frame in self.heard() if frame["type"] in ("message", "messages")]
        return [[item["payload"] for item in frame.get("messages", [frame])] for frame in frames]

    def ids(self) -> list[str]:
        return [frame["id"] for frame in self.heard("message")]

    def ack(self, *ids: str) -> None:
        self.say("ack", ids=list(ids))

    def leave(self, code: int | None = 1000) -> None:
        self.conversation.lost(code, False)

    def crash(self) -> None:
        self.conversation.lost(None, False)


class Floor:
    """A hub with its store and its clock. ``restart`` keeps the store alone."""

    def __init__(
        self, store: MemoryStore | None = None, *, on_duplicate: str = "reject", filters: Any = None, **limits: Any
    ) -> None:
        self.clock = Clock()
        self.store = store or MemoryStore(wall=lambda: WALL + self.clock.seconds())
        self.numbers = itertools.count(1)
        self.random = random.Random(1)
        self.fatal: list[Exception] = []
        self._settings: dict[str, Any] = {"limits": Limits(**limits), "on_duplicate": on_duplicate, "filters": filters}
        self.hub = self._hub()

    def _hub(self) -> Hub:
        hub = Hub(
            store=self.store,
            authenticator=OpenHouse(),
            audit=AuditLog(200),
            clock=(clock := self.clock),
            wall=lambda: WALL + clock.seconds(),
            random=self.random,
            ack_timeout=5.0,
            heartbeat=30.0,
            node="node-1",
            server="relay-test",
            **self._settings,
        )
        hub.on_fatal(self.fatal.append)
        hub.start()
        return hub

    def restart(self) -> None:
        """The process is killed and started again: nothing of it is left but the store, and time goes on."""
        clock = Clock()
        clock.advance(self.clock.seconds())
        self.clock = clock
        self.hub = self._hub()

    def agent(self) -> Agent:
        return Agent(self)

    # -- the store, as its disk behaves

    def store_fails(self, *kinds: type[Write], reads: bool = False) -> None:
        self.store.fail_with(StoreUnavailable("disk full"), *kinds, reads=reads)

    def queued(self) -> list[str]:
        """The ids of what the store keeps in its queues, however it behaves."""
        store = MemoryStore()
        store._shelf = self.store._shelf
        pages = [store.page(agent, **EVERYTHING) for agent in self.now(store.open()).depths]
        return [record.message.id for page in pages for record in self.now(page).records]

    def ended(self) -> dict[str, tuple[str, str]]:
        """By id: status and reason of the dead letters."""
        letters = self.now(self.store.letters("", 1000))
        return {letter.past.id: (letter.past.status.value, letter.past.reason) for letter in letters}

    def find(self, id: str) -> Standing | Past | None:
        """What the store knows of a message."""
        found: Standing | Past | None = self.now(self.store.find(id))
        return found

    def look(self, id: str) -> MessageView:
        """What a publisher sees of a message."""
        view: MessageView | None = self.now(self.hub.message(id))
        assert view is not None
        return view

    def now(self, work: Any) -> Any:
        """What a call gives that is answered at once; its Problem is raised."""
        answer = self.asked(work)
        assert answer, "it is not answered yet"
        if isinstance(answer[0], Exception):
            raise answer[0]
        return answer[0]

    def asked(self, work: Any) -> list[Any]:
        """The answer to a call, or its exception, when there is one."""
        answer: list[Any] = []
        Deferred.fromCoroutine(_await(work)).addCallbacks(answer.append, lambda failure: answer.append(failure.value))
        return answer

    def post(
        self,
        payload: Any = None,
        *,
        agent: str = "desk-1",
        wait: float = 5.0,
        content_type: str = "application/json",
        form: Form = Form.JSON,
        line: bool = False,
        **fields: Any,
    ) -> Answer:
        """POST a JSON payload (its number, if none is given). ``fields`` are the submission's."""
        payload = next(self.numbers) if payload is None else payload
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        answer = Answer()

        def done(outcome: Outcome) -> None:
            answer.outcome = outcome

        submission = Submission(agent, body, content_type, form, wait, **fields)
        if line:
            self.hub.submit_all([submission], lambda became: answer.is_(became[0][1]))
            return answer
        work = Deferred.fromCoroutine(_await(self.hub.submit(submission)))
        work.addCallbacks(done, lambda failure: setattr(answer, "problem", failure.value))
        return answer

    def pass_time(self, seconds: float, step: float = 1.0) -> None:
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step


async def _await(work: Any) -> Any:
    return await work
