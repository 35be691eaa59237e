"""From the broker to the agents: a PUBACK goes out when the relay has the message, or refuses it for good."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.extensions import Outcome, Problem, Submission
from relay_mqtt.backoff import pause
from relay_mqtt.complaints import Complaints
from relay_mqtt.ports import Arrived, Link, Random, Relay
from relay_mqtt.settings import Mqtt
from relay_mqtt.translate import submission

#: Refusals of a moment: the same message may be taken later. All others are for good.
FOR_NOW: Final = ("draining", "overloaded", "store-unavailable", "rate-limited", "idempotency-in-progress")
#: Where one agent's queue is full that may last for months, and would keep all others' messages at the broker.
ITS_OWN: Final = ("queue_count", "queue_bytes")
MOST_BREAKS: Final = 10  #: tries of a message at which the relay breaks, and does not refuse it


@dataclass(eq=False)
class Coming:
    """A message from the broker, until it is decided and the broker knows."""

    place: int  #: in the order of arrival
    arrived: Arrived
    link: Link | None  #: by which the PUBACK goes; None: it was lost, and the broker will send it again
    decided: bool = False
    failures: int = 0

    def __lt__(self, other: Coming) -> bool:
        return self.place < other.place


@dataclass(eq=False)
class Line:
    """Messages of one agent that wait for a better moment, in their order; what comes meanwhile waits behind them."""

    timer: IDelayedCall
    waiting: list[tuple[Coming, Submission]] = field(default_factory=list)


class Inward:
    """Messages from the broker, on whichever link they come.

    What was not acknowledged when a link was lost comes again, under its packet identifier (MQTT 5, 4.4), and is then
    known: it is handed in once. What was acknowledged on a link that was lost then may come again too, if the broker
    did not hear that; it cannot be told from a new one, and is handed in again.
    """

    log = Logger()

    def __init__(self, settings: Mqtt, relay: Relay, random: Random) -> None:
        self._settings = settings
        self._relay = relay
        self._random = random
        self._complaints = Complaints(self.log, relay.reactor)
        self._link: Link | None = None
        self._holding = False
        self._places = 0
        self._unacknowledged: dict[int, Coming] = {}  #: by their packet identifiers
        self._lines: dict[str, Line] = {}
        self._undecided = 0
        self._quiet: Deferred[None] | None = None  #: the relay stops: fires when nothing is under way

    # -- what the link tells

    def connected(self, link: Link, *, resumed: bool) -> None:
        """A broker that has forgotten our session sends nothing again, and its packet identifiers begin anew."""
        self._link, self._holding = link, False
        if not resumed:
            for coming in self._unacknowledged.values():
                coming.link = None
            self._unacknowledged.clear()
        self._regulate()

    def lost(self) -> None:
        self._link = None
        for coming in self._unacknowledged.values():
            coming.link = None

    def arrived(self, link: Link, arrived: Arrived) -> None:
        if self._quiet is not None:
            return  # the broker keeps it
        known = self._unacknowledged.get(arrived.number) if arrived.again else None
        if known is not None:
            self._relay.count("repeated")
            known.link = link
            if known.decided:
                self._acknowledge(known)
            return
        self._relay.count("received")
        self._places += 1
        coming = Coming(self._places, arrived, link)
        if arrived.number:
            self._unacknowledged[arrived.number] = coming
        self._undecided += 1
        self._regulate()
        if arrived.retained and not self._settings.take_retained:
            return self._decide(coming)  # we asked not to be sent such
        try:
            handed_in = submission(arrived, self._settings, self._relay.limits)
        except Problem as problem:
            self._refuse(coming, problem)
        else:
            self._offer(coming, handed_in)

    def stop(self) -> Deferred[None]:
        """Try nothing again: the broker keeps it. Fires when what is under way is decided."""
        self._quiet = Deferred()
        for line in self._lines.values():
            line.timer.cancel()
            self._undecided -= len(line.waiting)
        self._lines.clear()
        self._regulate()
        return self._quiet

    # -- what the relay says

    def _offer(self, coming: Coming, handed_in: Submission) -> None:
        line = self._lines.get(handed_in.agent)
        if line is not None:
            insort(line.waiting, (coming, handed_in))
            return
        answer = self._relay.publish(handed_in)
        answer.addCallbacks(self._taken, self._not_taken, (coming,), {}, (coming, handed_in), {})
        answer.addErrback(lambda failure: self.log.failure("a message from MQTT went wrong", failure))

    def _taken(self, outcome: Outcome, coming: Coming) -> None:
        self._relay.count("passed_on")
        self._decide(coming)

    def _not_taken(self, failure: Failure, coming: Coming, handed_in: Submission) -> None:
        coming.failures += 1
        problem = failure.value
        if not isinstance(problem, Problem):
            self.log.failure("the relay broke at a message from MQTT", failure)
            problem = Problem("internal", "the relay broke at it")
        for_now = (
            problem.word in FOR_NOW
            or (problem.word == "queue-full" and problem.limit not in ITS_OWN)
            or (problem.word == "internal" and coming.failures < MOST_BREAKS)
        )
        if not for_now:
            self._refuse(coming, problem)
        elif self._quiet is not None:
            self._undecided -= 1  # the broker sends it again when we are back
            self._regulate()
        else:
            self._put_off(coming, handed_in, problem)

    def _put_off(self, coming: Coming, handed_in: Submission, problem: Problem) -> None:
        self._relay.count("put_off")
        self._complaints.say("messages from MQTT wait: {why}", why=str(problem))
        line = self._lines.get(handed_in.agent)
        if line is None:
            wait = pause(coming.failures, self._random, problem.retry_after or 0.0)
            timer = self._relay.reactor.callLater(wait, self._try_again, handed_in.agent)
            line = self._lines[handed_in.agent] = Line(timer)
        insort(line.waiting, (coming, handed_in))

    def _try_again(self, agent: str) -> None:
        for coming, handed_in in self._lines.pop(agent).waiting:
            self._offer(coming, handed_in)

    def _refuse(self, coming: Coming, problem: Problem) -> None:
        self._relay.count("refused")
        topic = coming.arrived.topic
        self._complaints.say("a message for the topic {topic} was refused: {why}", topic=topic, why=str(problem))
        self._decide(coming)

    def _decide(self, coming: Coming) -> None:
        coming.decided = True
        self._undecided -= 1
        if coming.link is not None:
            self._acknowledge(coming)
        self._regulate()

    def _acknowledge(self, coming: Coming) -> None:
        number = coming.arrived.number
        if number and coming.link is not None:
            # It may not be there any more: the broker has forgotten our session, or used the number again.
            if self._unacknowledged.get(number) is coming:
                del self._unacknowledged[number]
            coming.link.acknowledge(number)

    def _regulate(self) -> None:
        """With QoS 0 the broker waits for nothing: then who is read no further keeps what comes."""
        holding = self._undecided > self._settings.in_flight
        if self._link is not None and holding != self._holding:
            self._holding = holding
            self._link.hold(holding)
        if self._quiet is not None and not self._undecided and not self._quiet.called:
            self._quiet.callback(None)
