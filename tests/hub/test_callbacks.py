"""Callbacks: every end is told, once it is known for good, as often as it takes, and one receiver holds up no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from relay.core.model import Callback, Told
from relay.core.webhooks import PAUSES, Answer, Verdict
from relay.hub import callbacks
from relay.hub.service import Hub
from relay.store.memory import MemoryStore
from tests.hub.support import WALL, Floor

URL = "https://hooks.example.org/done"
TAKEN, GONE, FAILED = Answer(Verdict.TAKEN), Answer(Verdict.GONE, "410"), Answer(Verdict.FAILED, "500")
HOUR = 3600.0


class Receivers:
    """A sender in memory: it remembers what was tried, and answers at once, or when it is told to."""

    def __init__(self) -> None:
        self.tried: list[Callback] = []
        self.answer: Answer | None = TAKEN  #: None: later
        self.silent: set[str] = set()  #: URLs that are answered later, whatever ``answer`` is
        self.open: dict[str, Deferred[Answer]] = {}
        self.most_open = 0

    def tell(self, callback: Callback) -> Deferred[Answer]:
        self.tried.append(callback)
        told: Deferred[Answer] = Deferred()
        if self.answer is not None and callback.url not in self.silent:
            told.callback(self.answer)
        else:
            self.open[callback.id] = told
            self.most_open = max(self.most_open, len(self.open))
        return told

    def settle(self, id: str, answer: Answer = TAKEN) -> None:
        self.open.pop(id).callback(answer)

    @property
    def ids(self) -> list[str]:
        return [callback.id for callback in self.tried]

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(callback.body) for callback in self.tried]


class Telling(Floor):
    """A floor with receivers. ``restart`` keeps them, and breaks off what is under way."""

    def __init__(self, **limits: Any) -> None:
        self.receivers = Receivers()
        super().__init__(MemoryStore(durable=True), **limits)

    def _hub(self) -> Hub:
        self._settings |= {"callback_hosts": ["hooks.example.org"], "webhooks": self.receivers}
        return super()._hub()

    def owed(self) -> list[Callback]:
        """What the store has still to tell."""
        found: list[Callback] = self.now(self.store.callbacks(WALL * 2, 1_000_000))
        return found


@pytest.fixture
def floor() -> Iterator[Telling]:
    floor = Telling()
    yield floor
    floor.hub.close()
    assert floor.clock.getDelayedCalls() == []


def ended(floor: Telling, count: int = 1, url: str = URL) -> list[str]:
    """The ids of messages that ended with something to tell. (Cancelled, while nobody is here.)"""
    ids = [floor.post(wait=0, callback=url).id for _ in range(count)]
    for id in ids:
        floor.now(floor.hub.cancel(id))
    return ids


def test_a_delivered_message_is_told_with_its_reply(floor: Telling) -> None:
    agent = floor.agent().register()
    answer = floor.post(callback=URL)
    agent.say("ack", id=agent.ids()[0], reply={"a": 1})
    assert answer.said == "delivered"
    assert [callback.id for callback in floor.owed()] == [answer.id]
    floor.pass_time(1)
    assert floor.receivers.bodies() == [
        {"id": answer.id, "agent": "desk-1", "status": "delivered", "attempts": 1, "reply": {"a": 1}}
    ]
    assert floor.owed() == []


def test_a_queued_message_is_told_when_it_ends_and_not_before(floor: Telling) -> None:
    posted = floor.post(wait=0, callback=URL)
    floor.pass_time(5)
    assert floor.receivers.tried == []
    agent = floor.agent().register()
    agent.ack(*agent.ids())
    floor.pass_time(1)
    assert [(body["id"], body["status"]) for body in floor.receivers.bodies()] == [(posted.id, "delivered")]


def test_every_kind_of_end_is_told(floor: Telling) -> None:
    cancelled = floor.post(wait=0, callback=URL)
    floor.now(floor.hub.cancel(cancelled.id))
    floor.post(wait=0, callback=URL, ttl=1)
    floor.post(wait=0, callback=URL, topic="t")
    floor.post(wait=0, callback=URL, topic="t")
    agent = floor.agent().register("other")
    floor.post(agent="other", callback=URL)
    agent.say("nack", id=agent.ids()[0], requeue=False, reason="no")
    floor.pass_time(5)
    told = {(body["status"], body["agent"]) for body in floor.receivers.bodies()}
    assert told == {
        ("cancelled", "desk-1"), ("expired", "desk-1"), ("replaced", "desk-1"), ("rejected", "other")
    }  # fmt: skip


def test_what_has_no_url_is_told_to_nobody(floor: Telling) -> None:
    agent = floor.agent().register()
    floor.post()
    agent.ack(*agent.ids())
    floor.pass_time(3)
    assert floor.receivers.tried == []


def test_a_failed_try_is_made_again_ten_times_over_three_days(floor: Telling) -> None:
    floor.receivers.answer = FAILED
    (id,) = ended(floor)
    for tries, pause in enumerate(PAUSES, 1):
        floor.pass_time(2)
        assert floor.receivers.ids == [id] * tries
        (callback,) = floor.owed()
        assert callback.tries == tries
        assert pause * 0.9 - 2 <= callback.due_at - WALL - floor.clock.seconds() <= pause * 1.1
        floor.clock.advance(callback.due_at - WALL - floor.clock.seconds())
    floor.pass_time(2)
    assert floor.receivers.ids == [id] * 10
    assert floor.owed() == []
    assert 70 * HOUR < floor.clock.seconds() < 80 * HOUR


def test_410_stops_it(floor: Telling) -> None:
    floor.receivers.answer = GONE
    ended(floor)
    floor.pass_time(HOUR, step=60)
    assert len(floor.receivers.tried) == 1
    assert floor.owed() == []


def test_retry_after_is_honoured(floor: Telling) -> None:
    floor.receivers.answer = Answer(Verdict.FAILED, "503", 1000.0)
    ended(floor)
    floor.pass_time(990)
    assert len(floor.receivers.tried) == 1
    floor.pass_time(15)
    assert len(floor.receivers.tried) == 2


def test_it_outlives_the_relay(floor: Telling) -> None:
    floor.receivers.answer = None
    (id,) = ended(floor)
    floor.pass_time(1)
    assert floor.receivers.ids == [id]
    floor.hub.close()
    floor.receivers.answer = TAKEN
    floor.restart()
    floor.pass_time(1)
    assert floor.receivers.ids == [id, id]
    assert floor.receivers.tried[1].tries == 0  # one that was broken off does not count
    assert floor.owed() == []


def test_nothing_is_begun_while_the_relay_drains(floor: Telling) -> None:
    ended(floor)
    floor.hub.drain()
    floor.pass_time(3)
    assert floor.receivers.tried == []
    assert len(floor.owed()) == 1


def test_one_is_not_told_twice_at_a_time(floor: Telling) -> None:
    floor.receivers.answer = None
    (id,) = ended(floor)
    floor.pass_time(14)
    assert floor.receivers.ids == [id]
    floor.receivers.settle(id)
    floor.pass_time(14)
    assert floor.receivers.ids == [id]


def test_so_many_are_told_to_one_receiver_at_a_time_and_all_in_the_end(floor: Telling) -> None:
    floor.receivers.answer = None
    ids = ended(floor, 30)
    floor.pass_time(1)
    assert floor.receivers.ids == ids[: callbacks.TO_ONE]
    while floor.receivers.open:
        floor.receivers.settle(next(iter(floor.receivers.open)))
        floor.clock.advance(0)
    assert floor.receivers.ids == ids
    assert floor.receivers.most_open == callbacks.TO_ONE
    assert floor.owed() == []


def test_a_slow_receiver_does_not_hold_up_the_others(floor: Telling) -> None:
    slow = "https://slow.example.org/"
    floor.receivers.silent.add(slow)
    ended(floor, 1000, slow)
    (quick,) = ended(floor, 1)
    floor.pass_time(12)
    assert quick in floor.receivers.ids
    assert len(floor.receivers.open) == callbacks.TO_ONE
    assert len(floor.owed()) == 1000


def test_what_was_put_off_for_a_slow_receiver_is_told_when_it_is_quick_again(floor: Telling) -> None:
    slow = "https://slow.example.org/"
    floor.receivers.silent.add(slow)
    ids = ended(floor, 300, slow)
    floor.pass_time(5)
    floor.receivers.silent.clear()
    for id in list(floor.receivers.open):
        floor.receivers.settle(id)
    floor.pass_time(120)
    assert sorted(floor.receivers.ids) == sorted(ids)
    assert floor.owed() == []


def test_while_the_store_is_away_nothing_is_forgotten_and_nothing_told_twice(floor: Telling) -> None:
    agent = floor.agent().register()
    floor.post(callback=URL)
    floor.store_fails(Callback, Told)
    agent.ack(*agent.ids())
    floor.pass_time(5)
    assert floor.receivers.tried == []
    floor.store.heal()
    floor.pass_time(3)
    assert len(floor.receivers.tried) == 1
    assert floor.owed() == []


def test_what_waits_for_a_store_that_is_away_is_bounded(floor: Telling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "UNWRITTEN", 2)
    ids = ended(floor, 3)
    floor.store_fails(Told)
    floor.pass_time(1)
    assert floor.receivers.ids == ids
    floor.store.heal()
    floor.pass_time(3)
    assert floor.receivers.ids == [*ids, ids[2]]  # its outcome was not noted, so that it is told again
    assert floor.owed() == []


def test_an_outcome_that_could_not_be_written_is_written_later(floor: Telling) -> None:
    (id,) = ended(floor)
    floor.store_fails(Told)
    floor.pass_time(20)
    assert floor.receivers.ids == [id]
    floor.store.heal()
    floor.pass_time(2)
    assert floor.receivers.ids == [id]
    assert floor.owed() == []


def test_a_store_that_cannot_be_read_is_read_later(floor: Telling) -> None:
    (id,) = ended(floor)
    floor.store_fails(reads=True)
    floor.pass_time(3)
    assert floor.receivers.tried == []
    floor.store.heal()
    floor.pass_time(2)
    assert floor.receivers.ids == [id]
