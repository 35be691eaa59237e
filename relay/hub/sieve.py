"""Where filters see messages on their way in. Those of one agent keep their order while a filter thinks."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable
from typing import Protocol

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from relay.core.model import Outcome, Submission
from relay.core.ports import MessageFilters
from relay.core.problems import Problem
from relay.hub.context import Context

BUSY_RETRY = 5  #: seconds, ``Retry-After`` while filters think about as many messages as they may


class Accept(Protocol):
    """What becomes of a message that has passed."""

    def __call__(self, submission: Submission, *, line: bool) -> Deferred[Outcome]: ...


class _Place:
    """A message that waits for its filters, or for one before it that does."""

    def __init__(self, line: bool) -> None:
        self.line = line
        self.verdict: Submission | Failure | None = None
        self.accepted: Deferred[Outcome] | None = None
        self.outcome: Deferred[Outcome] = Deferred(self._nobody_reads_it)

    def _nobody_reads_it(self, _: Deferred[Outcome]) -> None:
        """The message goes its way all the same."""
        if self.accepted is not None:
            self.accepted.cancel()


class Sieve:
    """Asks the filters, and hands on what they make of each message."""

    def __init__(self, context: Context, filters: MessageFilters, accept: Accept) -> None:
        self._context = context
        self._filters = filters
        self._accept = accept
        self._lines: dict[str, deque[_Place]] = {}
        self._waiting = 0

    def submit(self, submission: Submission, *, line: bool = False) -> Deferred[Outcome]:
        """See ``relay.core.ports.Floor.submit``."""
        try:
            self._check()
            verdict = self._filters.ingest(submission)
        except Problem:
            return fail()
        if isinstance(verdict, Submission) and submission.agent not in self._lines:
            return self._accept(verdict, line=line)
        place = _Place(line)
        self._lines.setdefault(submission.agent, deque()).append(place)
        self._waiting += 1
        self._context.crowd.came(1)
        if isinstance(verdict, Submission):
            place.verdict = verdict
        else:
            _deferred(verdict).addBoth(self._judged, place, submission.agent)
        return place.outcome

    def _check(self) -> None:
        most = self._context.limits.extension_queue
        if self._waiting >= most:
            detail = f"{most} messages wait for filters"
            raise Problem("overloaded", detail, retry_after=BUSY_RETRY, limit="extension_queue")

    def _judged(self, verdict: Submission | Failure, place: _Place, agent: str) -> None:
        place.verdict = verdict
        line = self._lines[agent]
        while line and line[0].verdict is not None:
            first = line.popleft()
            if not line:
                del self._lines[agent]
            self._waiting -= 1
            self._go_on(first)

    def _go_on(self, place: _Place) -> None:
        verdict = place.verdict
        if isinstance(verdict, Submission):
            place.accepted = self._accept(verdict, line=place.line)
            place.accepted.addBoth(_tell, place)
        else:
            _tell(verdict, place)
        self._context.crowd.went()


def _tell(result: Outcome | Failure | None, place: _Place) -> None:
    if not place.outcome.called:
        place.outcome.callback(result)  # type: ignore[arg-type]  # a Failure starts the errbacks


def _deferred(waiting: Awaitable[Submission]) -> Deferred[Submission]:
    async def wait() -> Submission:
        return await waiting

    return waiting if isinstance(waiting, Deferred) else Deferred.fromCoroutine(wait())
