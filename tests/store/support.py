"""What the tests of the store room share: records, and a SQLite store whose time is the test's."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.task import Clock

from relay.core.model import Depth, Form, Kept, Message, Page, Record, Seen, Snapshot, Trials, Write
from relay.core.ports import StoreRefused
from relay.store.sqlite import SqliteStore
from tests.store.disk import Disk

NOW = 1_800_000_000.0  #: Unix time in these tests
EVERYTHING: dict[str, Any] = {"after": 0, "before": 2**60, "now": NOW, "limit": 1000, "max_bytes": 1 << 30}


def record(place: int, agent: str = "desk", payload: bytes | None = None, *, id: str = "", **trials: Any) -> Record:
    """A record at this place; its id and payload tell the place unless they are given."""
    text = f"payload {place}".encode() if payload is None else payload
    message = Message(id or f"m{place}", agent, text, "text/plain", Form.TEXT, NOW - 1000 + place, NOW + 1000 + place)
    return Record(place, message, Trials(**trials))


def ids(page: Page) -> list[str]:
    """The ids of what may be sent."""
    return [each.message.id for each in page.records]


class Wall:
    """Unix time that stands where the test puts it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def sqlite_store(path: Path, *, clock: Clock | None = None, **options: Any) -> SqliteStore:
    """A store on real threads and a real file, with a clock that stands still and no lower bound of free space."""
    from twisted.internet import reactor

    threads: Any = reactor  # its type names no interface
    defaults: dict[str, Any] = {"wall": Wall(), "reserve_bytes": 65536, "min_free_bytes": 0}
    return SqliteStore(str(path), reactor=threads, clock=clock or Clock(), **(defaults | options))


async def outcomes(writes: list[Deferred[Depth | Kept | None]]) -> list[Any]:
    """What came of each: its answer, or its exception."""
    results: list[Any] = await DeferredList(writes, consumeErrors=True)
    return [result if good else result.value for good, result in results]


async def at_once(store: SqliteStore, disk: Disk, *ops: Write) -> list[Any]:
    """Make these writes in one commit: while they are asked for another commit is under way."""
    disk.hold()
    first = store.write(Seen("other", NOW))
    writes = [store.write(op) for op in ops]
    disk.release()
    await first
    return await outcomes(writes)


async def refusal(path: Path, **options: Any) -> str:
    """The line that says why the store cannot be opened."""
    store = sqlite_store(path, **options)
    with pytest.raises(StoreRefused) as refused:
        await store.open()
    await store.close()
    text = str(refused.value)
    assert "\n" not in text
    return text


async def reopened(path: Path) -> tuple[Snapshot, list[str]]:
    """What a restart finds: everything, and the queue of ``desk``."""
    store = sqlite_store(path)
    snapshot = await store.open()
    queue = ids(await store.page("desk", **EVERYTHING))
    await store.close()
    return snapshot, queue


async def filled(path: Path, *ops: Write) -> None:
    """Let a store make these writes and stop."""
    store = sqlite_store(path)
    await store.open()
    await gatherResults([store.write(op) for op in ops])
    await store.close()


def rows(path: Path, sql: str, *values: Any) -> list[Any]:
    """Ask the file itself, while no store has it."""
    with closing(apsw.Connection(str(path))) as connection:
        return connection.execute(sql, values).fetchall()
