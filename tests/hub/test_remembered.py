"""The ends of messages that were never durable, kept small: what is packed is found as it was."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from relay.core.ids import message_id
from relay.core.landed import Landed
from relay.core.model import Event, Past, Status
from relay.hub.remembered import PAGE, Remembered

MIB = 1024 * 1024


def ends(count: int, *, reply: bytes | None = None) -> Iterator[Past]:
    """Ends as they come: of 500 agents in turn, each sent once and acknowledged."""
    chance = random.Random(4)
    for number in range(count):
        agent, at = number % 500, 1_800_000_000 + number / 10_000
        steps = (
            Event(at, "accepted", None, "node-1"),
            Event(at + chance.random() / 1000, "sent", f"session-{agent:027}", "node-1"),
            Event(at + 0.001 + chance.random() / 1000, "delivered", f"session-{agent:027}", "node-1"),
        )
        id = message_id(at, chance.getrandbits(74))
        times = (at, at + 604_800, steps[-1].at)
        yield Past(id, f"desk-{agent}", "ann", Status.DELIVERED, "", 1, *times, reply, steps)


def test_each_of_many_is_found_as_it_was() -> None:
    remembered, pasts = Remembered(10_000, MIB), list(ends(5 * PAGE + 7))
    for past in pasts:
        remembered.add(past)
    assert [remembered.get(past.id) for past in pasts] == pasts


def landed(count: int, *, reply: bytes | None = None) -> Iterator[Landed]:
    """Ends as nearly all are: what the others say of theirs, in short."""
    for past in ends(count, reply=reply):
        session = past.timeline[1].session or ""
        times = (past.created_at, past.expires_at, session, past.ended_at)
        yield Landed(past.id, past.agent, past.publisher, *times, past.reply)


def test_those_said_in_short_are_found_among_the_others_with_their_replies() -> None:
    remembered = Remembered(10_000, MIB)
    pairs = zip(landed(3 * PAGE, reply=b'{"a": 1}'), list(ends(6 * PAGE))[3 * PAGE :], strict=True)
    pasts = [past for pair in pairs for past in pair]
    for past in pasts:
        remembered.add(past)
    assert [remembered.get(past.id) for past in pasts] == pasts


def test_what_is_said_in_short_is_the_whole_history_of_a_message_that_was_sent_when_it_came() -> None:
    short = Landed("id", "desk", "ann", 1.0, 61.0, "a-session", 2.0, b'"yes"')
    steps = (
        Event(1.0, "accepted", None, "here"),
        Event(1.0, "sent", "a-session", "here"),
        Event(2.0, "delivered", "a-session", "here"),
    )
    assert short.in_full("here") == Past("id", "desk", "ann", Status.DELIVERED, "", 1, 1.0, 61.0, 2.0, b'"yes"', steps)


def test_replies_come_back_with_those_that_have_one() -> None:
    remembered = Remembered(10_000, MIB)
    pasts = [past for pair in zip(ends(PAGE), ends(2 * PAGE, reply=b'{"a": 1}'), strict=False) for past in pair]
    for past in pasts:
        remembered.add(past)
    newest = {past.id: past for past in pasts}
    assert [remembered.get(id) for id in newest] == list(newest.values())


def test_the_oldest_are_given_up_and_never_one_of_the_last() -> None:
    remembered, pasts = Remembered(1000, MIB), list(ends(5000))
    for past in pasts:
        remembered.add(past)
    assert all(remembered.get(past.id) == past for past in pasts[-1000:])
    assert not any(remembered.get(past.id) for past in pasts[: -1000 - PAGE])


def test_one_that_ended_again_is_found_as_it_is_now() -> None:
    remembered = Remembered(10_000, MIB)
    first, *others = ends(2 * PAGE)
    again = Past(first.id, first.agent, "", Status.EXPIRED, "expired", 2, 0.0, 1.0, 2.0)
    for past in (first, *others, again, *list(ends(3 * PAGE))[2 * PAGE :]):
        remembered.add(past)
    assert remembered.get(first.id) == again


@pytest.mark.parametrize(("kind", "most"), [(ends, 100), (landed, 75)])
def test_an_end_takes_a_tenth_of_a_kilobyte_and_in_short_less(
    kind: Callable[[int], Iterator[Past | Landed]], most: int
) -> None:
    count = 20 * PAGE
    tracemalloc.start()
    try:
        remembered = Remembered(100_000, 64 * MIB)
        for past in kind(count):
            remembered.add(past)
        del past
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < most * count
