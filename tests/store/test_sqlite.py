"""The SQLite store on real threads and real files: what the contract test cannot ask of a store in memory.

Where a moment matters the store runs on a ``Disk`` that waits or fails when it is told to; time is a clock that stands.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.task import Clock

from relay.core.model import Depth, End, Kept, Put, Revise, Seen, Snapshot, Status, Trials, Write
from relay.core.ports import StoreBroken, StoreRefused, StoreUnavailable
from relay.store import ends, finding, pruning, puts, work
from relay.store.faults import StoreFull, StoreOverloaded
from relay.store.group import BATCH_COUNT, MAX_BYTES, MAX_COUNT
from relay.store.reader import CALLBACKS, DEPTHS, LAST, OLDEST, OVERDUE, PAGE
from relay.store.retention import DAY
from relay.store.sqlite import SqliteStore
from tests.conftest import turn_of_the_reactor
from tests.store.disk import Disk
from tests.store.support import EVERYTHING, NOW, Wall, ids, record, sqlite_store

DELIVERED = Status.DELIVERED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.release()


@pytest_twisted.async_yield_fixture
async def store(path: Path, clock: Clock, wall: Wall, disk: Disk) -> AsyncIterator[SqliteStore]:
    """A store that is open, on the disk of the test."""
    made = sqlite_store(path, clock=clock, wall=wall, vfs=disk.name, log_pages=50)
    await made.open()
    yield made
    disk.release()
    await made.close()


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


# -- opening


@pytest_twisted.ensureDeferred
async def test_its_files_are_for_their_owner_alone(store: SqliteStore, path: Path) -> None:
    await store.write(Put(record(1)))
    modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
    names = ("relay.db", "relay.db-shm", "relay.db-wal", "relay.db.lock", "relay.db.reserve")
    assert modes == dict.fromkeys(names, 0o600)


@pytest_twisted.ensureDeferred
async def test_a_second_relay_is_kept_off_the_file(store: SqliteStore, path: Path) -> None:
    line = await refusal(path)
    assert f"process {os.getpid()} holds {path}.lock" in line
    assert await store.write(Put(record(1))) == Kept()


@pytest_twisted.ensureDeferred
async def test_another_name_of_the_file_does_not_get_round_the_lock(store: SqliteStore, path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    assert "another relay uses this store" in await refusal(link)


@pytest_twisted.ensureDeferred
async def test_the_lock_of_a_relay_that_is_gone_keeps_nobody_off(path: Path) -> None:
    path.with_name("relay.db.lock").write_text("1\n")
    await filled(path, Put(record(1)))
    assert (await reopened(path))[1] == ["m1"]


@pytest_twisted.ensureDeferred
async def test_a_missing_directory_is_refused_by_name(tmp_path: Path) -> None:
    assert f"there is no directory {tmp_path}/nowhere" in await refusal(tmp_path / "nowhere" / "relay.db")


@pytest_twisted.ensureDeferred
async def test_a_place_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    assert "/proc/relay.db.lock cannot be used" in await refusal(Path("/proc/relay.db"))


@pytest_twisted.ensureDeferred
async def test_a_directory_is_no_database(path: Path) -> None:
    path.mkdir()
    assert "relay.db cannot be opened for writing" in await refusal(path)


@pytest_twisted.ensureDeferred
async def test_what_is_not_a_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"my holiday diary\n" * 1000)
    assert "relay.db is not a relay's database" in await refusal(path)
    assert path.read_bytes() == b"my holiday diary\n" * 1000


@pytest_twisted.ensureDeferred
async def test_the_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    rows(path, "CREATE TABLE diary (day, words)")
    assert "is the database of another program" in await refusal(path)
    assert rows(path, "SELECT name FROM sqlite_schema") == [("diary",)]


@pytest_twisted.ensureDeferred
async def test_a_database_of_a_newer_relay_is_refused_with_both_versions(path: Path) -> None:
    await filled(path, Put(record(1)))
    rows(path, "UPDATE store SET version = 7")
    assert "has version 7, made by a newer relay: this one knows versions up to 2" in await refusal(path)


@pytest.mark.parametrize(
    "sql",
    ["DELETE FROM store", "UPDATE store SET version = -1", "INSERT INTO store (version, last_place) VALUES (1, 1)"],
)
@pytest_twisted.ensureDeferred
async def test_a_database_that_does_not_say_its_version_is_refused(path: Path, sql: str) -> None:
    await filled(path, Put(record(1)))
    rows(path, sql)
    assert "does not say of which version it is" in await refusal(path)


@pytest_twisted.ensureDeferred
async def test_an_empty_file_becomes_a_database(path: Path) -> None:
    path.touch()
    await filled(path, Put(record(1)))
    assert (await reopened(path))[1] == ["m1"]


@pytest_twisted.ensureDeferred
async def test_a_database_that_another_program_has_locked_is_refused(path: Path) -> None:
    await filled(path, Put(record(1)))
    with closing(apsw.Connection(str(path))) as other:
        other.pragma("locking_mode", "EXCLUSIVE")
        other.execute("UPDATE store SET version = version")
        assert "is locked by another program" in await refusal(path, busy_seconds=0)


@pytest_twisted.ensureDeferred
async def test_a_damaged_file_is_refused_after_an_unclean_stop(path: Path) -> None:
    await filled(path, *(Put(record(place, payload=b"x" * 3000)) for place in range(1, 100)))
    content = bytearray(path.read_bytes())
    for page in range(4, len(content) // 4096):
        content[page * 4096 : page * 4096 + 8] = b"damaged!"
    path.write_bytes(content)
    path.with_name("relay.db-wal").touch()
    assert "relay.db is damaged" in await refusal(path)


@pytest_twisted.ensureDeferred
async def test_a_clean_stop_leaves_no_log(store: SqliteStore, path: Path) -> None:
    await store.write(Put(record(1)))
    assert path.with_name("relay.db-wal").stat().st_size > 0
    await store.close()
    assert not path.with_name("relay.db-wal").exists()


@pytest_twisted.ensureDeferred
async def test_what_was_refused_leaves_no_thread_and_no_lock_behind(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)
    await refusal(path)
    path.unlink()
    await filled(path, Put(record(1)))
    while left := [each for each in threading.enumerate() if each.name.startswith("store-")]:
        left[0].join()


# -- rows that came back changed


@pytest.mark.parametrize(
    "column, change",
    [
        ("payload", "x'00'"),
        ("payload", "substr(payload, 2)"),
        ("payload", "CAST(payload AS TEXT)"),
        ("content_type", "'text/html'"),
        ("content_type", "CAST(x'ff' AS TEXT)"),
        ("form", "'json'"),
        ("checksum", "zeroblob(8)"),
        ("id", "'M1'"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_changed_row_is_called_corrupt_and_the_others_are_read(path: Path, column: str, change: str) -> None:
    await filled(path, Put(record(1)), Put(record(2)), Put(record(3)))
    # A table that is not STRICT lets the test write what a flipped bit may leave.
    rows(path, "PRAGMA writable_schema = on")
    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("writable_schema", True)
        connection.execute("UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '') WHERE name = 'messages'")
    rows(path, f"UPDATE messages SET {column} = {change} WHERE place = 2")
    store = sqlite_store(path)
    await store.open()
    page = await store.page("desk", **EVERYTHING)
    await store.close()
    assert ids(page) == ["m1", "m3"]
    assert page.corrupt == (("M1",) if column == "id" else ("m2",))
    assert (page.last, page.more) == (3, False)


@pytest.mark.parametrize("text", [b"payload 2", b"text/plain", b"m2"])
@pytest.mark.parametrize("bit", [0, 5, 7])
@pytest_twisted.ensureDeferred
async def test_a_bit_that_flipped_on_the_disk_is_found(path: Path, text: bytes, bit: int) -> None:
    await filled(path, Put(record(1)), Put(record(2)), Put(record(3)))
    content = bytearray(path.read_bytes())
    row = content.rindex(b"m2desktext/plaintext")  # as the columns stand in the row
    content[content.index(text, row) + len(text) - 1] ^= 1 << bit
    path.write_bytes(content)
    store = sqlite_store(path)
    await store.open()
    page = await store.page("desk", **EVERYTHING)
    assert ids(page) == ["m1", "m3"]
    assert len(page.corrupt) == 1
    if text != b"m2":
        assert page.corrupt == ("m2",)
        assert (await store.load("desk", ["m2"])).corrupt == ("m2",)
        assert await store.write(End("desk", "m2", Status.DEAD, "corrupt", NOW)) == Depth(1, 9)
        assert (await store.page("desk", **EVERYTHING)).corrupt == ()
    await store.close()


# -- group commit


@pytest_twisted.ensureDeferred
async def test_what_arrives_while_a_commit_runs_goes_into_the_next_one(store: SqliteStore, disk: Disk) -> None:
    before = disk.commits
    disk.hold()
    first = store.write(Put(record(1)))
    others = [store.write(Put(record(place))) for place in range(2, 302)]
    disk.release()
    await gatherResults([first, *others])
    assert disk.commits - before <= 2


@pytest_twisted.ensureDeferred
async def test_a_commit_is_bounded(store: SqliteStore, disk: Disk) -> None:
    before = disk.commits
    await at_once(store, disk, *(Put(record(place)) for place in range(1, 2 * BATCH_COUNT + 2)))
    assert disk.commits - before >= 3


@pytest_twisted.ensureDeferred
async def test_nothing_is_answered_before_its_sync(store: SqliteStore, disk: Disk) -> None:
    disk.hold()
    writes = [store.write(Put(record(1))), store.write(Put(record(2)))]
    await store.page("desk", **EVERYTHING)  # a round to the threads and back
    assert not any(write.called for write in writes)
    disk.release()
    await gatherResults(writes)


@pytest_twisted.ensureDeferred
async def test_reads_go_on_while_a_commit_is_under_way(store: SqliteStore, disk: Disk) -> None:
    await store.write(Put(record(1)))
    disk.hold()
    write = store.write(End("desk", "m1", DELIVERED))
    assert ids(await store.page("desk", **EVERYTHING)) == ["m1"]
    assert await store.oldest(["desk"]) == {"desk": NOW - 999}
    disk.release()
    await write
    assert ids(await store.page("desk", **EVERYTHING)) == []


@pytest_twisted.ensureDeferred
async def test_more_writes_than_the_bound_are_refused_at_once(store: SqliteStore, disk: Disk) -> None:
    disk.hold()
    writes = [store.write(Seen("a", NOW)) for _ in range(MAX_COUNT)]
    with pytest.raises(StoreOverloaded, match="20000 writes"):
        await store.write(Seen("a", NOW))
    disk.release()
    await gatherResults(writes)
    assert await store.write(Seen("a", NOW)) is None


@pytest_twisted.ensureDeferred
async def test_more_bytes_than_the_bound_are_refused_at_once(store: SqliteStore, disk: Disk) -> None:
    payload = bytes(MAX_BYTES // 4)
    disk.hold()
    writes = [store.write(Put(record(place, payload=payload))) for place in range(1, 5)]
    with pytest.raises(StoreOverloaded):
        await store.write(Put(record(5)))
    ended = store.write(End("desk", "m4", DELIVERED))
    disk.release()
    await gatherResults(writes)
    assert await ended == Depth(1, len(payload))


@pytest_twisted.ensureDeferred
async def test_giving_up_on_an_answer_does_not_undo_the_write(store: SqliteStore, disk: Disk) -> None:
    disk.hold()
    write = store.write(Put(record(1)))
    write.addErrback(lambda _: None)
    write.cancel()
    disk.release()
    await store.write(Seen("a", NOW))
    assert ids(await store.page("desk", **EVERYTHING)) == ["m1"]


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


# -- a disk that fails


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


# -- what it sees to by itself


async def tidied(store: SqliteStore, clock: Clock) -> None:
    """Let it do its chores, all slices of them."""
    clock.advance(10)
    while store._chores.under_way:
        await store.oldest([])


@pytest_twisted.ensureDeferred
async def test_the_log_is_copied_into_the_file_and_does_not_grow_without_end(store: SqliteStore, path: Path) -> None:
    log = path.with_name("relay.db-wal")
    for place in range(1, 400):
        await store.write(Put(record(place, payload=b"x" * 3000)))
        await store.write(End("desk", f"m{place}", DELIVERED))
    assert log.stat().st_size < 4 * 50 * 4096


@pytest_twisted.ensureDeferred
async def test_the_log_is_emptied_when_nothing_is_written(store: SqliteStore, path: Path, clock: Clock) -> None:
    log = path.with_name("relay.db-wal")
    await store.write(Put(record(1)))
    assert log.stat().st_size > 0
    await tidied(store, clock)
    assert log.stat().st_size == 0
    assert ids(await store.page("desk", **EVERYTHING)) == ["m1"]


@pytest_twisted.ensureDeferred
async def test_what_ended_badly_is_kept_with_its_reason_for_fourteen_days(
    store: SqliteStore, path: Path, clock: Clock, wall: Wall
) -> None:
    await gatherResults([store.write(Put(record(place))) for place in range(1, 5)])
    await store.write(End("desk", "m1", Status.REJECTED, "too long", NOW))
    await store.write(End("desk", "m2", Status.DELIVERED, "", NOW))
    await store.write(End("desk", "m3", Status.DEAD, "attempts", NOW + DAY))
    wall.now = NOW + 14 * DAY
    await tidied(store, clock)
    found = "SELECT id, status, reason, ended_at FROM messages WHERE status <> 'queued' ORDER BY id"
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as other:
        kept = other.execute(found).fetchall()
    assert kept == [("m1", "rejected", "too long", NOW), ("m3", "dead", "attempts", NOW + DAY)]
    wall.now += 1
    await tidied(store, clock)
    await store.close()
    assert [row[0] for row in rows(path, found)] == ["m3"]
    assert (await reopened(path))[0].last_place == 4


@pytest_twisted.ensureDeferred
async def test_of_what_ended_badly_the_newest_are_kept_up_to_a_number(
    store: SqliteStore, path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "LETTER_COUNT", 10)
    await gatherResults([store.write(Put(record(place))) for place in range(1, 301)])
    await gatherResults([store.write(End("desk", f"m{n}", Status.DEAD, "", NOW - n)) for n in range(1, 300)])
    await tidied(store, clock)
    await store.close()
    assert rows(path, "SELECT id FROM messages ORDER BY place") == [*((f"m{n}",) for n in range(1, 11)), ("m300",)]


@pytest_twisted.ensureDeferred
async def test_of_what_ended_badly_the_newest_are_kept_up_to_their_bytes(
    store: SqliteStore, path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "LETTER_BYTES", 1000)
    await gatherResults([store.write(Put(record(place, payload=b"x" * 400))) for place in range(1, 8)])
    await gatherResults([store.write(End("desk", f"m{n}", Status.DEAD, "", NOW + n)) for n in range(1, 7)])
    await tidied(store, clock)
    await store.close()
    assert rows(path, "SELECT id FROM messages ORDER BY place") == [("m5",), ("m6",), ("m7",)]


@pytest_twisted.ensureDeferred
async def test_agents_not_seen_for_long_or_too_many_are_forgotten_on_the_disk_too(
    store: SqliteStore, path: Path, clock: Clock, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "SEEN_COUNT", 3)
    await gatherResults([store.write(Seen(f"a{day}", NOW + day * DAY)) for day in range(6)])
    wall.now = NOW + 31.5 * DAY
    await tidied(store, clock)
    await store.close()
    assert rows(path, "SELECT agent FROM agents ORDER BY agent") == [("a3",), ("a4",), ("a5",)]


@pytest.mark.parametrize(
    "sql, bindings, index",
    [
        (DEPTHS, (), "USING COVERING INDEX queue"),
        (PAGE, (NOW, "desk", 0, LAST, 100), "USING INDEX queue (agent=? AND place>? AND place<?)"),
        (OLDEST, ("[]",), "USING INDEX queue (agent=?)"),
        (OVERDUE, (NOW, 1), "USING INDEX expiring (expires_at<?)"),
        (CALLBACKS, (NOW, 1), "USING INDEX callbacks_by_time (due_at<?)"),
        (finding.QUEUED, ("[]",), "messages USING INDEX sqlite_autoindex_messages_1 (id=?)"),
        (finding.ENDED, ("[]",), "past USING INDEX sqlite_autoindex_past_1 (id=?)"),
        (finding.LETTERS, (NOW, 1, 1), "USING INDEX letters (ended_at>?"),
        (pruning.FIRST_LETTERS, (1,), "USING COVERING INDEX letters"),
        (pruning.FIRST_PASTS, (1,), "USING COVERING INDEX past_by_time"),
        (pruning.OLD_KEYS, (NOW, 1), "USING COVERING INDEX keys_by_time (until<?)"),
        (ends.QUEUED, ("[]",), "found USING INDEX sqlite_autoindex_messages_1 (id=?)"),
        (puts.SUPERSEDED, ("[]",), "found USING INDEX topics (agent=? AND topic=? AND place<?)"),
        (puts.KEYS, ("[]",), "found USING PRIMARY KEY (name=?)"),
        (work.statement(puts.PUT, 1, 20), (None,) * 20, "past USING COVERING INDEX sqlite_autoindex_past_1 (id=?)"),
    ],
    ids=[
        *("depths", "page", "oldest", "overdue", "callbacks", "find", "find-ended", "letters", "first-letters"),
        *("first-pasts", "old-keys", "queued", "superseded", "keys", "put"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_no_question_looks_through_the_whole_table(
    path: Path, sql: str, bindings: tuple[Any, ...], index: str
) -> None:
    await filled(path, Put(record(1)))
    plan = [row[3] for row in rows(path, f"EXPLAIN QUERY PLAN {sql}", *bindings)]
    assert any(index in step for step in plan)
    assert not any("TEMP B-TREE" in step for step in plan)
