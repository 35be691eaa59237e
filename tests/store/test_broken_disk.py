"""A disk that fails: the store takes nothing any more, and the restart has what was answered."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import apsw
import pytest
import pytest_twisted
from twisted.internet.task import Clock

from relay.core.model import Kept, Put, Status
from relay.core.ports import StoreBroken, StoreUnavailable
from relay.store.group import BATCH_COUNT
from relay.store.reader import LAST
from relay.store.sqlite import SqliteStore
from tests.conftest import turn_of_the_reactor
from tests.store.disk import Disk
from tests.store.support import (
    EVERYTHING,
    NOW,
    filled,
    outcomes,
    record,
    reopened,
    sqlite_store,
)

DELIVERED = Status.DELIVERED


@pytest.mark.parametrize("call", range(10))
@pytest_twisted.ensureDeferred
async def test_a_write_or_sync_that_fails_breaks_the_store_and_the_restart_has_what_was_answered(
    store: SqliteStore, disk: Disk, path: Path, call: int
) -> None:
    broken: list[tuple[StoreBroken, str]] = []
    store.on_broken(lambda error: broken.append((error, threading.current_thread().name)))
    await store.write(Put(record(1)))
    disk.fail(apsw.IOError, after=call)
    answers = [await outcomes([store.write(Put(record(place)))]) for place in range(2, 10)]
    good = [place for place, [answer] in enumerate(answers, start=2) if answer == Kept()]
    bad = [answer for [answer] in answers if answer != Kept()]
    assert bad and all(type(each) is StoreBroken for each in bad)
    assert good == list(range(2, 2 + len(good)))
    assert [name for _, name in broken] == [threading.main_thread().name]
    with pytest.raises(StoreBroken):
        await store.page("desk", **EVERYTHING)
    await store.close()
    _, queue = await reopened(path)
    answered = ["m1", *(f"m{place}" for place in good)]
    # The first that was not answered may be there: a 503 means unknown, not no.
    assert queue in (answered, [*answered, f"m{2 + len(good)}"])


@pytest_twisted.ensureDeferred
async def test_when_it_breaks_everything_that_waits_fails(store: SqliteStore, disk: Disk) -> None:
    disk.hold()
    writes = [store.write(Put(record(place))) for place in range(1, 2 * BATCH_COUNT)]
    disk.fail(apsw.IOError, kinds=("sync",))
    disk.release()
    answers = await outcomes(writes)
    assert {type(each) for each in answers} == {StoreBroken}
    assert len({id(each) for each in answers}) == len(answers)


@pytest_twisted.ensureDeferred
async def test_after_a_failed_sync_nothing_more_is_written(store: SqliteStore, disk: Disk, path: Path) -> None:
    await store.write(Put(record(1)))
    disk.fail(apsw.IOError, kinds=("sync",))
    with pytest.raises(StoreBroken):
        await store.write(Put(record(2)))
    before, log = path.read_bytes(), path.with_name("relay.db-wal").read_bytes()
    await store.close()
    assert path.read_bytes() == before
    assert path.with_name("relay.db-wal").read_bytes() == log


@pytest_twisted.ensureDeferred
async def test_a_disk_that_does_not_answer_any_more_is_given_up(store: SqliteStore, disk: Disk, clock: Clock) -> None:
    broken: list[StoreBroken] = []
    store.on_broken(broken.append)
    disk.hold()
    write = store.write(Put(record(1)))
    clock.pump([10, 10])
    assert not write.called
    clock.advance(10)
    with pytest.raises(StoreBroken, match="has not answered for 30 s"):
        await write
    assert len(broken) == 1


@pytest_twisted.ensureDeferred
async def test_a_close_does_not_wait_for_ever_for_a_disk_that_does_not_answer(
    store: SqliteStore, disk: Disk, clock: Clock
) -> None:
    disk.hold()
    write = store.write(Put(record(1)))
    closed = store.close()
    while not closed.called:
        clock.advance(0.1)
        await turn_of_the_reactor()
    with pytest.raises(StoreUnavailable, match="closed"):
        await write


@pytest_twisted.ensureDeferred
async def test_a_page_of_the_file_that_cannot_be_read_breaks_the_store(path: Path) -> None:
    await filled(path, *(Put(record(place, payload=b"x" * 3000)) for place in range(1, 100)))
    content = bytearray(path.read_bytes())
    store = sqlite_store(path)
    broken: list[StoreBroken] = []
    store.on_broken(broken.append)
    with path.open("r+b") as file:  # before the store opens it: closing it later would drop SQLite's locks
        await store.open()
        await store.page("desk", 0, LAST, NOW, 1, 1)
        for page in range(len(content) // 4096 - 60, len(content) // 4096):
            os.pwrite(file.fileno(), b"damaged!" * 512, page * 4096)
        with pytest.raises(StoreBroken):
            await store.page("desk", **EVERYTHING)
        with pytest.raises(StoreBroken):
            await store.write(Put(record(100)))
        assert len(broken) == 1
        await store.close()
