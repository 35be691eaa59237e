"""What the contract tests of the stores share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from twisted.internet.defer import gatherResults
from twisted.internet.task import Clock

from relay.core.model import Put, Record, Seen, Snapshot
from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteStore
from tests.store.support import EVERYTHING, NOW, ids

AnyStore = MemoryStore | SqliteStore
Make = Callable[..., AnyStore]  #: its arguments are those of ``Bounds`` that are to be smaller
DAY = 86400.0


class Bounded(Protocol):
    """Opens a store that keeps less."""

    def __call__(self, **numbers: int) -> Awaitable[AnyStore]: ...


async def put(store: AnyStore, *records: Record) -> None:
    """Keep these."""
    await gatherResults([store.write(Put(each)) for each in records])


async def queue(store: AnyStore, agent: str = "desk") -> list[str]:
    """The ids of what is queued, in order."""
    return ids(await store.page(agent, **EVERYTHING))


async def restarted(store: AnyStore, make: Make) -> tuple[AnyStore, Snapshot]:
    """What a restart finds."""
    await store.close()
    again = make()
    return again, await again.open()


async def tidied(store: AnyStore, clock: Clock) -> None:
    """Let it forget what it does not remember any more: on a disk a chore, in memory with the next changes."""
    if isinstance(store, MemoryStore):
        return
    clock.advance(10)
    while store._chores.under_way:
        await store.write(Seen("nobody", NOW))
