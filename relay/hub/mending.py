"""Mending: cancelling, emptying, requeueing, and what leaves the queues because its time is over (protocol 1.3)."""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace
from twisted.internet.defer import Deferred, FirstError, TimeoutError, gatherResults
from twisted.logger import Logger

from relay.core.entry import Entry, Phase, Saved
from relay.core.model import Discard, Letter, MessageView, Past, Record, Requeue, Standing, Status
from relay.core.ports import Full, StoreUnavailable
from relay.core.problems import Problem
from relay.hub.context import Context
from relay.hub.courier import Courier
from relay.hub.couriers import Couriers
from relay.hub.ends import Then, nothing
from relay.hub.post import CALLBACKS_RETRY, RECORD_SECONDS, STORE_RETRY
from relay.hub.records import Records, unavailable, view_of_record

SLICE = 1000  #: messages that are ended in one go


class Mending:
    """What an operator or a publisher changes, and what time does."""

    log = Logger()

    def __init__(self, context: Context, couriers: Couriers, records: Records) -> None:
        self._context = context
        self._couriers = couriers
        self._records = records
        self._sweeping = False

    async def cancel(self, id: str) -> None:
        """See ``Floor.cancel``."""
        found = await self._records.find(id)
        if isinstance(found, Standing):
            done = self._cancel(self._couriers.of(found.record.message.agent), id, "cancelled")
            if done is not None:
                if await self._durable([done]):
                    return
                raise Problem("too-late", "the message has ended meanwhile", id=id)
        past = found if isinstance(found, Past) else self._context.chronicle.past(id)
        if past is not None:
            raise Problem("too-late", f"the message ended {past.status.value}", id=id, attempts=past.attempts)
        entry = self._records.in_mind(id)
        if entry is None:
            raise Problem("not-found", "no message of that id is known here")
        raise Problem("too-late", "the message is with its agent, or ends now", id=id, attempts=entry.trials.attempts)

    async def empty(self, agent: str) -> int:
        """See ``Floor.empty``."""
        ended, after = 0, 0
        ledger, before = self._context.ledger, self._context.last_place + 1
        while True:
            try:
                page = await ledger.store.page(agent, after, before, 0.0, SLICE, self._context.limits.page_bytes)
            except StoreUnavailable:
                raise unavailable() from None
            courier = self._couriers.of(agent)
            ids = [record.message.id for record in page.records] + [id for _place, id, _due in page.delayed]
            with ledger.ends.together():
                works = [self._cancel(courier, id, "emptied") for id in ids]
            courier.pump()
            ended += await self._durable([done for done in works if done is not None])
            after = page.last
            if not page.more:
                return ended

    def _cancel(self, courier: Courier, id: str, reason: str) -> Deferred[bool] | None:
        """Fires when that is durable, with whether there was anything to end; fails with StoreUnavailable.

        None: it is in flight, or has ended. Whoever asks while it is being cancelled waits for the same.
        """
        ends = self._context.ledger.ends
        done: Deferred[bool] = Deferred()
        then = partial(_fire, done)
        if ends.ending(courier.agent, id) is Status.CANCELLED:
            ends.when_recorded(courier.agent, id, then)
        elif not self._take_out(courier, id, Status.CANCELLED, reason, then):
            return None
        ends.when_refused(courier.agent, id, partial(_refuse, done))
        return done

    def _take_out(self, courier: Courier, id: str, status: Status, reason: str, then: Then = nothing) -> bool:
        """End a message unless it is in flight. False if it is, or has ended."""
        entry = courier.line.entries.get(id)
        if entry is not None and entry.phase in (Phase.FLYING, Phase.ENDED):
            return False
        courier.end_unseen(id, status, reason, then=then)
        return True

    async def _durable(self, works: list[Deferred[bool]]) -> int:
        """Wait for what ``_cancel`` gave: how many messages there were. Raises Problem."""
        try:
            had = await gatherResults(works, consumeErrors=True).addTimeout(RECORD_SECONDS, self._context.clock)
        except (FirstError, TimeoutError):
            detail = "it could not be made durable; it is tried again, but this process may end before"
            raise Problem("store-unavailable", detail, retry_after=STORE_RETRY) from None
        return sum(had)

    async def requeue(self, id: str) -> MessageView:
        """See ``Floor.requeue``."""
        letter = await self._letter(id)
        message = letter.record.message
        depth, limits = self._context.ledger.depth(message.agent), self._context.limits
        if depth.count >= limits.queue_count or depth.bytes + len(message.payload) > limits.queue_bytes:
            limit = "queue_count" if depth.count >= limits.queue_count else "queue_bytes"
            raise Problem("queue-full", "the agent's queue is full", retry_after=30, limit=limit)
        courier = self._couriers.of(message.agent)
        other = courier.line.entries.get(id)
        if other is not None and other.phase is not Phase.ENDED:
            raise Problem("not-found", "the dead letter is being requeued already")
        entry = courier.accept(message, again=True)
        entry.saved = Saved.SAVING
        entry.writes += 1
        kept, again = False, letter.record
        try:
            kept = await self._put_back(entry, letter)
            again = Record(entry.place, entry.message or message)
        except Full as error:
            raise Problem("queue-full", str(error), retry_after=CALLBACKS_RETRY, limit="callbacks") from None
        except StoreUnavailable:
            raise unavailable() from None
        finally:
            if kept:
                courier.line.saved(entry)
                self._context.chronicle.tell(message.agent, id, "queued")
            courier.line.written(entry)
            if not kept:
                courier.line.withdraw(entry)
            courier.hold(-1, -entry.size)
            courier.pump()
        if not kept:
            raise Problem("not-found", "there is no dead letter of that id any more")
        return view_of_record(again, None, letter.past.timeline)

    async def _put_back(self, entry: Entry, letter: Letter) -> bool:
        ledger, message, now = self._context.ledger, letter.record.message, self._context.wall()
        if not await ledger.requeue(Requeue(entry.id, entry.place, now), message.agent):
            return False
        try:
            found = await ledger.store.find(entry.id)
        except StoreUnavailable:
            found = None
        if isinstance(found, Standing):  # the store remembers its first time to live
            entry.message = found.record.message
        else:
            entry.message = replace(message, expires_at=now + message.expires_at - message.created_at)
        entry.expires_at = entry.message.expires_at
        return True

    async def discard(self, id: str) -> None:
        """See ``Floor.discard``."""
        await self._letter(id)
        try:
            await self._context.ledger.discard(Discard(id))
        except StoreUnavailable:
            raise unavailable() from None

    async def _letter(self, id: str) -> Letter:
        try:
            letter = await self._context.ledger.store.letter(id)
        except StoreUnavailable:
            raise unavailable() from None
        if letter is None:
            raise Problem("not-found", "there is no dead letter of that id")
        return letter

    # -- time

    def sweep(self) -> None:
        """Once a second: end what has expired, but for what is in flight (that ends when it would be sent again)."""
        if self._sweeping or not self._context.ledger.total.count:
            return
        self._sweeping = True
        work = Deferred.fromCoroutine(self._sweep())
        work.addErrback(lambda failure: self.log.failure("taking out what has expired went wrong", failure))

    async def _sweep(self) -> None:
        try:
            context = self._context
            overdue = await context.ledger.store.overdue(context.wall(), context.limits.overdue_count)
            for agent, id, _size in overdue:
                courier = self._couriers.of(agent)
                self._take_out(courier, id, Status.EXPIRED, "expired")
                courier.pump()
        except StoreUnavailable:
            pass  # said by the ledger; the next sweep finds the same
        finally:
            self._sweeping = False


def _fire(done: Deferred[bool], had: bool) -> None:
    if not done.called:  # it was refused before, or took too long
        done.callback(had)


def _refuse(done: Deferred[bool]) -> None:
    if not done.called:
        done.errback(StoreUnavailable("the end was not recorded"))
