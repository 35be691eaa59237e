"""Where filters see messages before they are sent: what passes is sent, all else waits, ends, or goes elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.core.entry import Entry
from relay.core.model import Message, Outcome, Reason, Status, Submission
from relay.core.ports import FilterFailed, MessageFilters
from relay.core.problems import Problem
from relay.hub import putoff
from relay.hub.context import Context

if TYPE_CHECKING:
    from relay.hub.courier import Courier
    from relay.hub.couriers import Couriers

#: A message that was redirected bears this, with the id that it had: it is redirected once.
REDIRECTED: Final = "relay-redirected-from"

Accept = Callable[[Submission], Deferred[Outcome]]

log = Logger()


class Screen:
    """Asks the filters. ``accept`` takes a redirected message in."""

    def __init__(self, context: Context, couriers: Couriers, filters: MessageFilters, accept: Accept) -> None:
        self._context = context
        self._couriers = couriers
        self._filters = filters
        self._accept = accept

    def passed(self, courier: Courier, message: Message, take: Callable[[], Entry]) -> Message | None:
        """What is sent in place of the message; None: it is not sent now, and that is seen to.

        ``take`` gives its entry, in flight: it is called if it is not sent.
        """
        try:
            changed = self._filters.before_send(message)
            if changed.agent != message.agent and any(name == REDIRECTED for name, _ in message.headers):
                raise FilterFailed(f"it was redirected already, and should go to {changed.agent} now")
        except Problem as problem:
            courier.end(take(), Status.REJECTED, problem.detail)
        except FilterFailed as failed:
            self._put_off(courier, take(), f"filter: {failed}")
        else:
            if changed.agent == message.agent:
                return changed
            self._redirect(courier, take(), message, changed)
        return None

    def _put_off(self, courier: Courier, entry: Entry, why: str) -> None:
        if putoff.rest(courier, entry, None, why):
            # Its POST may not wait yet, and would not hear it.
            self._context.clock.callLater(0, courier.acks.give_up, entry.id, Reason.NACKED)

    def _redirect(self, courier: Courier, entry: Entry, message: Message, changed: Message) -> None:
        """Hand it in for the other agent. Until that is durable it waits as after a nack: when that is not known in
        time it is handed in again, and its key says that it is the same.
        """
        if not putoff.rest(courier, entry, None, f"redirected to {changed.agent}"):
            return
        submission = Submission(
            agent=changed.agent,
            payload=changed.payload,
            content_type=changed.content_type,
            form=changed.form,
            wait=0.0,
            respond_async=True,
            ttl=max(1.0, message.expires_at - self._context.wall()),
            topic=changed.topic,
            headers=(*changed.headers, (REDIRECTED, message.id)),
            key=f"redirected:{message.id}",
            callback=changed.callback,
            publisher=message.publisher,
        )
        # In a turn of its own: its courier is in the middle of something.
        self._context.clock.callLater(0, self._hand_in, submission, message)

    def _hand_in(self, submission: Submission, message: Message) -> None:
        answer = self._accept(submission)
        answer.addCallbacks(self._redirected, self._not_redirected, (message,), {}, (message,), {})
        answer.addErrback(lambda failure: log.failure("a redirection went wrong", failure))

    def _redirected(self, outcome: Outcome, message: Message) -> None:
        courier = self._couriers.of(message.agent)
        courier.end_unseen(message.id, Status.REPLACED, outcome.id)
        courier.pump()

    def _not_redirected(self, failure: Failure, message: Message) -> None:
        courier = self._couriers.get(message.agent)
        if courier is not None:
            courier.acks.give_up(message.id, Reason.NACKED)
        if not failure.check(Problem):
            failure.raiseException()
