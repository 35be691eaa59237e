"""Messages with an idempotency key: one key names one message, and a repeat is told what is true now (protocol 1.1)."""

from __future__ import annotations

import hashlib
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred

from relay.core import policy
from relay.core.entry import Phase, Saved
from relay.core.ids import derived_id
from relay.core.limits import Limits
from relay.core.model import Key, Known, Outcome, Past, Reason, Standing, Submission
from relay.core.ports import StoreUnavailable
from relay.core.problems import Problem
from relay.hub.acks import Reader
from relay.hub.context import Context
from relay.hub.courier import Courier
from relay.hub.couriers import Couriers
from relay.hub.post import STORE_RETRY, Post, Replayed, ended_before, make_message
from relay.hub.room import Room

REMEMBERED = 86400.0  #: seconds from acceptance
AGAIN_RETRY = 1  #: seconds, ``Retry-After`` while the first request still waits


async def deliver(
    context: Context, couriers: Couriers, room: Room, submission: Submission, reader: Reader, line: bool
) -> Outcome:
    """Deliver the message, or say what became of it when it came first. Raises Problem.

    A repeat is told that whether or not there is ``room`` for one more message.
    """
    key = make_key(submission, context.wall(), context.limits)
    fields = (submission.publisher, submission.agent, key.key)
    id = derived_id(context.key_secret, *(field.encode() for field in fields), key.digest)
    courier = couriers.of(submission.agent)
    in_mind = courier.acks.has(id) or id in courier.line.entries
    if not in_mind and (submission.ttl == 0 or room.lacks(submission)) and await _is_known(context, id):
        return await Repeat(context, couriers.of(submission.agent), submission).of_one_in_mind(id)
    courier = couriers.of(submission.agent)  # another may carry for the agent by now
    again = Repeat(context, courier, submission)
    if courier.acks.has(id):
        left = await again.wait_for_the_first(id, reader)
        return await deliver(context, couriers, room, replace(submission, wait=left), reader, line)
    if id in courier.line.entries:
        return await again.of_one_in_mind(id)
    room.claim(submission)
    message = make_message(submission, id, context.wall(), context.limits)
    try:
        outcome: Deferred[Outcome] = Deferred()
        Post(context, courier, message, submission, key).accept(reader, line=line).answer(outcome.callback)
        return await outcome
    except Replayed as replayed:
        known = replayed.known
    if known.digest != key.digest:
        raise again.reused(known)
    return await again.of_known(known)


async def _is_known(context: Context, id: str) -> bool:
    """What would be refused now may have been delivered before: then a repeat is told that."""
    try:
        return await context.ledger.store.find(id) is not None
    except StoreUnavailable:
        raise unknown(id) from None


def unknown(id: str) -> Problem:
    """What became of a message with a key is the store's to say."""
    return Problem("store-unavailable", "the store cannot say what became of it", retry_after=STORE_RETRY, id=id)


def make_key(submission: Submission, now: float, limits: Limits) -> Key:
    """The key of a submission that is accepted at Unix time ``now``."""
    assert submission.key is not None
    content_type = submission.content_type.encode()
    digest = hashlib.sha256(len(content_type).to_bytes(8, "big") + content_type + submission.payload).digest()
    ttl = limits.ttl if submission.ttl is None else min(submission.ttl, limits.ttl_max)
    return Key(submission.publisher, submission.agent, submission.key, digest, now + max(REMEMBERED, ttl))


class Repeat:
    """The answer to a repeat."""

    def __init__(self, context: Context, courier: Courier, submission: Submission) -> None:
        self._context = context
        self._courier = courier
        self._submission = submission

    async def wait_for_the_first(self, id: str, reader: Reader) -> float:
        """The first is still waited for: wait until it has its answer. Returns what is left of the own wait."""
        wait, clock = self._submission.wait, self._context.clock
        follower = self._courier.acks.follow(id, reader)
        if follower is None or wait <= 0 or self._submission.respond_async:
            raise self._in_progress(id)
        until = clock.seconds() + wait
        if await self._courier.acks.wait(follower, wait) is not None:
            raise self._in_progress(id)
        return max(0.0, until - clock.seconds())

    async def of_one_in_mind(self, id: str) -> Outcome:
        """Nobody waits for it: it is queued or in flight, or has just ended."""
        entry = self._courier.line.entries.get(id)
        if entry is not None and entry.phase is not Phase.ENDED and not entry.unproved:
            if entry.saved is not Saved.YES:
                raise self._in_progress(id)
            return self._queued(id, entry.trials.attempts)
        try:
            found = await self._context.ledger.store.find(id)
        except StoreUnavailable:
            raise unknown(id) from None
        if isinstance(found, Standing):
            if entry is not None and not entry.unproved:
                raise self._in_progress(id, found.record.trials.attempts)  # its end is being recorded
            return self._queued(id, found.record.trials.attempts)
        return self._past(id, found)

    async def of_known(self, known: Known) -> Outcome:
        """The store knew the key."""
        if known.record is None:
            return self._past(known.id, known.past)
        entry = self._courier.line.entries.get(known.id)
        if entry is not None and entry.phase is Phase.ENDED:
            return await self.of_one_in_mind(known.id)
        return self._queued(known.id, known.record.trials.attempts)

    def _past(self, id: str, past: Past | None) -> Outcome:
        if past is None:
            raise Problem("ended", "it has ended, too long ago to say how", id=id)
        try:
            return replace(ended_before(past), replay=True)
        except Problem as problem:
            problem.replay = True
            raise

    def _queued(self, id: str, attempts: int) -> Outcome:
        status = "accepted" if self._submission.respond_async else "queued"
        reason = policy.first_reason(self._reasons(attempts))
        durable = self._context.ledger.store.durable
        return Outcome(id, self._submission.agent, status, attempts, reason, durable, replay=True)

    def _reasons(self, attempts: int) -> list[Reason]:
        outlet = self._courier.outlet
        if self._context.draining:
            return [Reason.DRAINING]
        if outlet is None:
            return [Reason.AWAY]
        return [Reason.SILENT if attempts else Reason.BEHIND]

    def reused(self, known: Known) -> Problem:
        """The key names a message with another payload or content type."""
        tried = [known.record.trials.attempts] if known.record else [known.past.attempts] if known.past else []
        detail = "the key was used with another payload or content type"
        return Problem("idempotency-key-reused", detail, **self._about(known.id, *tried))

    def _in_progress(self, id: str, *attempts: int) -> Problem:
        detail = "the first request with this key is still waiting for the agent"
        problem = Problem("idempotency-in-progress", detail, retry_after=AGAIN_RETRY, **self._about(id, *attempts))
        problem.replay = True
        return problem

    def _about(self, id: str, *attempts: int) -> dict[str, Any]:
        """The message that a problem is about, and how often it was sent, as far as that is known."""
        entry = self._courier.line.entries.get(id)
        if entry is not None:
            attempts += (entry.trials.attempts,)
        return {"id": id, "attempts": max(attempts)} if attempts else {"id": id}
