"""The memory store when it behaves as a disk does: for the tests of the other rooms."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.defer import gatherResults

from relay.core.model import Depth, End, Put, Revise, Seen, Status, Trials
from relay.core.ports import StoreBroken, StoreUnavailable
from relay.store.faults import StoreOverloaded
from relay.store.memory import MemoryStore
from tests.store.support import EVERYTHING, NOW, ids, record


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.open()
    return store


async def queue(store: MemoryStore) -> list[str]:
    return ids(await store.page("desk", **EVERYTHING))


@pytest_twisted.ensureDeferred
async def test_every_answer_is_there_when_the_call_returns(store: MemoryStore) -> None:
    assert store.write(Put(record(1))).called
    assert store.page("desk", **EVERYTHING).called
    assert not store.durable


@pytest_twisted.ensureDeferred
async def test_held_writes_are_neither_answered_nor_seen_until_they_are_released(store: MemoryStore) -> None:
    store.hold()
    writes = [store.write(Put(record(place))) for place in (1, 2, 3)]
    assert (store.held, await queue(store)) == (3, [])
    store.release(2)
    assert [write.called for write in writes] == [True, True, False]
    assert await queue(store) == ["m1", "m2"]
    store.release()
    assert await queue(store) == ["m1", "m2", "m3"]
    assert store.write(Put(record(4))).called


@pytest_twisted.ensureDeferred
async def test_what_an_answer_gives_rise_to_comes_after_what_waits(store: MemoryStore) -> None:
    store.hold()
    order: list[str] = []

    def first_answered(_: object) -> None:
        order.append("first")
        store.write(Revise("desk", "m2", Trials(1))).addCallback(lambda left: order.append(f"third {left}"))

    store.write(Put(record(1))).addCallback(first_answered)
    store.write(Put(record(2, payload=b""))).addCallback(lambda _: order.append("second"))
    store.release()
    assert order == ["first", "second", "third Depth(count=1, bytes=0)"]


@pytest_twisted.ensureDeferred
async def test_reads_are_held_on_demand(store: MemoryStore) -> None:
    store.hold(writes=False, reads=True)
    page = store.page("desk", **EVERYTHING)
    await store.write(Put(record(1)))
    assert not page.called
    store.release()
    assert ids(await page) == ["m1"]


@pytest_twisted.ensureDeferred
async def test_a_full_disk_refuses_new_messages_and_lets_the_rest_go_on(store: MemoryStore) -> None:
    await store.write(Put(record(1)))
    store.fail_with(StoreUnavailable("the disk is full"), Put)
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        await store.write(Put(record(2)))
    assert await store.write(End("desk", "m1", Status.DELIVERED)) == Depth(1, 9)
    store.heal()
    await store.write(Put(record(2)))
    assert await queue(store) == ["m2"]


@pytest_twisted.ensureDeferred
async def test_a_store_that_is_away_refuses_writes_and_on_demand_reads(store: MemoryStore) -> None:
    store.fail_with(StoreUnavailable("away"))
    with pytest.raises(StoreUnavailable):
        await store.write(Seen("a", NOW))
    assert await queue(store) == []
    store.fail_with(StoreUnavailable("away"), reads=True)
    with pytest.raises(StoreUnavailable):
        await queue(store)


@pytest_twisted.ensureDeferred
async def test_whether_a_held_write_fails_is_decided_when_it_is_released(store: MemoryStore) -> None:
    store.hold()
    write = store.write(Put(record(1)))
    store.fail_with(StoreUnavailable("full"))
    store.release()
    with pytest.raises(StoreUnavailable, match="full"):
        await write


@pytest_twisted.ensureDeferred
async def test_when_it_breaks_what_waits_and_what_comes_fails_and_it_is_told_once(store: MemoryStore) -> None:
    told: list[StoreBroken] = []
    store.on_broken(told.append)
    store.hold()
    write = store.write(Put(record(1)))
    store.break_down("fsync failed")
    store.break_down("again")
    with pytest.raises(StoreBroken, match="fsync failed"):
        await write
    with pytest.raises(StoreBroken):
        await queue(store)
    assert [str(error) for error in told] == ["fsync failed"]


@pytest_twisted.ensureDeferred
async def test_opened_again_it_works_and_has_what_was_answered(store: MemoryStore) -> None:
    await store.write(Put(record(1)))
    store.break_down()
    await store.close()
    assert (await store.open()).last_place == 1
    assert await queue(store) == ["m1"]


@pytest_twisted.ensureDeferred
async def test_a_spoilt_row_is_called_corrupt(store: MemoryStore) -> None:
    await gatherResults([store.write(Put(record(place))) for place in (1, 2, 3)])
    store.spoil("m2")
    page = await store.page("desk", **EVERYTHING)
    assert (ids(page), page.corrupt, page.last) == (["m1", "m3"], ("m2",), 3)
    assert (await store.load("desk", ["m2"])).corrupt == ("m2",)


@pytest_twisted.ensureDeferred
async def test_no_more_calls_wait_than_its_bound() -> None:
    store = MemoryStore(max_waiting=2)
    await store.open()
    store.hold()
    writes = [store.write(Seen("a", NOW)) for _ in range(2)]
    with pytest.raises(StoreOverloaded):
        await store.write(Seen("a", NOW))
    store.release()
    await gatherResults(writes)
