"""Reading an agent's queue back from the store, for its line."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from relay.core.entry import Read, Recall
from relay.core.model import Page, Status
from relay.core.ports import StoreUnavailable

if TYPE_CHECKING:
    from relay.hub.courier import Courier

READ_AGAIN = 1.0  #: seconds after a read failed

log = Logger()


def read(courier: Courier, step: Read | Recall) -> None:
    """Read what the line asks for, and go on when it has come."""
    context, store = courier.context, courier.context.ledger.store
    limits = context.limits
    work: Awaitable[Page]
    if isinstance(step, Read):
        now = context.wall()
        work = store.page(courier.agent, step.after, step.before, now, limits.page_count, limits.page_bytes)
    else:
        work = store.load(courier.agent, step.ids)
    taken = Deferred.fromCoroutine(_take(courier, step, work))
    taken.addErrback(
        lambda failure: log.failure("reading the queue of {agent} went wrong", failure, agent=courier.agent)
    )


async def _take(courier: Courier, step: Read | Recall, work: Awaitable[Page]) -> None:
    try:
        page = await work
    except StoreUnavailable:
        courier.context.clock.callLater(READ_AGAIN, _ask_again, courier, step)
        return
    for id in page.corrupt:
        courier.end_unseen(id, Status.DEAD, "corrupt")
    courier.line.answered(step, page)
    courier.pump()


def _ask_again(courier: Courier, step: Read | Recall) -> None:
    courier.line.unread(step, courier.context.wall())
    courier.pump()
