"""From agents to the broker: the bridge is an agent itself, and acknowledges what the broker has acknowledged."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.extensions import Problem, Received
from relay_mqtt.backoff import pause
from relay_mqtt.complaints import Complaints
from relay_mqtt.ports import Answer, Link, Random, Relay
from relay_mqtt.settings import Mqtt
from relay_mqtt.translate import leaving


class State(enum.Enum):
    """Where the bridge stands as an agent."""

    AWAY = "away"  #: there is no broker: what is sent to the bridge is queued by the relay
    COMING = "coming"  #: it asks for its place
    HERE = "here"
    RESTING = "resting"  #: it did not get its place, or lost it, and asks again in a while


class NotTaken(Exception):
    """The broker does not take a message now. It comes again."""


class Outward:
    """The bridge as an agent: there while the broker is, so that a message for it is queued meanwhile."""

    log = Logger()

    def __init__(self, settings: Mqtt, relay: Relay, random: Random) -> None:
        self._settings = settings
        self._relay = relay
        self._random = random
        self._complaints = Complaints(self.log, relay.reactor)
        self._state = State.AWAY
        self._link: Link | None = None
        self._most = settings.in_flight
        self._turn = 0  #: rises with each attempt: an answer to an earlier one is for nobody
        self._end: Callable[[], object] | None = None
        self._timer: IDelayedCall | None = None
        self._failures = 0
        self._under_way = 0
        self._quiet: Deferred[None] | None = None  #: the relay stops: fires when nothing is under way

    # -- what the link tells

    def connected(self, link: Link, *, in_flight: int) -> None:
        self._link = link
        self._most = min(self._settings.in_flight, in_flight)
        self._failures = 0
        if self._settings.agent and self._state is State.AWAY and self._quiet is None:
            self._attach()

    def lost(self) -> None:
        self._link = None
        self._leave()

    def stop(self) -> Deferred[None]:
        """Fires when the broker has answered all that was handed to it; ``lost`` is to follow."""
        self._quiet = Deferred()
        self._look()
        return self._quiet

    # -- its place as an agent

    def _attach(self) -> None:
        self._state = State.COMING
        self._turn += 1
        turn = self._turn

        def gone(problem: Problem) -> None:
            if turn == self._turn:
                self._end = None
                self._rest(problem)

        def here(end: Callable[[], object]) -> None:
            if turn != self._turn:
                end()  # the link was lost meanwhile
                return
            self._state, self._end, self._failures = State.HERE, end, 0

        def refused(failure: Failure) -> None:
            if turn == self._turn:
                problem = failure.value
                self._rest(problem if isinstance(problem, Problem) else Problem("internal", str(problem)))

        attached = self._relay.attach(self._settings.agent, self._handle, gone, max_in_flight=self._most)
        attached.addCallbacks(here, refused)
        attached.addErrback(lambda failure: self.log.failure("being an agent went wrong", failure))

    def _rest(self, problem: Problem) -> None:
        self._state = State.RESTING
        if self._quiet is not None:
            return
        self._failures += 1
        self._complaints.say("the bridge is not the agent {agent}: {why}", agent=self._settings.agent, why=str(problem))
        wait = pause(self._failures, self._random, problem.retry_after or 0.0)
        self._timer = self._relay.reactor.callLater(wait, self._again)

    def _again(self) -> None:
        self._timer = None
        self._attach()

    def _leave(self) -> None:
        self._state = State.AWAY
        self._turn += 1
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        end, self._end = self._end, None
        if end is not None:
            end()

    # -- a message

    def _handle(self, received: Received) -> Deferred[None]:
        """Acknowledged when the broker has it. Fails with Problem: refused for good."""
        if self._link is None:
            return fail(NotTaken("the broker is not there"))
        try:
            going = leaving(received, self._settings, self._relay.wall())
        except Problem:
            self._relay.count("not_sent")
            return fail()
        self._under_way += 1
        answer: Deferred[Any] = maybeDeferred(self._link.publish, going)
        answer.addCallback(self._answered)
        return answer.addBoth(self._done)

    def _answered(self, answer: Answer) -> None:
        if answer.taken:
            self._relay.count("sent")
            return
        self._relay.count("not_sent")
        self._complaints.say("the broker refuses a message: {why}", why=answer.words)
        if answer.for_good:
            raise Problem("rejected", f"the MQTT broker refuses it: {answer.words}")
        raise NotTaken(answer.words)

    def _done(self, result: Any) -> Any:
        self._under_way -= 1
        self._look()
        return result

    def _look(self) -> None:
        if self._quiet is not None and not self._under_way and not self._quiet.called:
            self._quiet.callback(None)
