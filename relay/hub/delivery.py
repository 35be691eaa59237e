"""One POST, one honest answer: accept, send or save, wait, say what became of it (protocol 1.1 'What happens')."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.core.model import Outcome, Reason, Submission
from relay.core.ports import MessageFilters, Tell
from relay.core.problems import Problem
from relay.hub import direct, repeat
from relay.hub.acks import Reader
from relay.hub.context import Context
from relay.hub.courier import Courier
from relay.hub.couriers import Couriers
from relay.hub.direct import Direct, is_free, is_plain
from relay.hub.directory import Directory
from relay.hub.mailbag import Mailbag
from relay.hub.overflow import Overflow
from relay.hub.parcel import Parcel, is_only_kept, may_settle, share_out
from relay.hub.post import Post, make_message
from relay.hub.room import Room
from relay.hub.screen import Screen
from relay.hub.sieve import Sieve
from relay.hub.volley import Volleys, tell_one

DRAIN_RETRY = 5  #: seconds, ``Retry-After`` of a relay that shuts down


class Submit(Protocol):
    """See ``relay.core.ports.Floor.submit``."""

    def __call__(self, submission: Submission, *, line: bool = False) -> Deferred[Outcome]: ...


class Delivery:
    """What a door calls for each message."""

    log = Logger()

    def __init__(
        self,
        context: Context,
        couriers: Couriers,
        directory: Directory,
        overflow: Overflow | None = None,
        filters: MessageFilters | None = None,
    ) -> None:
        """``overflow``: what makes room in a full queue; without it what is new is refused."""
        #: Cancel the answer when nobody reads it any more.
        self.submit: Submit = self.accept
        self._filters = filters
        if filters is not None:
            self.submit = Sieve(context, filters, self.accept).submit
            context.screen = Screen(context, couriers, filters, self.accept)
        self._context = context
        self._room = Room(context, couriers, overflow)
        self._couriers = couriers
        self._directory = directory
        self._mailbag = Mailbag(context, couriers, directory)

    def accept(self, submission: Submission, *, line: bool = False) -> Deferred[Outcome]:
        """``submit`` for what the filters have seen."""
        courier = self._couriers.get(submission.agent)
        if courier is None or not self._goes_directly(courier, submission, line):
            settles = is_only_kept(submission) and may_settle(courier)
            return self._send_off(submission) if settles else self._see_through(submission, line)
        try:
            flight = direct.send(self._context, courier, submission, line, self._finish, Direct)
            if courier.outlet is not None:
                courier.outlet.flush()
        except Exception:
            self.log.failure("a delivery went wrong")
            return fail()
        return flight.wait()

    def _see_through(self, submission: Submission, line: bool) -> Deferred[Outcome]:
        """Any other."""
        reader = Reader()
        outcome: Deferred[Outcome] = Deferred(partial(self._hung_up, submission.agent, reader))
        tell = partial(self._tell, submission.agent, partial(_answer, outcome))
        try:
            self._check()
            self._deliver(submission, reader, line, tell)
        except Exception:
            tell(Failure())
        return outcome

    def _send_off(self, submission: Submission) -> Deferred[Outcome]:
        """One that nobody waits for, and that concerns no other."""
        outcome: Deferred[Outcome] = Deferred()
        try:
            self._check()
            self._room.claim(submission)
            self._mailbag.put(submission, partial(self._arrived, outcome))
        except Exception:
            self._tell(submission.agent, partial(_answer, outcome), Failure())
        return outcome

    def _arrived(self, outcome: Deferred[Outcome], became: Outcome | Problem) -> None:
        """It is durable, or nobody tries any more. An agent that came meanwhile may get it now."""
        if isinstance(became, Problem):
            _answer(outcome, Failure(became))
            return
        courier = self._couriers.get(became.agent)
        if courier is not None:
            courier.pump()
            entry = courier.line.entries.get(became.id)
            if entry is not None and entry.sends:
                became = replace(became, reason=Reason.SENT, attempts=entry.trials.attempts)
        _answer(outcome, became)

    def submit_all(self, lines: Sequence[Submission], tell: Tell) -> Callable[[], object]:
        """See ``relay.core.ports.Floor.submit_all``."""
        if self._filters is not None:
            return self._submit_each(lines, tell)
        parcel = Parcel(self._context, self._couriers, self._directory, tell)
        if shares := share_out(self._context, self._couriers, self._room, lines):
            parcel.add_all(shares)
            lines = ()
        volleys = Volleys(self._context, self._finish, tell)
        readers: list[tuple[str, Reader]] = []
        for index, submission in volleys.fire(self._couriers, self._room, lines):
            courier = self._couriers.get(submission.agent)
            told = partial(self._tell, submission.agent, partial(tell_one, tell, index))
            try:
                if courier is not None and self._goes_directly(courier, submission, True):
                    volleys.send(courier, index, submission)
                    continue
                self._check()
                if is_only_kept(submission) and may_settle(courier):
                    self._room.claim(submission)
                    parcel.add(submission, index)
                else:
                    readers.append((submission.agent, reader := Reader()))
                    self._deliver(submission, reader, True, told)
            except Exception:
                told(Failure())
        volleys.send_off()
        parcel.send()
        return partial(self._all_hung_up, volleys, readers)

    def _submit_each(self, lines: Sequence[Submission], tell: Tell) -> Callable[[], object]:
        """The same where filters see each of them first, and may think about it."""
        works = [self.submit(submission, line=True) for submission in lines]
        for index, work in enumerate(works):
            work.addBoth(partial(tell_one, tell, index))
        return partial(_cancel, works)

    def _all_hung_up(self, volleys: Volleys, readers: list[tuple[str, Reader]]) -> None:
        volleys.hang_up()
        for agent, reader in readers:
            self._hung_up(agent, reader)

    def _hung_up(self, agent: str, reader: Reader, _outcome: object = None) -> None:
        """The message goes its way all the same, but a drain does not wait for its ACK."""
        reader.gone = True
        courier = self._couriers.get(agent)
        if self._context.draining and courier is not None:
            courier.acks.give_up_forsaken(Reason.DRAINING, reader.id)

    def _tell(self, agent: str, tell: Callable[[Outcome | Failure], object], result: Outcome | Failure) -> None:
        courier = self._couriers.get(agent)
        if courier is not None:
            courier.pump()  # it may have been made for this message alone
        if isinstance(result, Failure):
            if not result.check(Problem):
                self.log.failure("a delivery went wrong", result)
        elif result.reason is not None:
            self._directory.seen(agent, 0.0)
        tell(result)

    def _finish(self, flight: Direct, why: Reason | None) -> Deferred[Outcome]:
        """The rest of what was sent directly, and of which there is more to do than to wait for its ACK."""
        agent = flight.courier.agent
        outcome: Deferred[Outcome] = Deferred(partial(self._hung_up, agent, flight.own_reader()))
        flight.courier.set_alarm()
        post = Post(self._context, flight.courier, flight.message, flight.submission)
        post.take_over(flight.entry, flight, why, partial(self._tell, agent, partial(_answer, outcome)))
        return outcome

    def _deliver(
        self, submission: Submission, reader: Reader, line: bool, tell: Callable[[Outcome | Failure], object]
    ) -> None:
        context, couriers = self._context, self._couriers
        if submission.key is not None:
            work = repeat.deliver(context, couriers, self._room, submission, reader, line)
            Deferred.fromCoroutine(work).addBoth(tell)
            return
        self._room.claim(submission)
        now = context.wall()
        message = make_message(submission, context.message_id(now), now, context.limits)
        Post(context, couriers.of(submission.agent), message, submission).accept(reader, line=line).answer(tell)

    def _goes_directly(self, courier: Courier, submission: Submission, line: bool) -> bool:
        """Is it sent at once, and nothing done but to wait for its ACK?"""
        size = len(submission.payload)
        if not is_plain(submission) or (line and courier.silence.mute) or not is_free(courier, size):
            return False
        return self._room.limit(courier.agent, size, courier.held_count, courier.held_bytes) is None

    def _check(self) -> None:
        if self._context.draining:
            raise Problem("draining", "the relay is shutting down", retry_after=DRAIN_RETRY)


def _answer(outcome: Deferred[Outcome], result: Outcome | Failure) -> None:
    if not outcome.called:  # nobody gave up on it
        outcome.callback(result)  # a Failure starts the errbacks


def _cancel(works: Sequence[Deferred[Outcome]]) -> None:
    for work in works:
        work.cancel()
