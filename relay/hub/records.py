"""Looking at messages: what happened to them, what is queued, what is dead (protocol 1.3). Read only."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, TimeoutError

from relay.core.entry import Entry, Phase
from relay.core.model import Event, Letter, Message, MessageView, Past, Record, Standing, Status
from relay.core.ports import StoreUnavailable
from relay.core.problems import Problem
from relay.hub.context import Context
from relay.hub.couriers import Couriers
from relay.hub.post import RECORD_SECONDS, STORE_RETRY


class Records:
    """What is known of a message is in three places: in mind, in the store, and among the ends never stored."""

    def __init__(self, context: Context, couriers: Couriers) -> None:
        self._context = context
        self._couriers = couriers

    async def message(self, id: str, wait: float) -> MessageView | None:
        """See ``Floor.message``."""
        view = await self._look(id)
        if view is None or view.ended_at is not None or wait <= 0:
            return view
        end = self._context.chronicle.end_of(id)
        try:
            await end.addTimeout(wait, self._context.clock)
        except (TimeoutError, CancelledError):
            return await self._look(id)
        return await self._look(id)

    async def _look(self, id: str) -> MessageView | None:
        past = self._context.chronicle.past(id)
        if past is not None:
            return view_of_past(past)
        entry = self.in_mind(id)
        found = await self.find(id)
        entry = self.in_mind(id) or entry
        if entry is not None and entry.phase is Phase.ENDED and not isinstance(found, Past):
            entry, found = None, await self._when_recorded(id)
        if isinstance(found, Past):
            return view_of_past(found)
        if isinstance(found, Standing):
            return view_of_record(found.record, entry, (*found.timeline, *self._history(entry)))
        if (put := self._context.on_the_way.get(id)) is not None:
            return view_of_record(put.record, None, put.timeline)
        if entry is None or entry.message is None:
            past = self._context.chronicle.past(id)
            return None if past is None else view_of_past(past)
        return view_of_record(Record(entry.place, entry.message, entry.trials), entry, self._history(entry))

    def _history(self, entry: Entry | None) -> tuple[Event, ...]:
        return () if entry is None else self._context.chronicle.history(entry)

    async def _when_recorded(self, id: str) -> Standing | Past | None:
        """It has ended, but perhaps not in the store: nobody is told what was true before. Raises Problem."""
        if any(self._context.ledger.ends.ending(courier.agent, id) for courier in self._couriers):
            recorded = self._context.chronicle.end_of(id)
            try:
                await recorded.addTimeout(RECORD_SECONDS, self._context.clock)
            except (TimeoutError, CancelledError):
                raise unavailable() from None
        return await self.find(id)

    def in_mind(self, id: str) -> Entry | None:
        """It is on its way, or its end is being recorded."""
        entries = (courier.line.entries.get(id) for courier in self._couriers)
        return next((entry for entry in entries if entry is not None), None)

    async def find(self, id: str) -> Standing | Past | None:
        """What the store knows of it. Raises Problem (``store-unavailable``)."""
        try:
            return await self._context.ledger.store.find(id)
        except StoreUnavailable:
            raise unavailable() from None

    async def queue(self, agent: str, after: int, limit: int) -> tuple[list[MessageView], int | None]:
        """See ``Floor.queue``."""
        context = self._context
        courier = self._couriers.get(agent)
        entries = courier.line.entries if courier is not None else {}
        try:
            page = await context.ledger.store.page(
                agent, after, context.last_place + 1, float("inf"), limit, context.limits.page_bytes
            )
        except StoreUnavailable:
            raise unavailable() from None
        views = [view_of_record(record, entries.get(record.message.id), ()) for record in page.records]
        return views, page.last if page.more else None

    async def letters(self, after: str, limit: int) -> list[Letter]:
        """See ``Floor.letters``."""
        try:
            return await self._context.ledger.store.letters(after, limit)
        except StoreUnavailable:
            raise unavailable() from None


def unavailable() -> Problem:
    """The store cannot say."""
    return Problem("store-unavailable", "the store does not answer now", retry_after=STORE_RETRY)


def view_of_past(past: Past) -> MessageView:
    """A message that has ended."""
    return MessageView(
        id=past.id,
        agent=past.agent,
        publisher=past.publisher,
        status=past.status,
        attempts=past.attempts,
        created_at=past.created_at,
        expires_at=past.expires_at,
        ended_at=past.ended_at,
        reason=past.reason,
        reply=past.reply,
        timeline=past.timeline,
    )


def view_of_record(record: Record, entry: Entry | None, timeline: tuple[Event, ...]) -> MessageView:
    """A message that has not ended, as far as is known."""
    message: Message = record.message
    sent = entry is not None and entry.phase is Phase.FLYING
    return MessageView(
        id=message.id,
        agent=message.agent,
        publisher=message.publisher,
        status=Status.SENT if sent else Status.QUEUED,
        attempts=max(record.trials.attempts, entry.trials.attempts if entry is not None else 0),
        created_at=message.created_at,
        expires_at=message.expires_at,
        timeline=timeline,
        message=message,
    )
