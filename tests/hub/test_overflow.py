"""``overflow = drop-oldest``: a full queue takes what is new, and its oldest go to the dead letters."""

from __future__ import annotations

from typing import Any

import pytest

from relay.hub.service import Hub
from relay.store.memory import MemoryStore
from tests.hub.support import Answer, Floor


class Dropping(Floor):
    """A floor whose full queues drop their oldest."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(MemoryStore(durable=True), **limits)

    def _hub(self) -> Hub:
        self._settings["overflow"] = "drop-oldest"
        return super()._hub()

    def put(self, payload: bytes | int | None = None, agent: str = "desk-1", wait: float = 0) -> Answer:
        """POST, and let room be made for it."""
        answer = self.post(payload, agent=agent, wait=wait)
        self.clock.advance(0)
        return answer


def test_the_oldest_makes_room_for_the_newest() -> None:
    floor = Dropping(queue_count=3)
    ids = [floor.put(number).id for number in range(5)]
    assert floor.queued() == ids[2:]
    assert floor.ended() == {ids[0]: ("dead", "overflow"), ids[1]: ("dead", "overflow")}
    assert floor.agent().register().messages() == [2, 3, 4]


def test_as_many_go_as_the_bytes_need() -> None:
    floor = Dropping(queue_bytes=10)
    small = [floor.put(b"11").id for _ in range(5)]
    large = floor.put(b"12345678").id
    assert floor.queued() == [small[4], large]
    assert set(floor.ended()) == set(small[:4])


def test_one_that_no_queue_could_hold_is_refused_and_drops_nothing() -> None:
    floor = Dropping(queue_bytes=10)
    kept = floor.put(b"11").id
    assert floor.put(b"12345678901").said == "queue-full"
    assert floor.queued() == [kept]


def test_a_repeat_takes_nobodys_place() -> None:
    floor = Dropping(queue_count=2)
    first = floor.post("pay", key="k", wait=0)
    floor.put(2)
    again = floor.post("pay", key="k", wait=0)
    floor.clock.advance(0)
    assert (again.said, again.id) == ("queued:away", first.id)
    assert (len(floor.queued()), floor.ended()) == (2, {})


def test_what_is_in_flight_is_not_dropped() -> None:
    floor = Dropping(queue_count=3)
    agent = floor.agent().register(max_in_flight=2)
    flying = [floor.put(number).id for number in range(2)]
    waiting = floor.put(2).id
    newest = floor.put(3).id
    assert floor.ended() == {waiting: ("dead", "overflow")}
    assert floor.queued() == [*flying, newest]
    agent.ack(*flying)
    assert agent.messages() == [0, 1, 3]


def test_a_queue_that_is_in_flight_as_a_whole_refuses() -> None:
    floor = Dropping(queue_count=2)
    floor.agent().register()
    assert [floor.put().said for _ in range(3)] == ["queued:sent", "queued:sent", "queue-full"]
    assert floor.ended() == {}


def test_a_dropped_message_tells_its_end_to_the_post_that_waits() -> None:
    floor = Dropping(queue_count=2)
    floor.agent().register(max_in_flight=1)
    floor.put()
    waiting = floor.put(wait=30)
    assert waiting.said == "waiting"
    floor.put()
    assert waiting.problem is not None
    assert (waiting.said, waiting.problem.fields["ended"]) == ("ended", "dead")


def test_while_the_store_is_slow_only_so_much_is_taken_on_credit() -> None:
    floor = Dropping(queue_count=3)
    first = [floor.put().id for _ in range(3)]
    floor.store.hold(writes=True, reads=True)
    answers = [floor.put() for _ in range(5)]
    assert [answer.said for answer in answers] == ["waiting"] * 3 + ["queue-full"] * 2
    floor.store.release()
    floor.pass_time(2)
    assert [answer.said for answer in answers[:3]] == ["queued:away"] * 3
    assert set(floor.ended()) == set(first)
    assert floor.queued() == [answer.id for answer in answers[:3]]


def test_while_the_store_does_not_answer_nothing_is_lost() -> None:
    floor = Dropping(queue_count=2)
    kept = [floor.put().id for _ in range(2)]
    floor.store_fails(reads=True)
    assert floor.put().said == "store-unavailable"
    floor.store.heal()
    assert floor.queued() == kept
    floor.pass_time(6)
    newest = floor.put().id
    assert floor.queued() == [kept[1], newest]


@pytest.mark.parametrize("overflow", [True, False])
def test_only_by_configuration(overflow: bool) -> None:
    floor = Dropping(queue_count=1) if overflow else Floor(queue_count=1)
    floor.post(wait=0)
    assert floor.post(wait=0).said == ("queued:away" if overflow else "queue-full")
