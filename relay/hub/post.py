"""One message from its acceptance to its answer (protocol 1.1 'What happens')."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.core import policy
from relay.core.entry import Entry
from relay.core.limits import Limits
from relay.core.model import Key, Known, Message, Outcome, Past, Reason, Status, Submission
from relay.core.ports import Full, KeysFull, StoreUnavailable
from relay.core.problems import Problem
from relay.hub import saving
from relay.hub.acks import Ending, Reader, Waiter
from relay.hub.context import Context
from relay.hub.courier import Courier

#: Is told once what became of a message; the failure is one with Problem, or Replayed.
Answer = Callable[[Outcome | Failure], object]

DOUBT_AFTER = 1.0  #: seconds; a shorter wait without an ACK says nothing of the agent
STORE_RETRY = 5  #: seconds, ``Retry-After`` of a store that is away
KEYS_RETRY = 3600  #: seconds, ``Retry-After`` of a store that remembers as many keys as it may
CALLBACKS_RETRY = 60  #: seconds, ``Retry-After`` of a store that owes as many callbacks as it may
RECORD_SECONDS = 5.0  #: how long an answer waits for an end that must be durable before it is said


def make_message(submission: Submission, id: str, now: float, limits: Limits) -> Message:
    """The message that was submitted, as it is accepted at Unix time ``now``."""
    ttl = limits.ttl if submission.ttl is None else min(submission.ttl, limits.ttl_max)
    return Message(
        id,
        submission.agent,
        submission.payload,
        submission.content_type,
        submission.form,
        now,
        now + ttl,
        submission.headers,
        submission.topic,
        submission.publisher,
        submission.callback,
    )


def ttl_of(submission: Submission, message: Message) -> int | None:
    """The seconds that apply, where a time to live was asked for."""
    return None if submission.ttl is None else round(message.expires_at - message.created_at)


class Replayed(Exception):
    """The idempotency key names a message already; nothing was accepted."""

    def __init__(self, known: Known) -> None:
        super().__init__(known.id)
        self.known = known


class Post:
    """Then ``accept`` and ``answer`` are called, at once; or ``take_over`` of what was sent already."""

    def __init__(
        self, context: Context, courier: Courier, message: Message, submission: Submission, key: Key | None = None
    ) -> None:
        self._context = context
        self._courier = courier
        self._message = message
        self._key = key
        #: Whoever repeats a key, and whoever is called back, must be told its end even when this process dies: it is
        #: durable before it is sent, and its end before that is said.
        self._durably = key is not None or message.callback is not None
        self._now_or_never = submission.ttl == 0
        self._ttl = ttl_of(submission, message)
        self._async = submission.respond_async
        self._obstacles: tuple[Reason, ...] = ()
        self._doubted = False
        self._wait = submission.wait
        self._direct = True

    def accept(self, reader: Reader, *, line: bool = False) -> Post:
        """It takes its place in its agent's order. Raises Problem if it can neither be sent nor kept."""
        courier, message = self._courier, self._message
        self._obstacles = courier.obstacles(message)
        self._doubted = courier.outlet is not None and courier.outlet.doubted
        if self._doubted or (line and courier.silence.mute):
            self._wait = 0.0
        self._direct = self._goes_directly()
        self._entry = courier.accept(message)
        self._waiter = courier.acks.expect(message.id, reader, line=line, urgent=self._now_or_never)
        if line:
            courier.silence.watch()
        return self

    def _goes_directly(self) -> bool:
        """Sent at once, and kept in memory meanwhile? Raises Problem where neither that nor the store is possible."""
        outlet = self._courier.outlet
        free = not self._obstacles
        if self._now_or_never:
            if not free or self._doubted:
                why = self._obstacles[0].value if self._obstacles else Reason.SILENT.value
                raise Problem("undeliverable", f"it cannot be delivered now: {why}", id=self._message.id, attempts=0)
            return not self._durably
        direct = free and not self._durably and outlet is not None and outlet.holds
        if direct and (self._async or self._wait <= 0) and not self._context.ledger.accepting():
            raise Problem("store-unavailable", "the store takes nothing now; nothing was sent", retry_after=STORE_RETRY)
        return direct

    def answer(self, tell: Answer) -> None:
        """Send it or make it durable, and ``tell`` what became of it."""
        if self._direct:
            self._courier.send_directly(self._entry)
        at_once = self._is_saved_at_once()
        if at_once and self._is_only_saved():
            # The way of most lines: no coroutine, and no Deferred but the store's.
            saving.save(self._courier, self._entry, None, lambda: tell(self._answered(self._said_at_last(None))))
        elif not at_once and self._is_only_waited_for():
            # The way of nearly all that is delivered: no coroutine, unless it comes to more than the ACK.
            self._courier.acks.wait(self._waiter, self._wait).addBoth(self._waited, tell)
        else:
            self._finish(self._see_through(), tell)

    def _finish(self, rest: Coroutine[Any, Any, Outcome], tell: Answer) -> None:
        Deferred.fromCoroutine(rest).addBoth(self._answered).addBoth(tell)

    def _is_only_saved(self) -> bool:
        """Is what is made durable at once waited for no longer?"""
        if self._durably or self._now_or_never:
            return False
        return self._wait <= 0 or self._courier.outlet is None

    def _is_only_waited_for(self) -> bool:
        """Was what is only in memory sent, and is there an ACK to wait for in one piece?"""
        if self._now_or_never or self._over or self._context.draining or self._courier.outlet is None:
            return False
        return self._ttl is None or self._ttl >= self._wait

    def take_over(self, entry: Entry, waiter: Waiter, why: Reason | None, tell: Answer) -> None:
        """It was sent directly, and its ACK is waited for no longer. ``tell`` what became of it."""
        self._entry, self._waiter = entry, waiter
        self._waited(why, tell)

    def _waited(self, why: Reason | Failure | None, tell: Answer) -> None:
        if isinstance(why, Failure):
            tell(self._answered(why))
        elif self._over:
            tell(self._answered(self._said_at_last(why)))
        else:
            self._doubt(why)
            self._finish(self._go_on(why), tell)

    def _said_at_last(self, why: Reason | None) -> Outcome | Failure:
        try:
            return self._said(why)
        except Exception:
            return Failure()

    def _answered(self, result: Outcome | Failure) -> Outcome | Failure:
        courier = self._courier
        courier.acks.answered(self._waiter)
        if courier.outlet is not None:
            courier.outlet.redelivery.unwatched(self._message.id, courier.outlet.flow_time)
        return result

    async def _see_through(self) -> Outcome:
        saved = self._courier.save(self._entry, self._key) if self._is_saved_at_once() else None
        if self._now_or_never and saved is not None:
            await saved  # and then it is sent now or never
        return await self._go_on(await self._wait_for_it(), saved)

    async def _go_on(self, why: Reason | None, saved: Deferred[None] | None = None) -> Outcome:
        """What is done when waiting for the ACK is over. ``saved``: it is being made durable already."""
        has_expired = self._message.expires_at <= self._context.wall()
        if not self._over and (self._now_or_never or has_expired):
            self._courier.end_unseen(self._message.id, Status.EXPIRED, "expired")
        if not self._over:
            await (saved or self._courier.save(self._entry))
        waiter = self._waiter
        if self._durably and waiter.ending is not None and not (waiter.error or waiter.known or waiter.recorded):
            await self._courier.acks.wait(
                waiter, RECORD_SECONDS
            )  # the end of one with a key is durable before it is said
        return self._said(why)

    def _is_saved_at_once(self) -> bool:
        if self._now_or_never:
            return self._durably
        return not self._direct or self._async or self._wait <= 0 or self._courier.must_replace(self._entry)

    async def _wait_for_it(self) -> Reason | None:
        """Wait for the ACK as long as was asked for, but no longer for what expires unsent."""
        left, why = self._wait, None
        if not self._now_or_never and self._ttl is not None and self._ttl < left:
            why = await self._wait_some(float(self._ttl))
            left -= self._ttl
            if why is not Reason.SILENT or not self._waiter.attempts:
                return why
        if left > 0:
            why = await self._wait_some(left)
            self._doubt(why)
        return why

    async def _wait_some(self, seconds: float) -> Reason | None:
        if self._courier.outlet is None or self._over:
            return None
        if self._context.draining and (self._waiter.forsaken or not self._waiter.attempts):
            return Reason.DRAINING
        return await self._courier.acks.wait(self._waiter, seconds)

    @property
    def _over(self) -> bool:
        waiter = self._waiter
        return waiter.ending is not None or waiter.error is not None or waiter.known is not None

    def _doubt(self, why: Reason | None) -> None:
        outlet = self._courier.outlet
        if why is Reason.SILENT and self._direct and self._wait >= DOUBT_AFTER and outlet is not None:
            outlet.doubt()

    # -- the answer

    def _said(self, why: Reason | None) -> Outcome:
        waiter = self._waiter
        if waiter.known is not None:
            raise Replayed(waiter.known)
        if waiter.error is not None and (waiter.ending is None or self._durably):
            raise not_kept(waiter.error, self._message.id, waiter.attempts)
        if waiter.ending is None:
            return self._kept(why)
        if self._durably and not waiter.recorded:
            error = StoreUnavailable("its end could not be recorded in time")
            raise not_kept(error, self._message.id, waiter.attempts)
        return ended(self._message.id, self._message.agent, waiter.ending, waiter.attempts, self._ttl)

    def _kept(self, why: Reason | None) -> Outcome:
        return Outcome(
            self._message.id,
            self._message.agent,
            "accepted" if self._async else "queued",
            self._waiter.attempts,
            policy.first_reason(self._reasons(why)),
            self._context.ledger.store.durable,
            ttl=self._ttl,
        )

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
            return [Reason.SILENT if why is Reason.SILENT else Reason.SENT]
        return list(self._courier.obstacles(self._message)) or list(self._obstacles) or [Reason.BEHIND]


def not_kept(error: StoreUnavailable, id: str, attempts: int) -> Problem:
    """The store did not take it: what became of it is not known, and nobody tries any more."""
    if isinstance(error, Full):
        limit, retry_after = ("keys", KEYS_RETRY) if isinstance(error, KeysFull) else ("callbacks", CALLBACKS_RETRY)
        return Problem("queue-full", str(error), retry_after=retry_after, limit=limit)
    sent: dict[str, Any] = {"sent": True} if attempts else {}
    detail = "it could not be made durable" + ("; it was sent, and the agent may have acted on it" if sent else "")
    fields: dict[str, Any] = {"id": id, "attempts": attempts, **sent}
    return Problem("store-unavailable", detail, retry_after=STORE_RETRY, **fields)


def ended(id: str, agent: str, ending: Ending, attempts: int, ttl: int | None = None) -> Outcome:
    """The answer for a message that has ended: delivered, or a Problem is raised."""
    status, reason = ending.status, ending.reason
    fields: dict[str, Any] = {"id": id, "attempts": attempts}
    if status is Status.DELIVERED:
        return Outcome(id, agent, "delivered", attempts, reply=ending.reply, ttl=ttl)
    if status is Status.REJECTED:
        raise Problem("rejected", reason or "the agent gave no reason", **fields)
    if status is Status.EXPIRED:
        sent: dict[str, Any] = {"sent": True} if attempts else {}
        raise Problem("undeliverable", "its time to live ended before it was acknowledged", **fields, **sent)
    if status is Status.REPLACED:
        raise Problem("replaced", "a newer message of its topic took its place", **fields, by=reason)
    raise Problem("ended", f"it ended {status.value}: {reason or 'no reason given'}", **fields, ended=status.value)


def ended_before(past: Past) -> Outcome:
    """The answer to a repeat, for a message that has ended: what is true now."""
    ending = Ending(past.status, past.reason, past.reply)
    if past.status in (Status.DELIVERED, Status.REJECTED):
        return ended(past.id, past.agent, ending, past.attempts)
    detail = f"it ended {past.status.value}: {past.reason or 'no reason given'}"
    raise Problem("ended", detail, id=past.id, attempts=past.attempts, ended=past.status.value)
