"""What every store does with an end that is to be told: it is owed from the same commit on."""

from __future__ import annotations

import json

import pytest
import pytest_twisted
from msgspec.structs import replace

from relay.core.model import End, Put, Record, Status, Told
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
    await store.write(Told("m1"))
    await store.write(end)
    assert await store.callbacks(NOW + 9, 10) == []


@pytest_twisted.ensureDeferred
async def test_an_end_of_what_is_not_queued_is_told_to_nobody(store: AnyStore) -> None:
    await put(store, with_callback(1))
    await store.write(End("another", "m1", Status.DELIVERED, at=NOW))
    assert await store.callbacks(NOW + 9, 10) == []
