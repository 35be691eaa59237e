"""A full disk, at every row of a batch and every write of the log; and a file that another program has locked.

Nothing that was answered is lost, nothing that failed is there, and the end of old messages can still be recorded.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest
import pytest_twisted
from twisted.internet.defer import gatherResults
from twisted.internet.task import Clock

from relay.core.model import Depth, End, Kept, Put, Revise, Seen, Status, Trials, Write
from relay.core.ports import StoreBroken
from relay.store.faults import StoreFull
from relay.store.sqlite import SqliteStore
from tests.store.disk import Disk
from tests.store.support import (
    EVERYTHING,
    NOW,
    at_once,
    filled,
    ids,
    outcomes,
    record,
    reopened,
    sqlite_store,
)

DELIVERED = Status.DELIVERED


# -- a full disk


def limit_pages(holder: list[apsw.Connection], more: int) -> None:
    """Let the file grow by so many pages only."""
    [connection] = holder
    connection.pragma("max_page_count", connection.pragma("page_count") + more)


@pytest.mark.parametrize("pages", range(36))
@pytest_twisted.ensureDeferred
async def test_a_disk_that_is_full_at_any_row_of_a_batch(path: Path, disk: Disk, pages: int) -> None:
    """Ten rows of three pages each: the disk is full at each of them in turn, and at last at none."""
    holder: list[apsw.Connection] = []
    store = sqlite_store(path, vfs=disk.name, tune=holder.append)
    await store.open()
    await gatherResults([store.write(Put(record(place, payload=b"old"))) for place in (1, 2, 3)])
    limit_pages(holder, pages)
    puts: list[Write] = [Put(record(place, payload=b"n" * 12000)) for place in range(10, 20)]
    others: list[Write] = [
        End("desk", "m1", DELIVERED),
        Revise("desk", "m2", Trials(7)),
        End("desk", "m3", Status.DEAD, "why", NOW),
    ]
    # Changes of old messages between, before and after the new ones.
    answers = await at_once(store, disk, others[0], *puts[:5], others[1], *puts[5:], others[2])
    assert [answers[0], answers[12]] == [Depth(1, 3), Depth(1, 3)] and answers[6] is not None
    put = [answers[index] for index in (*range(1, 6), *range(7, 12))]
    if pages < 20:
        assert all(isinstance(each, StoreFull) for each in put)
    taken = [f"m{place}" for place, answer in zip(range(10, 20), put, strict=True) if answer == Kept()]
    page = await store.page("desk", **EVERYTHING)
    assert ids(page) == ["m2", *taken]
    assert page.records[0].trials == Trials(7)
    await store.close()
    assert (await reopened(path))[1] == ["m2", *taken]


@pytest_twisted.ensureDeferred
async def test_with_enough_room_the_same_batch_goes(path: Path, disk: Disk) -> None:
    holder: list[apsw.Connection] = []
    store = sqlite_store(path, vfs=disk.name, tune=holder.append)
    await store.open()
    limit_pages(holder, 40)
    answers = await at_once(store, disk, *(Put(record(place, payload=b"n" * 12000)) for place in range(10, 20)))
    assert answers == [Kept()] * 10
    await store.close()


@pytest.mark.parametrize("call", range(14))
@pytest_twisted.ensureDeferred
async def test_a_disk_that_is_full_at_any_write_of_the_log(
    store: SqliteStore, disk: Disk, path: Path, call: int
) -> None:
    await store.write(Put(record(1)))
    disk.hold()
    first = store.write(Seen("other", NOW))
    writes = [store.write(Put(record(place, payload=b"n" * 9000))) for place in range(10, 14)]
    writes.append(store.write(End("desk", "m1", DELIVERED)))
    disk.fail(apsw.FullError, after=call, kinds=("write",))
    disk.release()
    answers = await outcomes([first, *writes])
    assert disk.failed
    queue = [f"m{place}" for place, answer in zip(range(10, 14), answers[1:5], strict=True) if answer == Kept()]
    assert answers[0] is None and answers[5] == Depth(1, 9)
    assert ids(await store.page("desk", **EVERYTHING)) == queue
    await store.close()
    assert (await reopened(path))[1] == queue


@pytest_twisted.ensureDeferred
async def test_on_a_full_disk_ends_go_on_new_messages_wait_for_room_and_it_recovers_by_itself(
    path: Path, disk: Disk, clock: Clock
) -> None:
    holder: list[apsw.Connection] = []
    store = sqlite_store(path, vfs=disk.name, clock=clock, tune=holder.append)
    await store.open()
    await gatherResults([store.write(Put(record(place))) for place in range(1, 6)])
    limit_pages(holder, 0)
    with pytest.raises(StoreFull, match="no room on the disk"):
        await store.write(Put(record(9, payload=b"n" * 9000)))
    limit_pages(holder, 100)
    with pytest.raises(StoreFull, match="no new message is taken until there is room"):
        await store.write(Put(record(9)))
    assert await store.write(End("desk", "m1", DELIVERED)) == Depth(1, 9)
    clock.advance(1)
    assert await store.write(Put(record(9, payload=b"n" * 9000))) == Kept()
    await store.close()
    assert (await reopened(path))[1] == ["m2", "m3", "m4", "m5", "m9"]


@pytest_twisted.ensureDeferred
async def test_the_reserve_is_freed_when_the_disk_is_full_and_made_again_when_it_is_not(
    store: SqliteStore, disk: Disk, path: Path, clock: Clock
) -> None:
    reserve = path.with_name("relay.db.reserve")
    assert reserve.stat().st_blocks * 512 >= 65536
    disk.fail(apsw.FullError, kinds=("write",))
    with pytest.raises(StoreFull):
        await store.write(Put(record(1)))
    assert not reserve.exists()
    clock.advance(1)
    assert await store.write(Put(record(1))) == Kept()
    assert reserve.stat().st_blocks * 512 >= 65536


@pytest_twisted.ensureDeferred
async def test_below_the_mark_of_free_space_new_messages_are_refused_and_all_else_goes_on(
    path: Path, clock: Clock
) -> None:
    free, asked = 1000, 0

    def free_bytes() -> int:
        nonlocal asked
        asked += 1
        return free

    store = sqlite_store(path, clock=clock, min_free_bytes=1000, free_bytes=free_bytes)
    await store.open()
    await store.write(Put(record(1)))
    free = 999
    clock.advance(1)
    for _ in range(5):
        with pytest.raises(StoreFull, match="only 999 bytes are free on the disk; new messages are taken from 1000 on"):
            await store.write(Put(record(2)))
    assert await store.write(Revise("desk", "m1", Trials(3))) is not None
    assert await store.write(End("desk", "m1", DELIVERED)) == Depth(1, 9)
    assert await store.write(Seen("desk", NOW)) is None
    asked, free = 0, 1000
    for _ in range(5):
        with pytest.raises(StoreFull):
            await store.write(Put(record(2)))
    assert asked == 0
    clock.advance(1)
    assert await store.write(Put(record(2))) == Kept()
    await store.close()


@pytest_twisted.ensureDeferred
async def test_a_disk_without_room_for_the_reserve_is_opened_and_takes_no_new_message(path: Path, clock: Clock) -> None:
    await filled(path, Put(record(1)))
    store = sqlite_store(path, clock=clock, reserve_bytes=1 << 60)
    await store.open()
    with pytest.raises(StoreFull, match="no room for the reserve file"):
        await store.write(Put(record(2)))
    assert await store.write(End("desk", "m1", DELIVERED)) == Depth(1, 9)
    assert not path.with_name("relay.db.reserve").exists()
    await store.close()


# -- a busy file


@pytest_twisted.ensureDeferred
async def test_a_lock_of_another_program_is_ridden_out(path: Path) -> None:
    store = sqlite_store(path, busy_seconds=0)
    await store.open()
    broken: list[StoreBroken] = []
    store.on_broken(broken.append)
    with closing(apsw.Connection(str(path))) as other:
        other.execute("BEGIN IMMEDIATE")
        answers = await outcomes([store.write(Put(record(1))), store.write(Seen("a", NOW))])
        assert all("locked by another program" in str(each) for each in answers)
        assert await store.oldest(["desk"]) == {}
        other.execute("ROLLBACK")
    assert await store.write(Put(record(1))) == Kept()
    assert ids(await store.page("desk", **EVERYTHING)) == ["m1"]
    assert broken == []
    await store.close()
