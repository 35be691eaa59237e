"""A floor over a shaky store, its publishers and agents, and what must be true of them whatever happens.

The world keeps its own books, of what was said on the wires and in the answers alone, and compares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, cast

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from relay.core.model import Form, Letter, MessageView, Notice, Outcome, Past, Standing, Status, Submission
from relay.core.problems import Problem
from relay.core.session import Close, State
from relay.hub.session import AgentSession
from relay.store.memory import MemoryStore
from tests.hub.support import WALL, Answer, Floor
from tests.simulation import rest, truth
from tests.simulation.peers import ACK_WAIT, End, Flight, Parcel
from tests.simulation.silence import Silences
from tests.simulation.stores import Shaky, Shelves

NAMES = ("one", "two")
ENDS = {f"message.{status.value}" for status in Status} - {"message.queued", "message.sent"}
LIMITS: dict[str, Any] = {
    "redeliveries": 3,
    "redelivery_age": 100.0,
    "session_buffer": 1500,
    "unrecorded": 4,
    "queue_count": 25,
    "silent_count": 3,
}
#: How long an orderly end may take: the drain, the last answers, the close.
DRAINED = 21.0


@implementer(ILogObserver)
class Failures:
    """What was logged as gone wrong."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is not None and event["log_level"] is LogLevel.critical:
            self.found.append(failure.getTraceback())


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
        self.given: dict[str, set[str]] = {name: set() for name in NAMES}  #: the names of all sessions there were
        self.highest: dict[str, float] = {}
        self.silences = Silences(LIMITS["silent_count"])
        self.failures = Failures()
        self.wrong: list[str] = []
        globalLogPublisher.addObserver(self.failures)
        self._replaced: End | None = None  #: the last one, until another has its place
        self._together: list[tuple[Parcel, Deferred[Outcome]]] | None = None
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

    def post(self, *, line: bool = False, **fields: Any) -> Parcel:
        number = len(self.parcels) + 1
        if fields.get("key") == "new":
            fields["key"] = f"new-{number}"
        body = json.dumps({"n": number, "to": fields["agent"], "x": "x" * fields.pop("size", 0)}).encode()
        parcel = Parcel(
            number, number, Submission(payload=body, content_type="application/json", form=Form.JSON, **fields)
        )
        parcel.line = line
        self.parcels.append(parcel)
        self._submit(parcel, parcel.submission, line=line)
        return parcel

    def post_together(self, fields: Iterable[dict[str, Any]]) -> None:
        """Lines of a batch that came in one piece."""
        self._together = []
        for each in fields:
            self.post(line=True, **each)
        lines, self._together = self._together, None
        assert lines is not None

        def tell(told: Sequence[tuple[int, Outcome | Problem]]) -> None:
            for n, became in told:
                _fire(lines[n][1], became)

        self.floor.hub.submit_all([parcel.submission for parcel, _ in lines], tell)

    def repeat(self, parcel: Parcel, submission: Submission) -> None:
        """The same POST again, perhaps with other manners."""
        if not parcel.sent and not any(answer.outcome for answer in parcel.answers):
            parcel.moved = True
        self._submit(parcel, submission)

    def keyed_and_sent(self) -> list[Parcel]:
        return [parcel for parcel in self.parcels if parcel.submission.key is not None and parcel.sent]

    def repeat_at_a_full_queue(self, parcel: Parcel) -> None:
        """Whatever is said of it, that is not 429."""
        agent = parcel.submission.agent
        for _ in range(LIMITS["queue_count"] - self._held(agent)):
            self.post(agent=agent, wait=0.0)
        self.repeat(parcel, replace(parcel.submission, wait=0.0))
        self.empty(agent)

    def _doubted(self, agent: str) -> bool:
        """Is it asked for a sign of life? Then nobody waits for its ACKs."""
        courier = self.floor.hub._couriers.get(agent)
        return courier is not None and courier.outlet is not None and courier.outlet.doubted

    def _submit(self, parcel: Parcel, submission: Submission, *, line: bool = False) -> None:
        answer = Answer()
        first = not parcel.unanswered
        parcel.answers.append(answer)
        hub = self.floor.hub
        if first and not self._doubted(submission.agent):
            parcel.watched_until = self.floor.clock.seconds() + submission.wait
        if line:
            self.silences.accepted(submission.agent, self._lines(submission.agent), self.floor.clock.seconds())

        def done(outcome: Outcome) -> None:
            if self.floor.hub is hub:
                answer.outcome = outcome
                self._decided(parcel)
                self._answered(parcel, submission, outcome)

        def refused(failure: Any) -> None:
            if self.floor.hub is hub:
                assert isinstance(failure.value, Problem), failure.getTraceback()
                answer.problem = failure.value
                self._decided(parcel)
                self._refused(parcel, submission, failure.value)

        work: Deferred[Outcome] = Deferred()
        if self._together is not None:
            self._together.append((parcel, work))
        elif line:
            hub.submit_all([submission], lambda told: _fire(work, told[0][1]))
        else:
            hub.submit(submission).chainDeferred(work)
        work.addCallbacks(done, refused)
        work.addErrback(lambda failure: self.failures.found.append(failure.getTraceback()))
        if parcel.id is None and parcel.unanswered and self._together is None:
            parcel.moved = True  # the store is asked for its key first, and it is accepted after that

    def _lines(self, agent: str) -> list[Parcel]:
        """The agent's that are undecided."""
        return [p for p in self.parcels if p.line and p.unanswered and p.submission.agent == agent]

    def _decided(self, parcel: Parcel) -> None:
        agent = parcel.submission.agent
        if parcel.line:
            self.silences.decided(agent, self._lines(agent), self.floor.clock.seconds())

    def _is_watched(self, parcel: Parcel) -> bool:
        """Does a POST wait for its ACK, and not for the disk alone?"""
        now = self.floor.clock.seconds()
        hushed = parcel.line and self.silences.is_mute(parcel.submission.agent, now)
        return parcel.unanswered and now < parcel.watched_until and not hushed

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
            self.demand(outcome.replay or self._is_first(parcel), "a repeat was not said to be one")
        found = self.store.known(outcome.id)
        if outcome.status == "delivered":
            self.demand(parcel.ever_acked, "delivered, and nobody acknowledged it")
            if key is not None:
                self.demand(isinstance(found, Past), "delivered, and with its key that is not durable")
        else:
            self.demand(found is not None, f"{outcome.status}, and it is not durable")
            self.demand(isinstance(found, Standing), f"{outcome.status}, and it has ended")
            self.demand(not parcel.acked, f"{outcome.status}, and it is acknowledged")
            self.demand(outcome.reason is not None, "queued for no reason")

    def _is_first(self, parcel: Parcel) -> bool:
        """Of all that its publisher heard of it, is one answer alone the first?"""
        return sum(answer.outcome is not None and not answer.outcome.replay for answer in parcel.answers) <= 1

    def _refused(self, parcel: Parcel, submission: Submission, problem: Problem) -> None:
        id = problem.fields.get("id")
        match problem.word:
            case "idempotency-key-reused":
                self.demand(submission.key is not None, "a key that nobody used")
                return
            case "rejected":
                self.demand(parcel.refused, "rejected, and no agent refused it")
                if submission.key is not None:
                    self.demand(isinstance(self.store.known(str(id)), Past), "rejected, and with its key not durable")
            case "queue-full":
                self.demand(not parcel.sent and id is None, "refused for a full queue, and it was sent")
                self.demand(self._held(submission.agent) >= LIMITS["queue_count"], "refused, and there is room")
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

    def _held(self, agent: str) -> int:
        """How many messages of the agent take a place in its queue."""
        hub = self.floor.hub
        return hub._context.ledger.depth(agent).count + hub._couriers.held(agent)[0]

    def _gone(self, parcel: Parcel) -> None:
        for end in self.ends:
            end.outstanding.pop(parcel.id or "", None)

    # -- agents

    def connect(self, name: str, window: int, *, polls: bool = False, **fields: Any) -> End:
        end = End(self, name, window, polls=polls)
        end.ack_wait = fields.get("ack_wait", ACK_WAIT)
        end.asked = fields.get("resume", "")
        self.ends.append(end)
        end.register(name, max_in_flight=window, **fields)
        session = end.conversation
        if (
            isinstance(session, AgentSession) and session.state is State.ARRIVING
        ):  # one of a crowd: its turn is the next
            self.floor.clock.advance(0)
        return end

    def resume(self, holder: End, window: int, session: str, **fields: Any) -> End:
        """Come back with the name of the holder's session, or of the one that it took over: that is let in at once."""
        right = holder.live and session in {holder.session, holder.took_over} - {""}
        end = self.connect(holder.name, window, resume=session, **fields)
        if right and self.floor.hub._context.ledger.up:
            self.demand(end.live or end.wire.closed is not None, "who resumes had to wait")
            self.demand(holder.replaced, "the holder was not told that it is replaced")
        return end

    def end_each_time(self, end: End, window: int, orderly: bool) -> None:
        """It ends as soon as it has got something, and comes back later, as often as a message may fail."""
        for _ in range(LIMITS["redeliveries"]):
            end.end(1000) if orderly else self.crash(end)
            self.floor.clock.advance(LIMITS["redelivery_age"] / 2)
            end = self.connect(end.name, window)

    def come_back_with_acks(self, end: End, window: int) -> None:
        done = list(end.outstanding)
        self.crash(end)
        again = self.connect(end.name, window)
        if again.live:
            self.ack(again, done)

    def was_registered(self, end: End, session: str) -> None:
        """A session began, perhaps long after it was asked for. Whose place does it have?"""
        before, self._replaced = self._replaced, None
        if before is not None and end.asked in {before.session, before.took_over} - {""}:
            end.took_over = before.session
        elif end.asked in self.given[end.name]:
            end.took_over = end.asked  # of one that was gone already
        self.given[end.name].add(session)

    def was_closed(self, end: End, code: int) -> None:
        """The relay sent a close."""
        if code == Close.REPLACED:
            self._replaced = end
            ghost = end.wire.kind == "poll" and not end.answers_pings
            known = {end.session, end.took_over} | ({end.asked} & self.given[end.name])
            asked = {other.asked for other in self.ends if other is not end and other.asked}
            self.demand(ghost or bool(asked & known), "one that lives was replaced by a stranger")

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
        self._in_flight(end, id, parcel)

    def _in_flight(self, end: End, id: str, parcel: Parcel) -> None:
        now, before = self.floor.clock.seconds(), end.outstanding.get(id)
        if before is None:
            end.new += 1
            end.outstanding[id] = Flight(1, now)
            return
        parcel.bad += 1
        self.demand(now - before.since >= end.patience(id) - 0.001, f"{parcel.number} was sent again too early")
        self.demand(not self._is_watched(parcel), f"{parcel.number} was sent again while its POST waits")
        end.outstanding[id] = Flight(before.sends + 1, now)

    def _first_send(self, end: End, parcel: Parcel) -> None:
        parcel.sent = True
        self.demand(not self.floor.hub._context.draining, "something was sent for the first time in a drain")
        if not parcel.moved:
            before = self.highest.get(end.name, 0)
            self.demand(parcel.order > before, f"{parcel.number} was sent first after one that came later")
            self.highest[end.name] = parcel.order

    def ack(self, end: End, ids: Iterable[str], **fields: Any) -> None:
        ids = list(ids)
        if end.counts:
            self.silences.broken(end.name, self._lines(end.name), self.floor.clock.seconds())
        for id in ids if end.counts else ():
            parcel = self.by_id[id]
            parcel.ever_acked = True  # also one that was replaced in flight is delivered then
            parcel.acked = parcel.acked or id not in self.over
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

    def progress(self, end: End) -> None:
        for flight in end.outstanding.values() if end.live else ():
            flight.since = self.floor.clock.seconds()
        end.say("progress", ids=list(end.outstanding))

    def work_long(self, end: End) -> None:
        """Say that it works shortly before the first message would come again, and work on past that."""
        patience = min(end.patience(id) for id in end.outstanding)
        self.pass_time(min(patience, ACK_WAIT) - 1)
        self.progress(end)
        self.pass_time(2)

    def call_or_hang_up(self, end: End) -> None:
        """An agent that polls opens a call, or ends it."""
        end.wire.taking = not end.wire.taking
        if end.wire.taking and not end.lost:
            end.conversation.drained()

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
        if notice.event == "message.accepted" and (parcel := self._accepted(id)) is not None:
            self._name(parcel, id)
            if self.store.known(id) is None:
                parcel.superseded = False  # a repeat of what was not kept: it is the newer one now
                if len(parcel.answers) > 1 or self._was_overtaken(parcel):
                    parcel.order = self._latest()
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

    def _accepted(self, id: str) -> Parcel | None:
        """What the hub has under that id since just now, by its payload."""
        put = self.floor.hub._context.on_the_way.get(id)
        message = None if put is None else put.record.message
        for courier in self.floor.hub._couriers:
            if message is None and (entry := courier.line.entries.get(id)) is not None:
                message = entry.message
        if message is None:
            return None
        number: int = json.loads(message.payload)["n"]
        return self.parcels[number - 1]

    def _was_overtaken(self, parcel: Parcel) -> bool:
        """Where a queue is full it is looked up first whether a key is known: others are accepted meanwhile."""
        after = [other for other in self.parcels if other.order > parcel.order and other.id]
        return parcel.submission.key is not None and any(
            other.submission.agent == parcel.submission.agent for other in after
        )

    def _latest(self) -> float:
        """The place of one that is accepted again: behind all that came, before what comes."""
        return max(each.order for each in self.parcels) + 0.001

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

    def requeue(self, id: str, *, times: int = 1) -> None:
        """Several operators may have the same idea at the same time."""
        parcel, was = self.by_id[id], self.over.pop(id, None)
        parcel.sent, parcel.superseded, parcel.acked, parcel.cancelled = False, False, False, False
        old, parcel.order = parcel.order, self._latest()
        parcel.bad, parcel.moved = 0, True
        self.store.holding = (times > 1, False)
        answer, *others = [self.asked(self.floor.hub.requeue(id)) for _ in range(times)]
        self.store.heal()
        for other in others:
            self.demand(bool(other) and isinstance(other[0], Problem), "a letter was requeued twice")
        if not answer or isinstance(answer[0], Problem):
            parcel.order = old
            if was is not None:
                self.over[id] = was
        elif isinstance(answer[0], MessageView):
            assert answer[0].status in (Status.QUEUED, Status.SENT)
            parcel.moved = False

    def cancel(self, id: str) -> None:
        self.by_id[id].cancelled = True

        def cancelled(_: None) -> None:
            found = self.store.known(id)
            self.demand(
                isinstance(found, Past) and found.status is Status.CANCELLED, "cancelled, and it is not durable"
            )

        self._mended(self.floor.hub.cancel(id), cancelled)

    def empty(self, name: str) -> None:
        waiting = [p for p in self.parcels if p.submission.agent == name and not p.sent and self._is_queued(p)]
        for parcel in self.parcels:
            parcel.cancelled = parcel.cancelled or parcel.submission.agent == name

        def emptied(count: int) -> None:
            left = [parcel.number for parcel in waiting if not parcel.sent and self._is_queued(parcel)]
            self.demand(not left, f"emptied, and {left} are queued")
            self.demand(count <= len(self.parcels), "more were cancelled than there are")

        self._mended(self.floor.hub.empty(name), emptied)

    def _mended(self, work: Any, then: Callable[[Any], None]) -> None:
        """What an operator hears is durable."""
        hub = self.floor.hub

        def done(answer: Any) -> None:
            if self.floor.hub is hub:
                then(answer)

        def refused(failure: Any) -> None:
            assert isinstance(failure.value, Problem), failure.getTraceback()
            self.demand(failure.value.word in ("too-late", "not-found", "store-unavailable"), "a cancel was refused")

        answer = Deferred.fromCoroutine(wait_for(work)).addCallbacks(done, refused)
        answer.addErrback(lambda failure: self.failures.found.append(failure.getTraceback()))

    def _is_queued(self, parcel: Parcel) -> bool:
        """Does the store have it to be sent? What has expired may be ending, and is not sent any more."""
        found = None if parcel.id is None else self.store.known(parcel.id)
        return isinstance(found, Standing) and found.record.message.expires_at > self.now

    def look(self, id: str, wait: float) -> None:
        """What is said of a message is true."""
        for view in self.asked(self.floor.hub.message(id, wait=wait)):
            if isinstance(view, MessageView):
                parcel = self.by_id[id]
                self.demand(view.status is not Status.DELIVERED or parcel.ever_acked, "shown delivered, and is not")
                self.demand(view.status is not Status.REJECTED or parcel.refused, "shown rejected, and is not")

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
            parcel.moved = parcel.moved or len([answer for answer in parcel.answers if not answer.known]) > 1
            parcel.answers = [answer for answer in parcel.answers if answer.known]
            parcel.watched_until = 0.0
            committed = parcel.id is not None and parcel.id in self.store.ends
            parcel.acked = committed and self.store.ends[parcel.id or ""] is Status.DELIVERED
        for parcel in self.parcels:
            if (parcel.cancelled or parcel.id in self.over) and parcel.id not in self.store.ends:
                parcel.moved = True  # its end was lost: it comes again, after what followed it
        self.over = {id: status.value for id, status in self.store.ends.items()}
        self.ends, self.silences = [], Silences(LIMITS["silent_count"])
        self.floor.restart()
        self._listen()
        truth.look_for_what_was_promised(self)

    def stop(self, *, acks: bool = False) -> None:
        """The process is told to end, and comes back. ``acks``: each agent says that its first message is done."""
        hub = self.floor.hub
        Deferred.fromCoroutine(wait_for(hub.drain()))
        for end in self.ends:
            if acks and end.live and end.outstanding:
                self.ack(end, list(end.outstanding)[:1])
        if self.store.calm:
            unsent = [parcel for parcel in self.parcels if parcel.unanswered and not parcel.sent]
            assert not unsent, f"in a drain they wait for their first send: {[parcel.number for parcel in unsent]}"
        late = Answer()
        hub.submit(self.parcels[0].submission).addErrback(lambda failure: setattr(late, "problem", failure.value))
        assert late.said == "draining"
        live = [end for end in self.ends if end.live]
        self.pass_time(DRAINED)
        self.check()
        if self.store.calm:
            waiting = [parcel.number for parcel in self.parcels if parcel.unanswered]
            assert not waiting, f"the drain left without an answer: {waiting}"
        alive = [end for end in live if not end.lost and end.wire.closed is None]
        assert not alive, "the drain said nothing to an agent"
        Deferred.fromCoroutine(wait_for(hub.close()))
        self.kill(0)

    def breaks(self, found: int) -> None:
        """A commit fails at its fsync: the agents are sent away, the process ends, the restart reads what is there."""
        live = [end for end in self.ends if end.live]
        self.store.breaks(found)
        assert self.floor.fatal, "the process would go on"
        assert not [end for end in live if end.live], "an agent was kept although the store broke"
        waiting = [parcel.number for parcel in self.parcels if parcel.unanswered and not parcel.sent]
        assert not waiting, f"they wait for a store that broke: {waiting}"
        self.floor.fatal.clear()
        self.kill(0)

    # -- what must be true

    def check(self) -> None:
        truth.check(self)

    def come_to_rest(self) -> None:
        rest.come_to_rest(self)

    def bury(self) -> None:
        globalLogPublisher.removeObserver(self.failures)
        self.shelves.remove()


async def wait_for(work: Any) -> Any:
    return await work


def _fire(work: Deferred[Outcome], became: Outcome | Problem) -> None:
    if isinstance(became, Problem):
        work.errback(became)
    else:
        work.callback(became)
