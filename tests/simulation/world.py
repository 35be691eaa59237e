"""A floor over a shaky store, its publishers and agents, and what must be true of them whatever happens.

The world keeps its own books, of what was said on the wires and in the answers alone, and compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from relay.core.entry import Phase
from relay.core.model import NOTHING, Form, Letter, MessageView, Notice, Outcome, Past, Standing, Status, Submission
from relay.core.problems import Problem
from relay.core.session import FENCING
from relay.store.memory import MemoryStore
from tests.hub.support import WALL, Agent, Answer, Floor, Wire
from tests.simulation.stores import Shaky, Shelves

NAMES = ("one", "two")
ENDS = {f"message.{status.value}" for status in Status} - {"message.queued", "message.sent"}
LIMITS = {"redeliveries": 3, "redelivery_age": 100.0, "session_buffer": 1500, "unrecorded": 4}


@implementer(ILogObserver)
class Failures:
    """What was logged as gone wrong."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is not None and event["log_level"] is LogLevel.critical:
            self.found.append(failure.getTraceback())


@dataclass(eq=False)
class Parcel:
    """One payload on its way, as its publisher knows it. Repeats of a POST are the same parcel."""

    number: int
    order: float  #: of acceptance
    submission: Submission
    id: str | None = None
    answers: list[Answer] = field(default_factory=list)
    lost: bool = False  #: the process died, or the store broke, before its last answer
    moved: bool = False  #: accepted more than once: its place is not known for sure
    sent: bool = False
    superseded: bool = False
    acked: bool = False
    bad: int = 0  #: what an agent did that may count against it
    refused: bool = False

    @property
    def promised(self) -> bool:
        """Was it said that it is durable?"""
        return any(answer.outcome and answer.outcome.status in ("queued", "accepted") for answer in self.answers)


class Line(Wire):
    """A wire that tells of each frame at once."""

    def __init__(self, end: End) -> None:
        super().__init__()
        self.end = end

    def send(self, frame: bytes) -> None:
        super().send(frame)
        kind = self.frames[-1]["type"]
        for item in self.frames[-1].get("messages", []) if kind == "messages" else self.frames[-1:]:
            if item["type"] == "message":
                self.end.world.arrived(self.end, item)

    def abort(self) -> None:
        if not self.aborted:
            self.end.blame()
        super().abort()


class End(Agent):
    """An agent's end of a connection."""

    def __init__(self, world: World, name: str, window: int) -> None:
        self.world = world
        self.name = name
        self.window = window
        self.ack_wait = 30.0
        self.outstanding: dict[str, None] = {}
        self.lost = False
        self.answers_pings = True
        self.answered = 0
        self.new = 0  #: messages sent for the first time in this session since the last look
        super().__init__(world.floor, Line(self))

    @property
    def registered(self) -> bool:
        return any(frame["type"] == "registered" for frame in self.wire.frames)

    @property
    def live(self) -> bool:
        return self.registered and not self.lost and not self.wire.aborted and self.wire.closed is None

    @property
    def counts(self) -> bool:
        """Does what it says of messages count?"""
        fenced = self.wire.closed is not None and self.wire.closed[0] in FENCING
        return self.registered and not self.lost and not fenced

    def blame(self) -> None:
        """It broke: that may count against what was in flight."""
        for id in self.outstanding:
            self.world.by_id[id].bad += 1

    def end(self, code: int | None, by_relay: bool = False) -> None:
        if not self.lost and not self.wire.aborted:
            self.lost = True
            self.conversation.lost(code, by_relay)
        self.lost = True


class World:
    """Everything, and the books."""

    def __init__(self, kind: str) -> None:
        self.shelves = Shelves(kind, lambda: WALL + self.floor.clock.seconds())
        self.store = Shaky(self.shelves)
        self.floor = Floor.__new__(Floor)
        self.floor.__init__(cast(MemoryStore, self.store), **LIMITS)  # type: ignore[misc]  # the store asks for the time
        self.parcels: list[Parcel] = []
        self.by_id: dict[str, Parcel] = {}
        self.named: dict[tuple[str, str], str] = {}  #: the id that a key was said to name
        self.ends: list[End] = []
        self.over: dict[str, str] = {}  #: how a message ended, as the bulletin told
        self.highest: dict[str, float] = {}
        self.failures = Failures()
        self.wrong: list[str] = []
        globalLogPublisher.addObserver(self.failures)
        self._posting: Parcel | None = None
        self._graves: list[object] = []
        self._listen()

    def _listen(self) -> None:
        hub = self.floor.hub
        hub._context.chronicle.bulletin.subscribe(
            lambda notice: self._told(notice) if notice is not None and self.floor.hub is hub else None
        )

    @property
    def now(self) -> float:
        return WALL + self.floor.clock.seconds()

    # -- publishers

    def post(self, **fields: Any) -> Parcel:
        number = len(self.parcels) + 1
        body = json.dumps({"n": number, "to": fields["agent"], "x": "x" * fields.pop("size", 0)}).encode()
        parcel = Parcel(
            number, number, Submission(payload=body, content_type="application/json", form=Form.JSON, **fields)
        )
        self.parcels.append(parcel)
        self._submit(parcel, parcel.submission)
        return parcel

    def repeat(self, parcel: Parcel, submission: Submission) -> None:
        """The same POST again, perhaps with other manners."""
        if not parcel.sent and not any(answer.outcome for answer in parcel.answers):
            parcel.moved = True
        self._submit(parcel, submission)

    def _submit(self, parcel: Parcel, submission: Submission) -> None:
        answer = Answer()
        parcel.answers.append(answer)
        hub = self.floor.hub
        self._posting = parcel

        def done(outcome: Outcome) -> None:
            if self.floor.hub is hub:
                answer.outcome = outcome
                self._answered(parcel, submission, outcome)

        def refused(failure: Any) -> None:
            if self.floor.hub is hub:
                assert isinstance(failure.value, Problem), failure.getTraceback()
                answer.problem = failure.value
                self._refused(parcel, submission, failure.value)

        work = hub.submit(submission)
        work.addCallbacks(done, refused)
        work.addErrback(lambda failure: self.failures.found.append(failure.getTraceback()))
        self._posting = None

    def demand(self, what: bool, text: str) -> None:
        """It must be so; said at the next check, for the hub takes in what its callers raise."""
        if not what:
            self.wrong.append(text)

    def _name(self, parcel: Parcel, id: str) -> None:
        """An id never names two payloads, a payload never gets two ids."""
        self.demand(self.by_id.setdefault(id, parcel) is parcel, f"{id} names two payloads")
        if parcel.id != id:
            self.demand(parcel.id is None or parcel.submission.key is None, "a payload with a key got two ids")
            self.demand(parcel.id is None, "a payload got two ids")
            parcel.id = id

    def _answered(self, parcel: Parcel, submission: Submission, outcome: Outcome) -> None:
        self.demand(outcome.agent == submission.agent, "an answer speaks of another agent")
        self._name(parcel, outcome.id)
        key = submission.key
        if key is not None:
            named = self.named.setdefault((submission.agent, key), outcome.id)
            self.demand(named == outcome.id, f"the key {key} names two messages")
        found = self.store.known(outcome.id)
        if outcome.status == "delivered":
            self.demand(parcel.acked, "delivered, and nobody acknowledged it")
            if key is not None:
                self.demand(isinstance(found, Past), "delivered, and with its key that is not durable")
        else:
            self.demand(found is not None, f"{outcome.status}, and it is not durable")
            self.demand(outcome.reason is not None, "queued for no reason")

    def _refused(self, parcel: Parcel, submission: Submission, problem: Problem) -> None:
        id = problem.fields.get("id")
        match problem.word:
            case "idempotency-key-reused":
                self.demand(submission.key is not None, "a key that nobody used")
                return
            case "rejected":
                self.demand(parcel.refused, "rejected, and no agent refused it")
            case "replaced":
                by = self.by_id[problem.fields["by"]]
                self.demand(by.submission.topic == submission.topic is not None, "replaced by one of another topic")
                self.demand(by.order > parcel.order or by.moved, "replaced by an older one")
            case "undeliverable":
                once = len(parcel.answers) == 1
                honest = bool(problem.fields.get("sent")) == parcel.sent
                self.demand(not once or honest, "it is not said whether it was sent")
            case "store-unavailable":
                if id is not None and not submission.key:
                    self._gone(parcel)
            case word:
                self.demand(word in ("ended", "idempotency-in-progress", "draining"), f"refused as {word}")
        if id is not None:
            self._name(parcel, id)

    def _gone(self, parcel: Parcel) -> None:
        for end in self.ends:
            end.outstanding.pop(parcel.id or "", None)

    # -- agents

    def connect(self, name: str, window: int, **fields: Any) -> End:
        end = End(self, name, window)
        end.ack_wait = fields.get("ack_wait", 30.0)
        self.ends.append(end)
        end.register(name, max_in_flight=window, **fields)
        return end

    def arrived(self, end: End, item: dict[str, Any]) -> None:
        """A message was sent."""
        id, number, to = item["id"], item["payload"]["n"], item["payload"]["to"]
        parcel = self.parcels[number - 1]
        self.demand(to == end.name == parcel.submission.agent, "a message went to the wrong agent")
        self.demand(end.live or not end.wire.closed, "something was sent after the close")
        self._name(parcel, id)
        self.demand(id not in self.over, f"{parcel.number} ended {self.over.get(id)} and was sent again")
        self.demand(not parcel.acked, f"{parcel.number} was acknowledged and sent again")
        self.demand(self.store.ends.get(id) is None, f"{parcel.number} has ended on the disk and was sent again")
        self.demand(not parcel.superseded, f"{parcel.number} was replaced and sent again")
        if parcel.submission.ttl != 0:
            self.demand(self.now < datetime.fromisoformat(item["expires_at"]).timestamp(), "it was sent after its time")
        elif item["queued"]:
            self.demand(parcel.submission.key is not None, "now or never came from the disk")
        if not parcel.sent:
            self._first_send(end, parcel)
        if id in end.outstanding:
            parcel.bad += 1
        else:
            end.new += 1
        end.outstanding[id] = None

    def _first_send(self, end: End, parcel: Parcel) -> None:
        parcel.sent = True
        if not parcel.moved:
            before = self.highest.get(end.name, 0)
            self.demand(parcel.order > before, f"{parcel.number} was sent first after one that came later")
            self.highest[end.name] = parcel.order

    def ack(self, end: End, ids: Iterable[str], **fields: Any) -> None:
        ids = list(ids)
        for id in ids if end.counts else ():
            parcel = self.by_id[id]
            if id not in self.over:
                parcel.acked = True
            for other in self.ends:
                if other.name == end.name:
                    other.outstanding.pop(id, None)
        if len(ids) == 1:
            end.say("ack", id=ids[0], **fields)
        else:
            end.say("ack", ids=ids, **fields)

    def nack(self, end: End, id: str, **fields: Any) -> None:
        parcel = self.by_id[id]
        if end.counts:
            parcel.bad += 1
            parcel.refused = parcel.refused or not fields.get("requeue", True)
            for other in self.ends:
                if other.name == end.name:
                    other.outstanding.pop(id, None)
        end.say("nack", id=id, **fields)

    def crash(self, end: End) -> None:
        end.blame()
        end.end(None)

    def see_off(self) -> None:
        """Who was told to go goes; who is asked for a sign of life gives it."""
        for end in self.ends:
            if end.lost or end.wire.aborted:
                end.lost = True
            elif end.wire.closed is not None:
                end.end(end.wire.closed[0], by_relay=True)
            elif end.answers_pings and end.wire.pings > end.answered:
                end.answered = end.wire.pings
                end.conversation.heard()
        self.ends = [end for end in self.ends if not end.lost]

    # -- what the hub tells

    def _told(self, notice: Notice) -> None:
        id = notice.fields.get("id")
        if id is None:
            return
        if notice.event == "message.accepted" and self._posting is not None:
            self._name(self._posting, id)
        if notice.event in ENDS:
            status = notice.event.removeprefix("message.")
            guilty = id in self.by_id and self.by_id[id].bad + 1 >= LIMITS["redeliveries"]
            self.demand(status != "dead" or guilty, "an innocent message died")
            self.over[id] = status
            if status == "replaced":
                calm = [end for end in self.ends if end.live and not end.ack_wait]
                self.demand(not any(id in end.outstanding for end in calm), "one in flight was called back")
            for end in self.ends:
                end.outstanding.pop(id, None)
        elif notice.event == "message.queued" and id in self.by_id:
            self._supersede(self.by_id[id])

    def _supersede(self, newer: Parcel) -> None:
        topic, agent = newer.submission.topic, newer.submission.agent
        for parcel in self.parcels if topic is not None and not newer.moved else ():
            if (parcel.submission.topic, parcel.submission.agent) == (topic, agent) and parcel.order < newer.order:
                parcel.superseded = True

    # -- operators

    def asked(self, work: Any) -> list[Any]:
        answer = self.floor.asked(work)
        if answer and isinstance(answer[0], Exception):
            assert isinstance(answer[0], Problem), repr(answer[0])
        return answer

    def requeue(self, id: str) -> None:
        parcel, was = self.by_id[id], self.over.pop(id, None)
        parcel.sent, parcel.superseded, parcel.acked = False, False, False
        old, parcel.order = parcel.order, max(each.order for each in self.parcels) + 0.001
        parcel.bad, parcel.moved = 0, True
        answer = self.asked(self.floor.hub.requeue(id))
        if not answer or isinstance(answer[0], Problem):
            parcel.order = old
            if was is not None:
                self.over[id] = was
        elif isinstance(answer[0], MessageView):
            assert answer[0].status in (Status.QUEUED, Status.SENT)
            parcel.moved = False

    def seen_by(self, end: End) -> list[str]:
        """The ids of all that its agent ever saw."""
        return [p.id for p in self.parcels if p.sent and p.id is not None and p.submission.agent == end.name]

    def letters(self) -> list[Letter]:
        """The dead letters, if the store tells."""
        answer = self.asked(self.floor.hub.letters(after="", limit=100))
        return answer[0] if answer and isinstance(answer[0], list) else []

    # -- time, and death

    def pass_time(self, seconds: float) -> None:
        while seconds > 0:
            self.see_off()
            self.floor.clock.advance(min(1.0, seconds))
            seconds -= 1
        self.see_off()

    def kill(self, found: int) -> None:
        """The process dies and comes back. Who waited for an answer does not know."""
        self._graves.append((self.floor.hub, self.floor.clock))  # its pieces are not swept up while the test goes on
        self.store.killed(found)
        for parcel in self.parcels:
            waits = not all(answer.known for answer in parcel.answers)
            parcel.lost = parcel.lost or waits
            parcel.answers = [answer for answer in parcel.answers if answer.known]
            committed = parcel.id is not None and parcel.id in self.store.ends
            parcel.acked = committed and self.store.ends[parcel.id or ""] is Status.DELIVERED
            parcel.moved = parcel.moved or waits
        self.over = {id: status.value for id, status in self.store.ends.items()}
        self.ends = []
        self.floor.restart()
        self._listen()
        self.look_for_what_was_promised()

    # -- what must be true

    def check(self) -> None:
        assert not self.wrong, self.wrong[0]
        assert not self.failures.found, self.failures.found[0]
        for end in self.ends:
            if end.wire.aborted:
                end.lost = True
        self.ends = [end for end in self.ends if not end.lost]
        for name in NAMES:
            live = [end for end in self.ends if end.name == name and end.live]
            assert len(live) <= 1, f"{name} has {len(live)} live sessions"
        for end in self.ends:
            if end.new and end.live:
                assert len(end.outstanding) <= end.window, f"{len(end.outstanding)} in flight, allowed {end.window}"
            end.new = 0
        hub = self.floor.hub
        for courier in hub._couriers:
            flying = sum(entry.phase is Phase.FLYING for entry in courier.line.entries.values())
            assert courier.line.flying == flying, "the line has miscounted"
        assert hub._context.pressure.held >= 0
        ledger = hub._context.ledger
        if self.store.calm and not any(ledger.unrecorded(name) for name in NAMES):
            for name in NAMES:
                assert ledger.depth(name) == self.store.depth(name), f"the ledger has miscounted {name}"

    def look_for_what_was_promised(self) -> None:
        for parcel in self.parcels:
            if parcel.id is None or not parcel.promised:
                continue
            found = self.store.known(parcel.id)
            assert found is not None, f"{parcel.number} was promised and is lost"
            if isinstance(found, Past):
                assert found.status is Status.DELIVERED or found.reason or parcel.refused, "ended without a reason"

    def come_to_rest(self) -> None:
        """Everything is healed, everybody acknowledges, those who are not here come: nothing may be left.

        Who is here stays: what is queued for a session must come in that session.
        """
        self.store.heal()
        for end in self.ends:
            end.answers_pings, end.wire.stalled = True, False
            end.wire.take()
            if end.live:
                end.window = 1000
                end.say("window", max_in_flight=1000)
        self.pass_time(6)
        self.check()
        for _ in range(40):
            for name in NAMES:
                if not any(end.name == name and end.live for end in self.ends):
                    self.connect(name, 1000)
            for end in self.ends:
                if end.live and end.outstanding:
                    self.ack(end, end.outstanding)
            self.pass_time(3)
            self.check()
            if self._is_quiet():
                break
            self._jump()
        self.look_for_what_was_promised()
        self._nothing_is_left()

    def _is_quiet(self) -> bool:
        answered = all(answer.known for parcel in self.parcels for answer in parcel.answers)
        return answered and not self.floor.hub._context.ledger.total.count

    def _jump(self) -> None:
        """Nearer to when the next delay is over."""
        for _ in range(10):
            self.see_off()
            self.floor.clock.advance(10)

    def _nothing_is_left(self) -> None:
        context = self.floor.hub._context
        unanswered = [parcel.number for parcel in self.parcels if not all(answer.known for answer in parcel.answers)]
        assert not unanswered, f"never answered: {unanswered}"
        left = {name: self.store.depth(name) for name in NAMES}
        assert set(left.values()) == {NOTHING}, f"left in the queues: {left}"
        assert context.ledger.total == NOTHING
        assert not any(context.ledger.unrecorded(name) for name in NAMES)
        assert context.pressure.held == 0
        assert context.crowd.waiting == 0
        for end in self.ends:
            end.end(1000)
        self.pass_time(2)
        assert [courier.agent for courier in self.floor.hub._couriers] == []
        assert not context.chronicle._watchers
        timers = [str(call) for call in self.floor.clock.getDelayedCalls()]
        assert len(timers) == 1, f"timers beside the heartbeat: {timers}"

    def bury(self) -> None:
        globalLogPublisher.removeObserver(self.failures)
        self.shelves.remove()


__all__ = ["NAMES", "Standing", "World"]
