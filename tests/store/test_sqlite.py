"""The SQLite store on real threads and real files: what the contract test cannot ask of a store in memory.

Where a moment matters the store runs on a ``Disk`` that waits when it is told to; time is a clock that stands.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
import pytest_twisted
from msgspec.structs import replace
from twisted.internet.defer import gatherResults
from twisted.internet.task import Clock

from relay.core.model import Depth, End, Put, Seen, Status
from relay.store import ends, finding, pruning, puts, superseding, work
from relay.store.faults import StoreOverloaded
from relay.store.group import BATCH_COUNT, MAX_BYTES, MAX_COUNT
from relay.store.reader import CALLBACKS, DEPTHS, LAST, OLDEST, OVERDUE, PAGE
from relay.store.retention import DEFAULTS
from relay.store.sqlite import SqliteStore
from tests.store.disk import Disk
from tests.store.support import (
    EVERYTHING,
    NOW,
    Wall,
    at_once,
    filled,
    ids,
    record,
    reopened,
    rows,
    sqlite_store,
)

DELIVERED = Status.DELIVERED
DAY = 86400.0


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
async def test_changes_asked_for_together_are_in_one_commit_however_many(store: SqliteStore, disk: Disk) -> None:
    before = disk.commits
    await store.write_all([Put(record(place)) for place in range(1, 2 * BATCH_COUNT)])
    assert disk.commits - before == 1


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


# -- what it sees to by itself


async def settled(store: SqliteStore) -> None:
    """Wait for the chores that it is about."""
    while store._chores.under_way:
        await store.oldest([])


async def tidied(store: SqliteStore, clock: Clock) -> None:
    """Let it do its chores, all slices of them."""
    clock.advance(10)
    await settled(store)


@pytest_twisted.ensureDeferred
async def test_the_log_is_copied_into_the_file_and_does_not_grow_without_end(store: SqliteStore, path: Path) -> None:
    log = path.with_name("relay.db-wal")
    for place in range(1, 400):
        await store.write(Put(record(place, payload=b"x" * 3000)))
        await store.write(End("desk", f"m{place}", DELIVERED))
        if place % 10 == 0:
            await settled(store)  # the log grows while it is copied, for as long as that takes
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
async def test_of_what_ended_badly_the_newest_are_kept_up_to_a_number(path: Path, clock: Clock) -> None:
    store = sqlite_store(path, clock=clock, bounds=replace(DEFAULTS, letter_count=10))
    await store.open()
    await gatherResults([store.write(Put(record(place))) for place in range(1, 301)])
    await gatherResults([store.write(End("desk", f"m{n}", Status.DEAD, "", NOW - n)) for n in range(1, 300)])
    await tidied(store, clock)
    await store.close()
    assert rows(path, "SELECT id FROM messages ORDER BY place") == [*((f"m{n}",) for n in range(1, 11)), ("m300",)]


@pytest_twisted.ensureDeferred
async def test_of_what_ended_badly_the_newest_are_kept_up_to_their_bytes(path: Path, clock: Clock) -> None:
    store = sqlite_store(path, clock=clock, bounds=replace(DEFAULTS, letter_bytes=1000))
    await store.open()
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
        (superseding.SUPERSEDED, ("[]",), "found USING INDEX topics (agent=? AND topic=? AND place<?)"),
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
