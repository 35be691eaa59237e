"""What every store does: one suite, run over the memory twin and over SQLite on a real disk."""

from __future__ import annotations

import pytest
import pytest_twisted
from msgspec.structs import replace
from twisted.internet.defer import gatherResults

from relay.core.model import Depth, End, Form, Kept, Message, Page, Put, Record, Revise, Seen, Snapshot, Status, Trials
from relay.core.ports import StoreUnavailable
from tests.contract.support import DAY, AnyStore, Make, put, queue, restarted
from tests.store.support import EVERYTHING, NOW, Wall, ids, record

# -- opening


@pytest_twisted.ensureDeferred
async def test_a_new_store_holds_nothing(make: Make) -> None:
    store = make()
    snapshot = await store.open()
    assert snapshot == Snapshot(0, {}, {}, snapshot.secret)
    await store.close()


@pytest_twisted.ensureDeferred
async def test_the_secret_of_a_store_is_made_once(store: AnyStore, make: Make) -> None:
    second, first = await restarted(store, make)
    third, again = await restarted(second, make)
    assert len(first.secret) == 32
    assert again.secret == first.secret
    await third.close()


@pytest_twisted.ensureDeferred
async def test_before_it_is_opened_and_after_it_is_closed_nothing_is_taken_or_given(make: Make) -> None:
    store = make()
    with pytest.raises(StoreUnavailable):
        await store.write(Put(record(1)))
    await store.open()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.write(Put(record(1)))
    with pytest.raises(StoreUnavailable):
        await store.page("desk", **EVERYTHING)


@pytest_twisted.ensureDeferred
async def test_closing_twice_and_closing_what_was_never_opened_does_nothing(make: Make) -> None:
    store = make()
    await store.close()
    opened, _ = await restarted(store, make)
    await opened.close()
    await opened.close()


@pytest_twisted.ensureDeferred
async def test_a_close_finishes_the_writes_under_way(store: AnyStore, make: Make) -> None:
    writes = [store.write(Put(record(place))) for place in range(1, 50)]
    again, snapshot = await restarted(store, make)
    await gatherResults(writes)
    assert snapshot.depths["desk"].count == 49
    await again.close()


@pytest_twisted.ensureDeferred
async def test_a_restart_finds_queues_places_and_who_was_seen(store: AnyStore, make: Make) -> None:
    await put(store, record(1, "a", b"123"), record(2, "b", b""), record(3, "a", b"4567"))
    await store.write(Seen("c", NOW - 5))
    again, snapshot = await restarted(store, make)
    assert snapshot == Snapshot(3, {"a": Depth(2, 7), "b": Depth(1, 0)}, {"c": NOW - 5}, snapshot.secret)
    assert await queue(again, "a") == ["m1", "m3"]
    await again.close()


@pytest_twisted.ensureDeferred
async def test_the_last_place_does_not_fall_when_the_message_that_had_it_is_gone(store: AnyStore, make: Make) -> None:
    await put(store, record(1), record(7))
    await store.write(End("desk", "m7", Status.DELIVERED))
    again, snapshot = await restarted(store, make)
    assert snapshot.last_place == 7
    await again.write(End("desk", "m1", Status.DELIVERED))
    once_more, snapshot = await restarted(again, make)
    assert snapshot == Snapshot(7, {}, {}, snapshot.secret)
    await once_more.close()


# -- putting


@pytest_twisted.ensureDeferred
async def test_a_record_comes_back_as_it_was_put(store: AnyStore) -> None:
    trials = Trials(attempts=3, failures=2, nacks=1, first_failure_at=NOW - 0.1, not_before=NOW - 1 / 3)
    records = []
    for place, (form, content_type, payload) in enumerate(
        [
            (Form.JSON, "application/json", b'{"n":1e999,"big":123456789012345678901234567890}'),
            (Form.TEXT, "text/plain; charset=utf-8", "žluťoučký kůň 你好 🙂".encode()),
            (Form.LATIN1, "text/plain; charset=iso-8859-1", b"caf\xe9"),
            (Form.BINARY, "application/octet-stream", bytes(range(256)) * 4096),
            (Form.BINARY, "x/y", b"\0"),
        ],
        start=1,
    ):
        message = Message(f"id-{place}", "a.b_~:@-", payload, content_type, form, NOW + 0.123456, NOW + 0.7)
        records.append(Record(place, message, replace(trials, attempts=place)))
    headers = (("order", "2"), ("order", ""), ("name", 'ů "quoted"'))
    more = replace(
        message, id="id-6", headers=headers, topic="cursor", publisher="ann", callback="https://example.org/"
    )
    records.append(Record(6, more, trials))
    records.append(Record(7, replace(more, id="id-7", headers=()), trials))
    await put(store, *records)
    assert await store.page("a.b_~:@-", **EVERYTHING) == Page(tuple(records), (), (), 7, more=False)


@pytest_twisted.ensureDeferred
async def test_a_put_that_replaces_nothing_says_so_and_is_seen_by_the_next_read(store: AnyStore) -> None:
    assert await store.write(Put(record(1))) == Kept()
    assert await queue(store) == ["m1"]


@pytest_twisted.ensureDeferred
async def test_a_second_put_of_an_id_changes_nothing(store: AnyStore) -> None:
    await put(store, record(1, payload=b"first"))
    await put(store, record(2, payload=b"second", id="m1"))
    page = await store.page("desk", **EVERYTHING)
    assert [(each.place, each.message.payload) for each in page.records] == [(1, b"first")]


@pytest.mark.parametrize("status", [Status.DELIVERED, Status.REJECTED, Status.CANCELLED])
@pytest_twisted.ensureDeferred
async def test_a_put_does_not_bring_back_what_ended(store: AnyStore, status: Status) -> None:
    await put(store, record(1))
    await store.write(End("desk", "m1", status, "no", NOW))
    await put(store, record(2, id="m1"))
    assert await queue(store) == []


@pytest_twisted.ensureDeferred
async def test_order_is_the_order_of_places_not_of_writes(store: AnyStore) -> None:
    await put(store, record(3), record(1), record(2))
    assert await queue(store) == ["m1", "m2", "m3"]


@pytest_twisted.ensureDeferred
async def test_writes_made_at_once_take_effect_in_the_order_of_the_calls(store: AnyStore) -> None:
    answers = await gatherResults(
        [
            store.write(End("desk", "m1", Status.DELIVERED)),
            store.write(Put(record(1, payload=b"12"))),
            store.write(Revise("desk", "m1", Trials(1))),
            store.write(Revise("desk", "m1", Trials(2))),
            store.write(Put(record(2, payload=b"3"))),
            store.write(End("desk", "m1", Status.DELIVERED, at=NOW)),
            store.write(End("desk", "m1", Status.DELIVERED, at=NOW)),
            store.write(Put(record(3, payload=b"456", id="m1"))),
            store.write(Revise("desk", "m2", Trials(5))),
        ]
    )
    ends = [answers[index] for index in (0, 5, 6)]
    assert ends == [None, Depth(1, 2), None]
    page = await store.page("desk", **EVERYTHING)
    assert [(each.place, each.message.id, each.trials.attempts) for each in page.records] == [(2, "m2", 5)]


# -- revising and ending


@pytest_twisted.ensureDeferred
async def test_a_revision_replaces_the_trials_and_nothing_else(store: AnyStore) -> None:
    await put(store, record(1, attempts=1), record(2, attempts=1))
    trials = Trials(4, 3, 2, NOW - 7.25, NOW - 0.5)
    assert await store.write(Revise("desk", "m1", trials)) is not None
    page = await store.page("desk", **EVERYTHING)
    assert page.records == (replace(record(1), trials=trials), record(2, attempts=1))


@pytest.mark.parametrize("agent, id", [("desk", "m2"), ("other", "m1")])
@pytest_twisted.ensureDeferred
async def test_what_is_not_queued_for_that_agent_is_neither_revised_nor_ended(
    store: AnyStore, agent: str, id: str
) -> None:
    await put(store, record(1))
    assert await store.write(Revise(agent, id, Trials(9))) is None
    assert await store.write(End(agent, id, Status.DELIVERED)) is None
    assert (await store.page("desk", **EVERYTHING)).records == (record(1),)


@pytest.mark.parametrize("status", [Status.DELIVERED, Status.REJECTED, Status.EXPIRED, Status.DEAD, Status.CANCELLED])
@pytest_twisted.ensureDeferred
async def test_an_end_says_what_left_the_queue_and_a_repeat_that_nothing_did(
    store: AnyStore, make: Make, status: Status
) -> None:
    await put(store, record(1, payload=b"12345"), record(2))
    assert await store.write(End("desk", "m1", status, "because", NOW)) == Depth(1, 5)
    assert await store.write(End("desk", "m1", status, "because", NOW)) is None
    assert await store.write(Revise("desk", "m1", Trials(1))) is None
    assert await queue(store) == ["m2"]
    assert ids(await store.load("desk", ["m1", "m2"])) == ["m2"]
    again, snapshot = await restarted(store, make)
    assert snapshot.depths == {"desk": Depth(1, 9)}
    await again.close()


@pytest_twisted.ensureDeferred
async def test_a_thousand_writes_at_once_are_each_answered(store: AnyStore) -> None:
    await put(store, *(record(place, f"a{place % 7}", b"x" * (place % 5)) for place in range(1, 1001)))
    ended = await gatherResults(
        [store.write(End(f"a{place % 7}", f"m{place}", Status.DELIVERED)) for place in range(1, 1001, 2)]
    )
    assert ended == [Depth(1, place % 5) for place in range(1, 1001, 2)]
    left = [await queue(store, f"a{n}") for n in range(7)]
    assert sorted(id for each in left for id in each) == sorted(f"m{place}" for place in range(2, 1001, 2))


# -- reading


@pytest_twisted.ensureDeferred
async def test_a_page_keeps_to_the_open_range_of_places(store: AnyStore) -> None:
    await put(store, *(record(place) for place in range(1, 7)))
    page = await store.page("desk", after=2, before=5, now=NOW, limit=10, max_bytes=1000)
    assert (ids(page), page.last, page.more) == (["m3", "m4"], 4, False)


@pytest_twisted.ensureDeferred
async def test_an_empty_page_ends_where_it_began(store: AnyStore) -> None:
    assert await store.page("desk", after=41, before=99, now=NOW, limit=10, max_bytes=9) == Page((), (), (), 41, False)


@pytest_twisted.ensureDeferred
async def test_pages_of_a_few_rows_follow_one_another(store: AnyStore) -> None:
    await put(store, *(record(place) for place in range(1, 6)))
    found, after, more = [], 0, True
    while more:
        page = await store.page("desk", after=after, before=99, now=NOW, limit=2, max_bytes=1000)
        found.append(ids(page))
        after, more = page.last, page.more
    assert found == [["m1", "m2"], ["m3", "m4"], ["m5"]]


@pytest_twisted.ensureDeferred
async def test_a_page_that_ends_with_the_range_says_so(store: AnyStore) -> None:
    await put(store, record(1), record(2))
    page = await store.page("desk", after=0, before=99, now=NOW, limit=2, max_bytes=1000)
    assert (ids(page), page.more) == (["m1", "m2"], False)


@pytest_twisted.ensureDeferred
async def test_a_page_is_bounded_in_bytes_but_one_message_of_any_size_is_given(store: AnyStore) -> None:
    await put(store, record(1, payload=b"x" * 60), record(2, payload=b"x" * 40), record(3, payload=b"x" * 500))
    page = await store.page("desk", after=0, before=99, now=NOW, limit=9, max_bytes=100)
    assert (ids(page), page.last, page.more) == (["m1", "m2"], 2, True)
    page = await store.page("desk", after=2, before=99, now=NOW, limit=9, max_bytes=100)
    assert (ids(page), page.last, page.more) == (["m3"], 3, False)


@pytest_twisted.ensureDeferred
async def test_what_must_wait_is_named_and_not_read(store: AnyStore) -> None:
    await put(
        store,
        record(1, payload=b"x" * 200, not_before=NOW + 0.5),
        record(2, not_before=NOW),
        record(3, payload=b"x" * 200, not_before=NOW + 60),
    )
    page = await store.page("desk", after=0, before=99, now=NOW, limit=9, max_bytes=100)
    assert ids(page) == ["m2"]
    assert page.delayed == ((1, "m1", NOW + 0.5), (3, "m3", NOW + 60))
    assert (page.last, page.more) == (3, False)


@pytest_twisted.ensureDeferred
async def test_what_must_wait_counts_as_a_row(store: AnyStore) -> None:
    await put(store, *(record(place, not_before=NOW + 1) for place in range(1, 4)))
    page = await store.page("desk", after=0, before=99, now=NOW, limit=2, max_bytes=100)
    assert ([id for _, id, _ in page.delayed], page.last, page.more) == (["m1", "m2"], 2, True)


@pytest_twisted.ensureDeferred
async def test_messages_are_loaded_by_id_in_their_order_whatever_must_wait(store: AnyStore) -> None:
    await put(store, record(1), record(2, not_before=NOW + 99), record(3), record(4, "other"))
    page = await store.load("desk", ["m3", "m2", "m4", "nobody", "m3"])
    assert page == Page((record(2, not_before=NOW + 99), record(3)), (), (), 3, more=False)
    assert await store.load("desk", []) == Page((), (), (), 0, more=False)


@pytest_twisted.ensureDeferred
async def test_the_oldest_is_the_first_in_the_queue_of_each_agent_that_has_one(store: AnyStore) -> None:
    await put(store, record(5, "a"), record(6, "a"), record(7, "b"), record(8, "c"))
    await store.write(End("c", "m8", Status.DELIVERED))
    assert await store.oldest(["a", "b", "c", "d"]) == {"a": NOW - 995, "b": NOW - 993}
    assert await store.oldest([]) == {}


# -- who was seen


@pytest_twisted.ensureDeferred
async def test_an_agent_is_remembered_with_the_time_that_was_told_last(store: AnyStore, make: Make) -> None:
    await gatherResults([store.write(Seen("a", NOW - 9)), store.write(Seen("b", NOW)), store.write(Seen("a", NOW - 3))])
    again, snapshot = await restarted(store, make)
    assert snapshot.seen == {"a": NOW - 3, "b": NOW}
    await again.close()


@pytest_twisted.ensureDeferred
async def test_an_agent_is_forgotten_after_thirty_days(store: AnyStore, make: Make, wall: Wall) -> None:
    await gatherResults([store.write(Seen("a", NOW)), store.write(Seen("b", NOW + DAY))])
    wall.now = NOW + 30.5 * DAY
    again, snapshot = await restarted(store, make)
    assert snapshot.seen == {"b": NOW + DAY}
    await again.close()


# -- several changes with one answer


@pytest_twisted.ensureDeferred
async def test_changes_asked_for_together_are_made_in_order_and_each_is_answered(store: AnyStore) -> None:
    kept = await store.write_all([Put(record(place)) for place in (1, 2, 3)])
    assert list(kept) == [Kept()] * 3
    assert await queue(store) == ["m1", "m2", "m3"]
    ended = await store.write_all([End("desk", id, Status.DELIVERED) for id in ("m1", "nobody", "m3")])
    assert list(ended) == [Depth(1, len(record(1).message.payload)), None, Depth(1, len(record(3).message.payload))]
    assert await queue(store) == ["m2"]


@pytest_twisted.ensureDeferred
async def test_no_changes_at_all_are_made_at_once(store: AnyStore) -> None:
    assert list(await store.write_all([])) == []
