"""One POST, one honest answer: accept, send or save, wait, say what became of it (protocol 1.1 'What happens')."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.core import policy
from relay.core.entry import Entry
from relay.core.model import Message, Outcome, Reason, Status, Submission
from relay.core.ports import StoreUnavailable
from relay.core.problems import Problem
from relay.hub.acks import Ending, Waiter
from relay.hub.context import Context
from relay.hub.courier import Courier
from relay.hub.couriers import Couriers
from relay.hub.directory import Directory

DOUBT_AFTER = 1.0  #: seconds; a shorter wait without an ACK says nothing of the agent
STORE_RETRY = 5  #: seconds, ``Retry-After`` of a store that is away
FULL_RETRY = 30  #: seconds, ``Retry-After`` of a full queue
DRAIN_RETRY = 5  #: seconds, ``Retry-After`` of a relay that shuts down


class Delivery:
    """What a door calls for each message."""

    log = Logger()

    def __init__(self, context: Context, couriers: Couriers, directory: Directory) -> None:
        self._context = context
        self._couriers = couriers
        self._directory = directory

    def submit(self, submission: Submission) -> Deferred[Outcome]:
        """See ``relay.core.ports.Floor.submit``. Cancelling the answer changes nothing: the message goes its way."""
        outcome: Deferred[Outcome] = Deferred()
        work = Deferred.fromCoroutine(self._deliver(submission))
        work.addBoth(self._tell, outcome)
        return outcome

    def _tell(self, result: Outcome | Failure, outcome: Deferred[Outcome]) -> None:
        if isinstance(result, Failure) and not result.check(Problem):
            self.log.failure("a delivery went wrong", result)
        if not outcome.called:
            outcome.callback(result)  # a Failure starts the errbacks

    async def _deliver(self, submission: Submission) -> Outcome:
        self._check(submission)
        courier = self._couriers.of(submission.agent)
        try:
            post = Post(self._context, courier, self._message(submission), submission)
        except Problem:
            courier.pump()  # it may have been made for this message alone
            raise
        try:
            outcome = await post.see_through()
        finally:
            post.answered()
        if outcome.reason is not None:
            self._directory.seen(submission.agent, 0.0)
        return outcome

    def _message(self, submission: Submission) -> Message:
        now = self._context.wall()
        return Message(
            id=self._context.message_id(),
            agent=submission.agent,
            payload=submission.payload,
            content_type=submission.content_type,
            form=submission.form,
            created_at=now,
            expires_at=now + self._context.limits.ttl,
        )

    def _check(self, submission: Submission) -> None:
        """The limits, at acceptance: a direct message holds its place in them too, and 429 is never said later."""
        context, limits = self._context, self._context.limits
        if context.draining:
            raise Problem("draining", "the relay is shutting down", retry_after=DRAIN_RETRY)
        courier, size = self._couriers.get(submission.agent), len(submission.payload)
        depth = context.ledger.depth(submission.agent)
        if courier is not None:
            depth += courier.held
        if depth.count >= limits.queue_count or depth.bytes + size > limits.queue_bytes:
            detail = f"{depth.count} messages and {depth.bytes} bytes are queued for this agent; "
            detail += f"allowed are {limits.queue_count} and {limits.queue_bytes}"
            raise Problem("queue-full", detail, retry_after=FULL_RETRY)
        total = context.ledger.total
        if total.count >= limits.total_count or total.bytes + context.pressure.held + size > limits.total_bytes:
            raise Problem("queue-full", "the relay's queues are full", retry_after=FULL_RETRY)


class Post:
    """One message from acceptance to its answer."""

    def __init__(self, context: Context, courier: Courier, message: Message, submission: Submission) -> None:
        self._context = context
        self._courier = courier
        self._message = message
        self._obstacles = courier.obstacles(len(message.payload))
        self._doubted = courier.outlet is not None and courier.outlet.doubted
        self._wait = 0.0 if self._doubted else submission.wait
        self._async = submission.respond_async
        if (self._async or self._wait <= 0) and not self._obstacles and not context.ledger.accepting():
            raise Problem("store-unavailable", "the store takes nothing now; nothing was sent", retry_after=STORE_RETRY)
        self._entry: Entry = courier.accept(message)
        self._waiter: Waiter = courier.acks.expect(message.id)

    @property
    def _direct(self) -> bool:
        return not self._obstacles

    async def see_through(self) -> Outcome:
        """Returns the outcome; raises Problem."""
        courier, waiter = self._courier, self._waiter
        saving: Deferred[None] | None = None
        if self._direct:
            courier.send_directly(self._entry)
        if not self._direct or self._async or self._wait <= 0:
            saving = courier.save(self._entry)
        why: Reason | None = None
        if self._wait > 0 and courier.outlet is not None and not self._over:
            why = await courier.acks.wait(waiter, self._wait)
            self._doubt(why)
        if not self._over:
            await (saving or courier.save(self._entry))
        if waiter.ending is not None:
            return self._ended(waiter.ending)
        if waiter.error is not None:
            raise self._unknown(waiter.error)
        return self._kept(why)

    @property
    def _over(self) -> bool:
        return self._waiter.ending is not None or self._waiter.error is not None

    def answered(self) -> None:
        """The answer is known: nobody waits for the ACK any more."""
        courier = self._courier
        courier.acks.answered(self._waiter)
        if courier.outlet is not None:
            courier.outlet.redelivery.unwatched(self._message.id, courier.outlet.flow_time())
        courier.pump()

    def _doubt(self, why: Reason | None) -> None:
        outlet = self._courier.outlet
        if why is Reason.SILENT and self._direct and self._wait >= DOUBT_AFTER and outlet is not None:
            outlet.doubt()

    def _ended(self, ending: Ending) -> Outcome:
        attempts = self._waiter.attempts
        if ending.status is Status.DELIVERED:
            return Outcome(self._message.id, self._message.agent, "delivered", attempts)
        if ending.status is Status.REJECTED:
            detail = ending.reason or "the agent gave no reason"
            raise Problem("rejected", detail, id=self._message.id, attempts=attempts)
        if ending.status is Status.EXPIRED:
            sent = {"sent": True} if attempts else {}
            detail = "its time to live ended before it was acknowledged"
            raise Problem("undeliverable", detail, id=self._message.id, attempts=attempts, **sent)
        detail = f"it ended {ending.status.value}: {ending.reason or 'no reason given'}"
        raise Problem("ended", detail, id=self._message.id, attempts=attempts, ended=ending.status.value)

    def _unknown(self, error: StoreUnavailable) -> Problem:
        """The store did not take it: what became of it is not known, and nobody tries any more."""
        attempts = self._waiter.attempts
        sent = {"sent": True} if attempts else {}
        detail = "it could not be made durable" + ("; it was sent, and the agent may have acted on it" if sent else "")
        fields = {"id": self._message.id, "attempts": attempts, **sent}
        return Problem("store-unavailable", detail, retry_after=STORE_RETRY, **fields)

    def _kept(self, why: Reason | None) -> Outcome:
        durable = self._context.ledger.store.durable
        status = "accepted" if self._async else "queued"
        reason = policy.first_reason(self._reasons(why))
        return Outcome(self._message.id, self._message.agent, status, self._waiter.attempts, reason, durable)

    def _reasons(self, why: Reason | None) -> list[Reason]:
        """Why it is queued and not delivered; what ended the wait says most."""
        if why not in (None, Reason.SILENT):
            return [why]
        if self._context.draining:
            return [Reason.DRAINING]
        if self._courier.outlet is None:
            return [Reason.AWAY if Reason.AWAY in self._obstacles else Reason.LOST]
        if self._doubted:
            return [Reason.SILENT]
        if self._waiter.attempts:
            return [Reason.SENT if self._wait <= 0 else Reason.SILENT]
        return list(self._courier.obstacles(len(self._message.payload))) or list(self._obstacles) or [Reason.BEHIND]
