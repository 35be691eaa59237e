"""What every store does with an end that is to be told: it is owed from the same commit on."""

from __future__ import annotations

import json

import pytest
import pytest_twisted
from msgspec.structs import replace

from relay.core.model import Callback, End, Kept, Key, Put, PutOff, Record, Requeue, Status, Told
from relay.core.ports import CallbacksFull
from tests.contract.conftest import CALLBACK_COUNT
from tests.contract.support import AnyStore, Make, put, restarted
from tests.store.support import NOW, record

URL = "https://hooks.example.org/done?of=1"


def with_callback(place: int, *, topic: str | None = None, attempts: int = 0) -> Record:
    plain = record(place, attempts=attempts)
    return replace(plain, message=replace(plain.message, callback=URL, topic=topic))


@pytest.mark.parametrize(
    ("status", "reason"), [(Status.DELIVERED, ""), (Status.DEAD, "attempts"), (Status.CANCELLED, "cancelled")]
)
@pytest_twisted.ensureDeferred
async def test_an_end_that_is_to_be_told_is_owed(store: AnyStore, make: Make, status: Status, reason: str) -> None:
    await put(store, with_callback(1, attempts=3), record(2))
    assert await store.callbacks(NOW + 9, 10) == []
    for place in (1, 2):
        await store.write(End("desk", f"m{place}", status, reason, NOW + place, attempts=2, reply=b'{"a": 1.0}'))
    again, _ = await restarted(store, make)
    assert await again.callbacks(NOW, 10) == []
    (callback,) = await again.callbacks(NOW + 1, 10)
    assert (callback.id, callback.url, callback.tries, callback.due_at) == ("m1", URL, 0, NOW + 1)
    assert b'"reply":{"a": 1.0}' in callback.body
    fields = {"id": "m1", "agent": "desk", "status": status.value, "attempts": 3, "reply": {"a": 1.0}}
    assert json.loads(callback.body) == fields | ({"reason": reason} if reason else {})
    await again.close()


@pytest_twisted.ensureDeferred
async def test_what_is_replaced_is_told(store: AnyStore) -> None:
    await put(store, with_callback(1, topic="t"))
    await store.write(Put(with_callback(2, topic="t"), supersedes=True))
    (callback,) = await store.callbacks(NOW + 9999, 10)
    told = json.loads(callback.body)
    assert (told["id"], told["status"], told["reason"]) == ("m1", "replaced", "m2")


@pytest_twisted.ensureDeferred
async def test_what_was_told_is_not_owed_any_more_nor_by_a_second_end(store: AnyStore) -> None:
    await put(store, with_callback(1))
    end = End("desk", "m1", Status.DELIVERED, at=NOW)
    await store.write(end)
    await store.write(Told("m1", 1))
    await store.write(end)
    assert await store.callbacks(NOW + 9, 10) == []


@pytest_twisted.ensureDeferred
async def test_an_end_of_what_is_not_queued_is_told_to_nobody(store: AnyStore) -> None:
    await put(store, with_callback(1))
    await store.write(End("another", "m1", Status.DELIVERED, at=NOW))
    assert await store.callbacks(NOW + 9, 10) == []


def of(callback: Callback) -> tuple[str, int, str]:
    """Id, number and status."""
    return callback.id, callback.number, json.loads(callback.body)["status"]


async def owed(store: AnyStore) -> list[tuple[str, int, str]]:
    return [of(callback) for callback in await store.callbacks(NOW + 9999, 100)]


@pytest_twisted.ensureDeferred
async def test_callbacks_are_kept_until_they_are_told_the_earliest_due_first(store: AnyStore, make: Make) -> None:
    await put(store, *map(with_callback, (1, 2, 3)))
    for place, at in ((1, NOW + 2), (2, NOW + 1), (3, NOW + 9)):
        await store.write(End("desk", f"m{place}", Status.DELIVERED, at=at))
    again, _ = await restarted(store, make)
    first, second, third = (each for each in await again.callbacks(NOW + 9, 10))
    assert [each.id for each in (first, second, third)] == ["m2", "m1", "m3"]
    assert await again.callbacks(NOW + 2, 10) == [first, second]
    assert await again.callbacks(NOW + 2, 1) == [first]
    await again.write(PutOff("m2", 1, 4, NOW + 60))
    await again.write(Told("m1", 1))
    await again.write(Told("nobody", 1))
    assert await again.callbacks(NOW + 60, 10) == [third, replace(first, tries=4, due_at=NOW + 60)]
    await again.close()


@pytest_twisted.ensureDeferred
async def test_a_second_end_takes_the_place_of_one_that_was_not_told(store: AnyStore, make: Make) -> None:
    await put(store, with_callback(1))
    await store.write(End("desk", "m1", Status.DEAD, "attempts", NOW, attempts=16))
    await store.write(PutOff("m1", 1, 3, NOW + 500))
    await store.write(Requeue("m1", 2, NOW))
    await store.write(End("desk", "m1", Status.DELIVERED, at=NOW + 1, attempts=1))
    again, _ = await restarted(store, make)
    (callback,) = await again.callbacks(NOW + 1, 10)
    assert (*of(callback), callback.tries) == ("m1", 2, "delivered", 0)
    await again.close()


@pytest_twisted.ensureDeferred
async def test_what_came_of_telling_an_end_says_nothing_of_the_next_one(store: AnyStore) -> None:
    await put(store, with_callback(1))
    await store.write(End("desk", "m1", Status.DEAD, "attempts", NOW))
    await store.write(Requeue("m1", 2, NOW))
    await store.write(End("desk", "m1", Status.DELIVERED, at=NOW + 1))
    (callback,) = await store.callbacks(NOW + 9, 10)
    await store.write(PutOff("m1", 1, 9, NOW + 5000))
    await store.write(Told("m1", 1))
    assert await store.callbacks(NOW + 9, 10) == [callback]
    await store.write(Told("m1", 2))
    assert await owed(store) == []


@pytest.mark.parametrize("told", [False, True])
@pytest_twisted.ensureDeferred
async def test_what_was_replaced_and_is_delivered_after_all_is_told_so(store: AnyStore, make: Make, told: bool) -> None:
    await put(store, with_callback(1, topic="t"))
    await store.write(Put(with_callback(2, topic="t"), supersedes=True))
    if told:
        await store.write(Told("m1", 1))
    again, _ = await restarted(store, make)
    await again.write(End("desk", "m1", Status.DELIVERED, at=NOW + 1, attempts=2, reply=b"7"))
    (callback,) = await again.callbacks(NOW + 9999, 10)
    fields = {"id": "m1", "agent": "desk", "status": "delivered", "attempts": 2, "reply": 7}
    assert (json.loads(callback.body), callback.tries) == (fields, 0)
    await again.close()


@pytest_twisted.ensureDeferred
async def test_no_more_callbacks_are_promised_than_may_be_owed_whatever_one_commit_brings(store: AnyStore) -> None:
    writes = [store.write(Put(with_callback(place))) for place in range(1, CALLBACK_COUNT + 3)]
    answers: list[type] = []
    for write in writes:
        try:
            answers.append(type(await write))
        except CallbacksFull as full:
            answers.append(type(full))
    assert answers == [Kept] * CALLBACK_COUNT + [CallbacksFull] * 2
    assert await store.find(f"m{CALLBACK_COUNT + 1}") is None
    await put(store, record(CALLBACK_COUNT + 4))  # what is to be told to nobody is taken


@pytest_twisted.ensureDeferred
async def test_a_callback_holds_its_place_until_it_was_told(store: AnyStore, make: Make) -> None:
    places = range(1, CALLBACK_COUNT + 1)
    await put(store, *map(with_callback, places))
    for place in places:
        await store.write(End("desk", f"m{place}", Status.DELIVERED, at=NOW))
    again, _ = await restarted(store, make)
    with pytest.raises(CallbacksFull):
        await again.write(Put(with_callback(50)))
    await again.write(PutOff("m1", 1, 1, NOW + 5))
    with pytest.raises(CallbacksFull):
        await again.write(Put(with_callback(50)))
    await again.write(Told("m1", 1))
    await again.write(Told("m1", 1))
    await put(again, with_callback(50))
    with pytest.raises(CallbacksFull):
        await again.write(Put(with_callback(51)))
    await again.close()


@pytest_twisted.ensureDeferred
async def test_a_key_that_came_with_a_callback_too_many_is_not_remembered(store: AnyStore) -> None:
    key = Key("", "desk", "k", b"d", NOW + 9)
    await put(store, *map(with_callback, range(1, CALLBACK_COUNT + 1)))
    with pytest.raises(CallbacksFull):
        await store.write(Put(with_callback(50), key=key))
    kept = await store.write(Put(replace(record(51), message=replace(record(51).message, id="m50")), key=key))
    assert kept == Kept()


@pytest_twisted.ensureDeferred
async def test_a_repeat_of_a_key_is_answered_though_no_callback_may_be_promised(store: AnyStore) -> None:
    key = Key("", "desk", "k", b"d", NOW + 9)
    await store.write(Put(with_callback(1), key=key))
    await put(store, *map(with_callback, range(2, CALLBACK_COUNT + 1)))
    kept = await store.write(Put(with_callback(1), key=key))
    assert isinstance(kept, Kept) and kept.known is not None


@pytest_twisted.ensureDeferred
async def test_a_dead_letter_goes_back_only_when_its_next_end_may_be_promised(store: AnyStore) -> None:
    await put(store, *map(with_callback, range(1, CALLBACK_COUNT + 1)))
    await store.write(End("desk", "m1", Status.DEAD, "attempts", NOW))
    with pytest.raises(CallbacksFull):
        await store.write(Requeue("m1", 50, NOW))
    assert await store.letter("m1") is not None
    await store.write(Told("m1", 1))
    await store.write(Requeue("m1", 50, NOW))
    assert await store.letter("m1") is None
