"""Plugins that see every message: the configured filters in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import asdict, replace
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.core import payload
from relay.core.ids import is_agent_id
from relay.core.limits import Limits
from relay.core.model import Message, Submission
from relay.core.ports import FilterFailed
from relay.core.problems import Problem
from relay.extensions.health import Health

M = TypeVar("M", Submission, Message)

RETRY: Final = 30  #: seconds, ``Retry-After`` of a message that a filter could not judge


@dataclass(frozen=True, slots=True)
class Filter:
    """One configured filter: the plugin's object, and how it does."""

    health: Health
    ingest: Callable[[Submission], Any] | None
    before_send: Callable[[Message], Any] | None


class Rubbish(Exception):
    """A hook returned something that its contract does not know."""


class Filters:
    """Implements ``relay.core.ports.MessageFilters``.

    ``extension_seconds`` of the limits is how long an asynchronous filter may take for one message.
    """

    def __init__(self, filters: Sequence[Filter], *, limits: Limits) -> None:
        self._ingest = [each for each in filters if each.ingest is not None]
        self._before_send = [each for each in filters if each.before_send is not None]
        self._limits = limits

    def ingest(self, submission: Submission) -> Submission | Deferred[Submission]:
        """What becomes of a submission. Raises Problem (or the Deferred fails with it)."""
        return self._ingest_from(0, submission)

    def _ingest_from(self, first: int, submission: Submission) -> Submission | Deferred[Submission]:
        for number in range(first, len(self._ingest)):
            each = self._ingest[number]
            assert each.ingest is not None
            try:
                verdict = each.ingest(submission)
                if isinstance(verdict, Deferred):
                    return self._ingest_later(number, submission, verdict)
                submission = _submission(submission, verdict, self._limits)
            except Exception:
                raise _refusal(each.health) from None
            each.health.worked()
        return submission

    def _ingest_later(self, number: int, submission: Submission, verdict: Deferred[Any]) -> Deferred[Submission]:
        health = self._ingest[number].health

        async def judge() -> Submission:
            try:
                changed = _submission(
                    submission, await health.within(self._limits.extension_seconds, verdict), self._limits
                )
            except Exception:
                raise _refusal(health) from None
            health.worked()
            rest = self._ingest_from(number + 1, changed)
            return await rest if isinstance(rest, Deferred) else rest

        return Deferred.fromCoroutine(judge())

    def before_send(self, message: Message) -> Message:
        """What is sent in its place. Raises Problem (it is refused), or FilterFailed."""
        for each in self._before_send:
            assert each.before_send is not None
            try:
                message = _message(message, each.before_send(message), self._limits)
            except Problem:
                each.health.worked()
                raise
            except Exception as error:
                each.health.failed("before_send", Failure())
                raise FilterFailed(each.health.name) from error
            each.health.worked()
        return message


def _refusal(health: Health) -> Problem:
    """The Problem that is being raised, or what a filter's failure is answered with."""
    failure = Failure()
    if isinstance(failure.value, Problem):
        health.worked()
        return failure.value
    health.failed("ingest", failure)
    return Problem("overloaded", "a filter of this relay could not judge the message", retry_after=RETRY)


def _submission(before: Submission, verdict: object, limits: Limits) -> Submission:
    if verdict is None or verdict is before:
        return before
    if not isinstance(verdict, Submission):
        raise Rubbish(f"ingest must return None or a Submission, not {type(verdict).__name__}")
    return sound(before, verdict, limits)


def _message(before: Message, verdict: object, limits: Limits) -> Message:
    if verdict is None or verdict is before:
        return before
    if isinstance(verdict, Deferred):
        verdict.addErrback(lambda _: None)
        raise Rubbish("before_send must answer at once, not with a Deferred")
    if not isinstance(verdict, Message) or verdict.id != before.id:
        raise Rubbish(f"before_send must return None or the Message with the same id, not {type(verdict).__name__}")
    return sound(before, verdict, limits)


def sound(before: M | None, after: M, limits: Limits) -> M:
    """Is each field what it must be, and may the payload be sent as what it says that it is? Raises Rubbish.

    ``before`` is what was sound already.
    """
    try:
        msgspec.convert(asdict(after), type(after))  # a Struct checks nothing when it is made
    except msgspec.ValidationError as error:
        raise Rubbish(str(error)) from None
    if not is_agent_id(after.agent):
        raise Rubbish(f"{after.agent[:100]!r} is no agent id")
    if before is not None and after.payload is before.payload and after.content_type == before.content_type:
        return replace(after, form=before.form)
    if len(after.payload) > limits.payload:
        raise Rubbish(f"the payload has {len(after.payload)} bytes; allowed are {limits.payload}")
    try:
        form, _ = payload.read([after.content_type], after.payload)
    except Problem as problem:
        raise Rubbish(f"the payload does not fit its content type: {problem.detail}") from None
    return replace(after, form=form)
