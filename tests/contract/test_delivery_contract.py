"""What every store does for the whole delivery contract: keys, topics, ends, dead letters, expiry, callbacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import pytest_twisted
from msgspec.structs import replace
from twisted.internet.defer import DeferredList, gatherResults
from twisted.internet.task import Clock

from relay.core.model import (
    NOTHING,
    Depth,
    Discard,
    End,
    Event,
    Kept,
    Key,
    Known,
    Letter,
    Past,
    Put,
    Record,
    Requeue,
    Revise,
    Standing,
    Status,
    Trials,
    Write,
)
from relay.core.ports import KeysFull
from tests.contract.conftest import KEY_COUNT
from tests.contract.support import DAY, AnyStore, Bounded, Make, put, queue, restarted, tidied
from tests.store.support import NOW, Wall, record

ACCEPTED = Event(NOW, "accepted", node="n1")
SENT = Event(NOW + 1, "sent", session="s", node="n1")
ENDED = Event(NOW + 2.5, "ended", session="s", node="n1", detail='because "ů"')


def key(name: str = "k", *, publisher: str = "ann", agent: str = "desk", digest: bytes = b"d", until: float = 0) -> Key:
    return Key(publisher, agent, name, digest * 32, until or NOW + DAY)


def of_topic(place: int, topic: str = "t", agent: str = "desk", **message: Any) -> Record:
    plain = record(place, agent)
    return replace(plain, message=replace(plain.message, topic=topic, **message))


def end(place: int, status: Status = Status.DELIVERED, reason: str = "", agent: str = "desk", **fields: Any) -> End:
    return End(agent, f"m{place}", status, reason, **({"at": NOW + place} | fields))


async def written(store: AnyStore, *ops: Write) -> list[Any]:
    """The answers to these writes, made at once: an exception where one failed."""
    results: list[tuple[bool, Any]] = await DeferredList([store.write(op) for op in ops], consumeErrors=True)
    return [result if good else result.value for good, result in results]


async def letter_ids(store: AnyStore, after: str = "", limit: int = 100) -> list[str]:
    return [letter.past.id for letter in await store.letters(after, limit)]


async def past(store: AnyStore, id: str) -> Past:
    found = await store.find(id)
    assert isinstance(found, Past)
    return found


# -- what is known of a message


@pytest_twisted.ensureDeferred
async def test_a_queued_message_is_found_with_its_history(store: AnyStore) -> None:
    await store.write(Put(record(1), (ACCEPTED,)))
    await store.write(Revise("desk", "m1", Trials(1), (SENT,)))
    assert await store.find("m1") == Standing(record(1, attempts=1), (ACCEPTED, SENT))
    assert await store.find("m2") is None


@pytest.mark.parametrize("status", [Status.DELIVERED, Status.REJECTED, Status.CANCELLED, Status.EXPIRED, Status.DEAD])
@pytest_twisted.ensureDeferred
async def test_an_end_is_remembered_with_its_history_also_after_a_restart(
    store: AnyStore, make: Make, status: Status
) -> None:
    message = replace(record(1).message, publisher="ann")
    await store.write(Put(Record(1, message, Trials(1)), (ACCEPTED,)))
    await store.write(Revise("desk", "m1", Trials(2), (SENT,)))
    await store.write(End("desk", "m1", status, "why", NOW + 3, 4, b'{"n":1e999}', (ENDED,)))
    again, _ = await restarted(store, make)
    assert await again.find("m1") == Past(
        id="m1",
        agent="desk",
        publisher="ann",
        status=status,
        reason="why",
        attempts=4,
        created_at=NOW - 999,
        expires_at=NOW + 1001,
        ended_at=NOW + 3,
        reply=b'{"n":1e999}',
        timeline=(ACCEPTED, SENT, ENDED),
    )
    await again.close()


@pytest_twisted.ensureDeferred
async def test_what_the_store_knows_of_the_sends_outlives_an_end_that_knows_less(store: AnyStore) -> None:
    await put(store, record(1, attempts=7))
    await store.write(end(1, attempts=0))
    assert (await past(store, "m1")).attempts == 7


@pytest_twisted.ensureDeferred
async def test_a_second_end_changes_nothing(store: AnyStore) -> None:
    await put(store, record(1))
    await store.write(end(1, reply=b"1"))
    before = await store.find("m1")
    assert await store.write(end(1, Status.CANCELLED, "late")) is None
    assert await store.find("m1") == before


@pytest_twisted.ensureDeferred
async def test_the_history_of_a_message_that_goes_to_and_fro_is_bounded_but_ends(store: AnyStore) -> None:
    await store.write(Put(record(1), (ACCEPTED,)))
    long = Event(NOW, "nacked", detail="x" * 100_000)
    await gatherResults([store.write(Revise("desk", "m1", Trials(n), (long,))) for n in range(100)])
    await store.write(end(1, timeline=(ENDED,)))
    timeline = (await past(store, "m1")).timeline
    assert (timeline[0], timeline[-1]) == (ACCEPTED, ENDED)
    assert sum(len(each.detail or "") for each in timeline) < 20_000


@pytest_twisted.ensureDeferred
async def test_an_end_is_forgotten_after_a_day(store: AnyStore, wall: Wall, clock: Clock) -> None:
    await put(store, record(1), record(2), record(3))
    await written(store, end(1, at=NOW), end(2, at=NOW + 3600))
    wall.now = NOW + DAY + 1
    await store.write(end(3, at=wall.now))
    await tidied(store, clock)
    assert await store.find("m1") is None
    assert (await past(store, "m2")).status is Status.DELIVERED


# -- topics


@pytest_twisted.ensureDeferred
async def test_a_newer_message_of_its_topic_ends_the_older_ones(store: AnyStore, make: Make) -> None:
    others = [of_topic(3, "u"), of_topic(4, "t", "lamp"), record(5)]
    await put(store, of_topic(1), of_topic(2), *others)
    new = Put(of_topic(6), (Event(NOW + 9, "accepted", node="n1"),), supersedes=True)
    assert await store.write(new) == Kept((("m1", 9), ("m2", 9)))
    again, snapshot = await restarted(store, make)
    assert await queue(again) == ["m3", "m5", "m6"]
    assert snapshot.depths == {"desk": Depth(3, 27), "lamp": Depth(1, 9)}
    replaced = await past(again, "m1")
    assert (replaced.status, replaced.reason, replaced.ended_at) == (Status.REPLACED, "m6", NOW + 9)
    assert replaced.timeline == (Event(NOW + 9, "replaced", node="n1", detail="m6"),)
    assert await again.letters("", 9) == []
    await again.close()


@pytest_twisted.ensureDeferred
async def test_what_is_spared_and_what_is_newer_is_not_replaced(store: AnyStore) -> None:
    await put(store, of_topic(1), of_topic(2), of_topic(9))
    assert await store.write(Put(of_topic(5), supersedes=True, spared=frozenset({"m1"}))) == Kept((("m2", 9),))
    assert await queue(store) == ["m1", "m5", "m9"]


@pytest_twisted.ensureDeferred
async def test_what_was_spared_ends_replaced_when_the_store_is_opened_again(store: AnyStore, make: Make) -> None:
    await put(store, of_topic(1), of_topic(2), of_topic(3, "u"))
    for place in (5, 6):
        await store.write(Put(of_topic(place), supersedes=True, spared=frozenset({"m1", "m2", "m5"})))
    await store.write(End("desk", "m2", Status.DELIVERED))
    await store.write(End("desk", "m6", Status.DELIVERED))
    again, snapshot = await restarted(store, make)
    assert snapshot.depths["desk"].count == 1
    assert await queue(again) == ["m3"]
    for id, by in (("m1", "m5"), ("m5", "m6")):
        past = await again.find(id)
        assert isinstance(past, Past)
        assert (past.status, past.reason, past.ended_at) == (Status.REPLACED, by, NOW)
        assert past.timeline[-1].event == "replaced"
    await again.close()


@pytest_twisted.ensureDeferred
async def test_without_being_told_to_a_message_replaces_nothing(store: AnyStore) -> None:
    await put(store, of_topic(1), of_topic(2))
    assert await queue(store) == ["m1", "m2"]


@pytest_twisted.ensureDeferred
async def test_writes_of_one_topic_made_at_once_take_effect_in_their_order(store: AnyStore) -> None:
    answers = await written(
        store,
        Put(of_topic(1), supersedes=True),
        Put(of_topic(2), supersedes=True),
        Revise("desk", "m2", Trials(1), (SENT,)),
        Put(of_topic(3), supersedes=True),
        end(3, Status.CANCELLED),
        Put(of_topic(4), supersedes=True),
        Put(of_topic(5, "u"), supersedes=True),
        end(4),
        Put(of_topic(4), supersedes=True),
    )
    replaced = [answer.replaced if isinstance(answer, Kept) else answer for answer in answers]
    assert replaced == [(), (("m1", 9),), Depth(1, 9), (("m2", 9),), Depth(1, 9), (), (), Depth(1, 9), ()]
    assert await queue(store) == ["m5"]
    assert (await past(store, "m2")).timeline[0] == SENT


@pytest_twisted.ensureDeferred
async def test_what_was_replaced_and_is_acknowledged_was_delivered(store: AnyStore) -> None:
    await written(store, Put(of_topic(1)), Put(of_topic(2), supersedes=True))
    ack = end(1, at=NOW + 7, attempts=1, reply=b"true", timeline=(ENDED,))
    assert await store.write(replace(ack, agent="lamp")) is None
    assert (await past(store, "m1")).status is Status.REPLACED
    assert await store.write(ack) == NOTHING
    assert await store.write(ack) is None
    found = await past(store, "m1")
    assert (found.status, found.reason, found.ended_at, found.attempts) == (Status.DELIVERED, "", NOW + 7, 1)
    assert (found.reply, found.timeline[-1]) == (b"true", ENDED)


# -- idempotency keys


@pytest_twisted.ensureDeferred
async def test_a_key_names_one_message_also_after_a_restart(store: AnyStore, make: Make) -> None:
    assert await store.write(Put(record(1), key=key())) == Kept()
    again, _ = await restarted(store, make)
    repeat = Put(record(2, payload=b"else"), key=key(digest=b"e"))
    known = Known("m1", b"d" * 32, record(1), None)
    assert await again.write(repeat) == Kept(known=known)
    assert await queue(again) == ["m1"]
    await again.close()


@pytest_twisted.ensureDeferred
async def test_keys_of_different_publishers_and_agents_are_different(store: AnyStore) -> None:
    keys = [key("a"), key("a", publisher="bob"), key("a", agent="lamp"), key("na", publisher="an")]
    answers = await written(store, *(Put(record(n, each.agent), key=each) for n, each in enumerate(keys, start=1)))
    assert answers == [Kept()] * 4


@pytest_twisted.ensureDeferred
async def test_of_two_writes_with_one_key_made_at_once_the_second_finds_the_first(store: AnyStore) -> None:
    answers = await written(store, *(Put(record(n), key=key()) for n in (1, 2, 3)), end(1), Put(record(4), key=key()))
    assert answers[0] == Kept()
    assert answers[1] == answers[2] == Kept(known=Known("m1", b"d" * 32, record(1), None))
    assert answers[4].known.past.status is Status.DELIVERED
    assert await queue(store) == []


@pytest_twisted.ensureDeferred
async def test_a_key_answers_with_the_end_and_later_only_with_the_id(store: AnyStore, wall: Wall, clock: Clock) -> None:
    await written(store, Put(record(1), key=key(until=NOW + 5 * DAY)), Put(record(2)))
    await store.write(end(1, reply=b"[]"))
    answer = await store.write(Put(record(3), key=key()))
    assert answer == Kept(known=Known("m1", b"d" * 32, None, await past(store, "m1")))
    wall.now = NOW + 3 * DAY
    await store.write(end(2, at=wall.now))
    await tidied(store, clock)
    assert await store.write(Put(record(3), key=key())) == Kept(known=Known("m1", b"d" * 32, None, None))


@pytest_twisted.ensureDeferred
async def test_a_key_is_forgotten_when_its_time_is_over_and_not_before(
    store: AnyStore, wall: Wall, clock: Clock
) -> None:
    await written(store, Put(record(1), key=key("a", until=NOW + 60)), Put(record(2), key=key("b", until=NOW + 62)))
    wall.now = NOW + 61
    await tidied(store, clock)
    assert await store.write(Put(record(3), key=key("a"))) == Kept()
    answer = await store.write(Put(record(4), key=key("b")))
    assert isinstance(answer, Kept) and answer.known is not None and answer.known.id == "m2"


@pytest_twisted.ensureDeferred
async def test_a_message_that_is_remembered_for_longer_than_its_key_is_not_kept_twice(
    store: AnyStore, wall: Wall, clock: Clock
) -> None:
    await store.write(Put(record(1), key=key(until=NOW + 60)))
    await store.write(end(1, Status.DEAD, "attempts"))
    wall.now = NOW + 61
    await tidied(store, clock)
    answer = await store.write(Put(record(1, payload=b"payload 1"), key=key()))
    assert answer == Kept(known=Known("m1", b"d" * 32, None, await past(store, "m1")))
    assert await queue(store) == []


@pytest_twisted.ensureDeferred
async def test_past_their_number_no_new_key_is_taken_and_nothing_is_kept_of_its_message(
    store: AnyStore, wall: Wall, clock: Clock
) -> None:
    puts = [Put(record(n), key=key(f"k{n}", until=NOW + 60)) for n in range(1, KEY_COUNT + 3)]
    answers = await written(store, *puts, Put(record(90)), puts[0])
    assert answers[:KEY_COUNT] == [Kept()] * KEY_COUNT
    assert [type(each) for each in answers[KEY_COUNT : KEY_COUNT + 2]] == [KeysFull, KeysFull]
    assert answers[-2] == Kept()
    assert answers[-1].known.id == "m1"
    assert await queue(store) == ["m1", "m2", "m3", "m4", "m5", "m90"]
    wall.now = NOW + 61
    await tidied(store, clock)
    assert await store.write(Put(record(91), key=key("k91"))) == Kept()


@pytest_twisted.ensureDeferred
async def test_what_a_known_key_asks_for_replaces_nothing(store: AnyStore) -> None:
    await written(store, Put(of_topic(1), key=key()), Put(of_topic(2)))
    answer = await store.write(Put(of_topic(3), key=key(), supersedes=True))
    assert isinstance(answer, Kept) and answer.known is not None
    assert await queue(store) == ["m1", "m2"]


# -- dead letters


async def some_letters(store: AnyStore, count: int = 4) -> None:
    """``m1`` to ``m4`` are dead letters, ``m5`` is queued."""
    await put(store, *(record(place, attempts=3) for place in range(1, count + 2)))
    await written(store, *(end(place, Status.DEAD, "attempts") for place in range(1, count + 1)))


@pytest.mark.parametrize(
    "status, reason, dead",
    [
        (Status.EXPIRED, "expired", True),
        (Status.REJECTED, "I do not like it", True),
        (Status.REJECTED, "too-large-for-agent", True),
        (Status.DEAD, "attempts", True),
        (Status.DEAD, "corrupt", True),
        (Status.CANCELLED, "overflow", True),
        (Status.CANCELLED, "cancelled", False),
        (Status.REPLACED, "m9", False),
        (Status.DELIVERED, "", False),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_did_not_end_well_is_a_dead_letter_with_its_payload(
    store: AnyStore, status: Status, reason: str, dead: bool
) -> None:
    await store.write(Put(record(1, attempts=2), (ACCEPTED,)))
    await store.write(end(1, status, reason, timeline=(ENDED,)))
    expected = [Letter(record(1, attempts=2), await past(store, "m1"))] if dead else []
    found = await store.letters("", 9)
    assert [replace(each, record=replace(each.record, trials=Trials(2))) for each in found] == expected
    assert (await store.letter("m1") is not None) == dead


@pytest_twisted.ensureDeferred
async def test_dead_letters_come_in_pages_oldest_first(store: AnyStore) -> None:
    await some_letters(store)
    assert await letter_ids(store, limit=2) == ["m1", "m2"]
    assert await letter_ids(store, "m2", 2) == ["m3", "m4"]
    assert await letter_ids(store, "m4") == []
    assert await letter_ids(store, "m2", 1) == ["m3"]


@pytest.mark.parametrize("size", [700_000, 5 << 20])
@pytest_twisted.ensureDeferred
async def test_large_dead_letters_come_as_far_as_the_first_that_does_not_fit(store: AnyStore, size: int) -> None:
    await put(store, *(record(place, payload=bytes(size)) for place in range(1, 4)))
    await written(store, *(end(place, Status.DEAD, "attempts") for place in range(1, 4)))
    pages = [await letter_ids(store, after) for after in ("", "m1", "m2", "m3")]
    assert pages == [["m1", "m2"], ["m2", "m3"], ["m3"], []]


@pytest_twisted.ensureDeferred
async def test_a_dead_letter_goes_back_to_the_end_of_its_queue_as_if_it_were_new(store: AnyStore, make: Make) -> None:
    await some_letters(store)
    assert await store.write(Requeue("m2", 9, NOW + 5000)) == Depth(1, 9)
    assert await store.write(Requeue("m2", 10, NOW + 6000)) is None
    again, snapshot = await restarted(store, make)
    old = record(2)
    back = Record(9, replace(old.message, expires_at=NOW + 7000))
    found = await again.find("m2")
    assert isinstance(found, Standing)
    assert (found.record, found.timeline[-1]) == (back, Event(NOW + 5000, "queued", detail="requeued"))
    assert await queue(again) == ["m5", "m2"]
    assert await letter_ids(again) == ["m1", "m3", "m4"]
    assert (snapshot.last_place, snapshot.depths) == (9, {"desk": Depth(2, 18)})
    await again.close()


@pytest_twisted.ensureDeferred
async def test_each_time_it_goes_back_its_first_time_to_live_begins_afresh(store: AnyStore) -> None:
    await some_letters(store, 1)
    for turn in (1, 2, 3):
        at = NOW + turn * 10_000
        await store.write(Requeue("m1", 10 + turn, at))
        found = await store.find("m1")
        assert isinstance(found, Standing)
        assert found.record.message.expires_at == pytest.approx(at + 2000)
        await store.write(End("desk", "m1", Status.EXPIRED, "expired", at + 2000))
    assert (await past(store, "m1")).status is Status.EXPIRED


@pytest_twisted.ensureDeferred
async def test_a_discarded_dead_letter_is_gone_but_how_it_ended_is_remembered(store: AnyStore) -> None:
    await some_letters(store)
    assert await store.write(Discard("m4")) == Depth(1, 9)
    assert await store.write(Discard("m4")) is None
    assert await store.write(Discard("m5")) is None
    assert await store.write(Requeue("m4", 9, NOW)) is None
    assert await letter_ids(store) == ["m1", "m2", "m3"]
    assert (await past(store, "m4")).reason == "attempts"
    assert await queue(store) == ["m5"]


@pytest_twisted.ensureDeferred
async def test_writes_about_dead_letters_made_at_once_take_effect_in_their_order(store: AnyStore) -> None:
    await some_letters(store)
    answers = await written(
        store, end(5), Requeue("m1", 9, NOW), end(1, Status.CANCELLED), Requeue("m1", 10, NOW), Discard("m2"), end(2)
    )
    assert answers == [Depth(1, 9), Depth(1, 9), Depth(1, 9), None, Depth(1, 9), None]
    assert await queue(store) == []
    assert await letter_ids(store) == ["m3", "m4"]


@pytest_twisted.ensureDeferred
async def test_a_dead_letter_is_kept_for_fourteen_days_longer_than_other_ends(
    store: AnyStore, wall: Wall, clock: Clock
) -> None:
    await put(store, *(record(place) for place in range(1, 4)))
    await written(store, end(1, Status.DEAD, "attempts", at=NOW), end(2, Status.DEAD, "attempts", at=NOW + 3600))
    wall.now = NOW + 14 * DAY + 1
    await store.write(end(3, Status.DEAD, "attempts", at=wall.now))
    await tidied(store, clock)
    assert await letter_ids(store) == ["m2", "m3"]
    assert (await past(store, "m2")).reason == "attempts"
    assert await store.find("m1") is None


@pytest_twisted.ensureDeferred
async def test_a_key_still_names_a_message_that_went_back_to_its_queue(store: AnyStore) -> None:
    await store.write(Put(record(1), key=key()))
    await store.write(end(1, Status.DEAD, "attempts"))
    await store.write(Requeue("m1", 7, NOW))
    answer = await store.write(Put(record(8), key=key()))
    assert isinstance(answer, Kept) and answer.known is not None and answer.known.record is not None
    assert answer.known.record.place == 7


# -- how much is remembered


async def remembered(store: AnyStore, places: Sequence[int]) -> list[int]:
    found = await gatherResults([store.find(f"m{place}") for place in places])
    return [place for place, each in zip(places, found, strict=True) if each is not None]


@pytest_twisted.ensureDeferred
async def test_of_the_ends_the_newest_are_remembered_up_to_a_number(bounded: Bounded) -> None:
    store = await bounded(ended_count=10)
    await put(store, *(record(place) for place in range(1, 101)))
    await written(store, *(end(place) for place in range(1, 101)))
    assert await remembered(store, range(1, 101)) == list(range(91, 101))


@pytest_twisted.ensureDeferred
async def test_of_the_ends_the_newest_are_remembered_up_to_the_bytes_of_their_replies(bounded: Bounded) -> None:
    store = await bounded(ended_bytes=1000)
    await put(store, *(record(place) for place in range(1, 9)))
    for place in range(1, 9):
        await store.write(end(place, reply=b"1" * 400))
    assert await remembered(store, range(1, 9)) == [7, 8]


@pytest_twisted.ensureDeferred
async def test_ends_and_dead_letters_are_remembered_as_long_as_is_configured(
    bounded: Bounded, wall: Wall, clock: Clock
) -> None:
    store = await bounded(ended_seconds=60, letter_seconds=600)
    await put(store, *(record(place) for place in range(1, 7)))
    await written(store, end(1, at=NOW), end(2, at=NOW + 30))
    await written(store, *(end(place, Status.DEAD, "attempts", at=NOW + 30 * (place - 3)) for place in (3, 4)))
    wall.now = NOW + 61
    await store.write(end(5, at=wall.now))
    await tidied(store, clock)
    assert await remembered(store, range(1, 6)) == [2, 3, 4, 5]
    wall.now = NOW + 601
    await store.write(end(6, Status.DEAD, "attempts", at=wall.now))
    await tidied(store, clock)
    assert await letter_ids(store) == ["m4", "m6"]


@pytest_twisted.ensureDeferred
async def test_dead_letters_are_kept_up_to_a_number_the_newest(bounded: Bounded) -> None:
    store = await bounded(letter_count=3)
    await some_letters(store, 20)
    assert await letter_ids(store) == ["m18", "m19", "m20"]
    assert (await past(store, "m1")).reason == "attempts"


@pytest_twisted.ensureDeferred
async def test_dead_letters_are_kept_up_to_their_bytes_the_newest(bounded: Bounded) -> None:
    store = await bounded(letter_bytes=1000)
    await put(store, *(record(place, payload=b"x" * 400) for place in range(1, 8)))
    for place in range(1, 7):
        await store.write(end(place, Status.DEAD, "attempts"))
    assert await letter_ids(store) == ["m5", "m6"]
    assert await queue(store) == ["m7"]


# -- what is due


@pytest_twisted.ensureDeferred
async def test_what_has_expired_is_named_the_first_to_expire_first(store: AnyStore) -> None:
    await put(store, record(3, "lamp"), record(1), record(2), record(4), record(5))
    await store.write(end(2, Status.CANCELLED))
    await store.write(Revise("desk", "m1", Trials(1, not_before=NOW * 2)))
    overdue = [("desk", "m1", 9), ("lamp", "m3", 9), ("desk", "m4", 9)]
    assert await store.overdue(NOW + 1004, 10) == overdue
    assert await store.overdue(NOW + 1004, 2) == overdue[:2]
    assert await store.overdue(NOW + 1000, 10) == []
    await store.write(end(1, Status.EXPIRED, "expired"))
    assert await store.overdue(NOW + 1004, 10) == overdue[1:]
    await store.write(Requeue("m1", 9, NOW + 500))
    assert await store.overdue(NOW + 2500, 10) == [*overdue[1:], ("desk", "m5", 9), overdue[0]]
