"""Callbacks: every end is told, once it is known for good, as often as it takes, and one receiver holds up no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from relay.core.model import Callback, End, Told
from relay.core.problems import Problem
from relay.core.webhooks import PAUSES, Answer, Verdict
from relay.hub import callbacks
from relay.hub.service import Hub
from relay.store.memory import MemoryStore
from relay.store.retention import DEFAULTS
from tests.hub.support import WALL, Agent, Floor

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

    def __init__(self, most: int = 1_000_000, **limits: Any) -> None:
        self.receivers = Receivers()
        super().__init__(MemoryStore(durable=True, bounds=replace(DEFAULTS, callbacks=most)), **limits)

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
    answer = floor.post(callback=URL)
    floor.store_fails(End, Told)
    agent.ack(*agent.ids())
    floor.pass_time(3)
    assert (answer.said, floor.receivers.tried) == ("waiting", [])  # it is not said before it is durable
    floor.store.heal()
    floor.pass_time(3)
    assert len(floor.receivers.tried) == 1
    assert floor.owed() == []


def test_what_waits_for_a_store_that_is_away_is_bounded(floor: Telling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "UNWRITTEN", 2)
    monkeypatch.setattr(callbacks, "READ", 2)
    ids = ended(floor, 5)
    floor.store_fails(Told)
    floor.pass_time(5)
    assert floor.receivers.ids == ids[:2]
    floor.store.heal()
    floor.pass_time(4)
    assert floor.receivers.ids == ids
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


# -- how many are owed


def test_a_message_whose_callback_would_be_one_too_many_is_refused_and_not_sent() -> None:
    floor = Telling(most=2)
    floor.receivers.answer = None
    ended(floor, 2)
    agent = floor.agent().register()
    refused = floor.post(callback=URL)
    assert (refused.said, agent.messages()) == ("queue-full", [])
    assert refused.problem is not None and refused.problem.retry_after
    assert "2 callbacks" in refused.problem.detail
    floor.hub.close()


def test_what_has_no_callback_is_taken_though_too_many_are_owed() -> None:
    floor = Telling(most=1)
    floor.receivers.answer = None
    ended(floor)
    floor.post(callback=URL)
    assert floor.hub.readiness().ready
    agent = floor.agent().register()
    assert [floor.post(wait=0).said, floor.post(wait=0, agent="away").said] == ["queued:sent", "queued:away"]
    assert len(agent.messages()) == 1
    floor.hub.close()


def test_there_is_room_again_once_one_was_told() -> None:
    floor = Telling(most=1)
    (first,) = ended(floor)
    assert floor.post(wait=0, callback=URL).said == "queue-full"
    floor.pass_time(2)
    assert floor.receivers.ids == [first]
    assert floor.post(wait=0, callback=URL).said == "queued:away"
    floor.hub.close()


def test_a_dead_letter_is_not_requeued_while_its_next_end_cannot_be_promised() -> None:
    floor = Telling(most=2)
    floor.receivers.answer = None
    id = floor.post(wait=0, callback=URL, ttl=1).id
    floor.pass_time(2)
    floor.post(wait=0, callback=URL)
    with pytest.raises(Problem, match="queue-full"):
        floor.now(floor.hub.requeue(id))
    assert floor.hub.readiness().ready
    floor.receivers.settle(id)
    assert floor.now(floor.hub.requeue(id)).status == "queued"
    floor.hub.close()


# -- what is said before it is durable


@pytest.mark.parametrize("ttl", [None, 0])
def test_while_the_store_is_away_a_message_with_a_callback_is_refused_and_not_sent(
    floor: Telling, ttl: float | None
) -> None:
    agent = floor.agent().register()
    floor.store_fails()
    refused = floor.post(callback=URL, ttl=ttl)
    assert (refused.said, agent.messages()) == ("store-unavailable", [])
    assert refused.problem is not None and "sent" not in refused.problem.fields
    floor.store.heal()
    floor.pass_time(5)
    assert floor.receivers.tried == []


def test_delivered_is_not_said_before_its_callback_would_outlive_the_relay(floor: Telling) -> None:
    agent = floor.agent().register()
    answer = floor.post(callback=URL)
    floor.store.hold()
    agent.ack(*agent.ids())
    assert (answer.said, floor.store.held > 0) == ("waiting", True)
    floor.store.release()
    assert answer.said == "delivered"
    floor.hub.close()
    floor.restart()
    floor.pass_time(1)
    assert floor.receivers.ids == [answer.id]


def test_now_or_never_is_told_too(floor: Telling) -> None:
    agent = floor.agent().register()
    answer = floor.post(callback=URL, ttl=0)
    floor.pass_time(6)
    assert (answer.said, len(agent.messages())) == ("undeliverable", 1)
    assert [(body["id"], body["status"]) for body in floor.receivers.bodies()] == [(answer.id, "expired")]


# -- a second end


def statuses(floor: Telling) -> list[str]:
    return [body["status"] for body in floor.receivers.bodies()]


def test_a_requeued_dead_letter_that_ends_while_its_first_end_is_told_is_told_again(floor: Telling) -> None:
    floor.receivers.answer = None
    id = floor.post(wait=0, callback=URL, ttl=1).id
    floor.pass_time(3)
    floor.now(floor.hub.requeue(id))
    agent = floor.agent().register()
    agent.ack(*agent.ids())
    floor.pass_time(3)
    assert statuses(floor) == ["expired"]  # one at a time, so that the receiver hears of them in order
    floor.receivers.settle(id)
    floor.pass_time(2)
    assert statuses(floor) == ["expired", "delivered"]
    floor.receivers.settle(id)
    floor.pass_time(20)
    assert (len(floor.receivers.tried), floor.owed()) == (2, [])


def test_a_second_end_is_told_at_once_though_the_first_was_put_off(floor: Telling) -> None:
    floor.receivers.answer = None
    id = floor.post(wait=0, callback=URL, ttl=1).id
    floor.pass_time(3)
    floor.now(floor.hub.requeue(id))
    floor.now(floor.hub.cancel(id))
    floor.receivers.settle(id, FAILED)
    floor.pass_time(2)
    assert statuses(floor) == ["expired", "cancelled"]
    assert floor.receivers.tried[1].tries == 0


def replaced_in_flight(floor: Telling, agent: Agent) -> str:
    """The id of a message that its agent has and that ended ``replaced``; the newer one is acknowledged."""
    older = floor.post(topic="t", callback=URL)
    newer = floor.post(topic="t")
    floor.pass_time(31)
    assert floor.look(older.id).status == "replaced"
    agent.ack(newer.id)
    return older.id


def test_a_replaced_message_that_is_acknowledged_after_all_is_told_delivered_too(floor: Telling) -> None:
    agent = floor.agent().register()
    id = replaced_in_flight(floor, agent)
    floor.pass_time(2)
    assert statuses(floor) == ["replaced"]
    agent.heard()
    agent.say("ack", id=id, reply=7, confirm=True)
    assert agent.heard("acked") == [{"type": "acked", "ids": [id], "unknown": []}]
    floor.pass_time(2)
    assert statuses(floor) == ["replaced", "delivered"]
    assert floor.receivers.bodies()[1]["reply"] == 7
    assert floor.look(id).status == "delivered"


def test_only_the_last_end_is_told_where_the_first_was_not_told_yet(floor: Telling) -> None:
    agent = floor.agent().register()
    floor.receivers.answer = FAILED
    id = replaced_in_flight(floor, agent)
    floor.pass_time(2)
    floor.receivers.answer = TAKEN
    agent.say("ack", id=id)
    floor.pass_time(2)
    assert statuses(floor) == ["replaced", "delivered"]
    floor.pass_time(HOUR, step=60)
    assert statuses(floor) == ["replaced", "delivered"]  # the first, which failed, is not tried any more


def test_an_ack_that_comes_while_the_end_replaced_is_being_recorded_makes_it_delivered(floor: Telling) -> None:
    agent = floor.agent().register()
    older = floor.post(topic="t", callback=URL)
    floor.post(topic="t")
    floor.pass_time(29)
    floor.store.hold()
    floor.pass_time(3)
    assert floor.store.held > 0
    agent.say("ack", id=older.id)
    floor.store.release()
    assert floor.look(older.id).status == "delivered"
    floor.pass_time(2)
    assert statuses(floor)[-1] == "delivered"


def test_what_was_told_while_the_next_look_is_under_way_is_not_told_again(floor: Telling) -> None:
    floor.receivers.answer = None
    (id,) = ended(floor)
    floor.pass_time(1)
    floor.store.hold(writes=False, reads=True)
    floor.pass_time(1)
    due = floor.store._waiting.popleft()  # the read, which has seen it, and whose answer is on its way
    floor.store.release()
    assert floor.receivers.ids == [id]
    floor.receivers.settle(id)
    due()
    floor.pass_time(2)
    assert floor.receivers.ids == [id]
