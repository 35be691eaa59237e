"""One key names one message, whatever becomes of it (protocol 1.1 'Idempotency')."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from relay.core.model import End, Form, Past, Put, Revise
from relay.store.memory import MemoryStore
from relay.store.retention import DEFAULTS
from tests.hub.support import Answer, Floor

DAY = 86400.0


def keyed(floor: Floor, payload: Any = "pay", key: str = "k", **fields: Any) -> Answer:
    return floor.post(payload, key=key, **fields)


def replayed(answer: Answer) -> bool:
    return answer.outcome is not None and answer.outcome.replay


def test_a_repeat_of_what_is_queued_is_queued_under_the_same_id() -> None:
    floor = Floor()
    first, second = keyed(floor), keyed(floor)
    assert (first.said, second.said) == ("queued:away", "queued:away")
    assert first.id == second.id
    assert (replayed(first), replayed(second)) == (False, True)
    assert floor.agent().register().messages() == ["pay"]


def test_a_repeat_of_what_was_delivered_is_delivered_with_its_reply_and_not_sent_again() -> None:
    floor = Floor()
    agent = floor.agent().register()
    first = keyed(floor)
    agent.say("ack", id=agent.ids()[0], reply={"sum": 3})
    second = keyed(floor)
    assert (first.said, second.said) == ("delivered", "delivered")
    assert second.outcome is not None
    assert (second.outcome.reply, second.outcome.attempts) == (b'{"sum": 3}', 1)
    assert replayed(second)
    assert agent.messages() == []


def test_a_repeat_of_what_was_rejected_is_rejected_for_the_same_reason() -> None:
    floor = Floor()
    agent = floor.agent().register()
    first = keyed(floor)
    agent.say("nack", id=agent.ids()[0], requeue=False, reason="unreadable")
    second = keyed(floor)
    for answer in (first, second):
        assert answer.said == "rejected"
        assert answer.problem is not None
        assert answer.problem.detail == "unreadable"


def test_a_repeat_of_what_ended_otherwise_is_told_how() -> None:
    floor = Floor()
    first = keyed(floor)
    floor.now(floor.hub.cancel(first.id))
    second = keyed(floor)
    assert second.said == "ended"
    assert second.problem is not None
    assert second.problem.status == 410
    assert second.problem.fields["ended"] == "cancelled"


def test_while_the_first_waits_a_repeat_waits_too_and_hears_the_same() -> None:
    floor = Floor()
    agent = floor.agent().register()
    first, second = keyed(floor, wait=10), keyed(floor, wait=10)
    assert (first.said, second.said) == ("waiting", "waiting")
    agent.ack(*agent.ids())
    assert (first.said, second.said) == ("delivered", "delivered")
    assert first.id == second.id


def test_a_repeat_waits_no_longer_than_it_asked_for() -> None:
    floor = Floor()
    floor.agent().register()
    keyed(floor, wait=10)
    second = keyed(floor, wait=3)
    floor.pass_time(2)
    assert second.said == "waiting"
    floor.pass_time(1)
    assert second.said == "idempotency-in-progress"


@pytest.mark.parametrize("fields", [{"wait": 0.0}, {"wait": 10.0, "respond_async": True}])
def test_a_repeat_that_does_not_wait_is_told_at_once_that_the_first_does(fields: dict[str, Any]) -> None:
    floor = Floor()
    floor.agent().register()
    keyed(floor, wait=10)
    assert keyed(floor, **fields).said == "idempotency-in-progress"


def test_a_repeat_that_waited_for_one_that_was_not_kept_takes_its_place() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.store.hold()
    first, second = keyed(floor, wait=10), keyed(floor, wait=10)
    floor.store_fails(Put)
    floor.store.release(1)
    assert first.said == "store-unavailable"
    floor.store.heal()
    floor.store.release()
    assert agent.messages() == ["pay"]
    agent.ack(first.id)
    assert second.said == "delivered"
    assert second.id == first.id


@pytest.mark.parametrize(
    "other",
    [
        {"payload": "something else"},
        {"content_type": "text/plain", "form": Form.TEXT},
    ],
)
def test_the_same_key_with_something_else_is_refused(other: dict[str, Any]) -> None:
    floor = Floor()
    keyed(floor)
    answer = keyed(floor, **other)
    assert answer.said == "idempotency-key-reused"
    assert answer.problem is not None
    assert answer.problem.status == 422
    assert len(floor.queued()) == 1


def test_keys_of_other_agents_and_other_publishers_are_other_keys() -> None:
    floor = Floor()
    answers = [keyed(floor), keyed(floor, agent="desk-2"), keyed(floor, publisher="somebody")]
    assert [answer.said for answer in answers] == ["queued:away"] * 3
    assert len({answer.id for answer in answers}) == 3


def test_with_a_key_nothing_is_sent_before_it_is_durable() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.store.hold()
    keyed(floor)
    assert agent.messages() == []
    floor.store.release()
    assert agent.messages() == ["pay"]


def test_with_a_key_delivered_is_said_only_when_that_is_durable() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = keyed(floor)
    floor.store.hold()
    agent.ack(*agent.ids())
    assert answer.said == "waiting"
    floor.store.release()
    assert answer.said == "delivered"
    assert isinstance(floor.find(answer.id), Past)


def test_with_a_key_rejected_is_said_only_when_that_is_durable() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = keyed(floor)
    floor.store.hold()
    agent.say("nack", id=agent.ids()[0], requeue=False)
    assert answer.said == "waiting"
    floor.store.release()
    assert answer.said == "rejected"


def test_an_end_that_cannot_be_made_durable_in_time_is_not_claimed() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = keyed(floor)
    floor.store_fails(End)
    agent.ack(*agent.ids())
    floor.pass_time(5)
    assert answer.said == "store-unavailable"
    assert answer.problem is not None
    assert answer.problem.fields["sent"] is True
    floor.store.heal()
    floor.pass_time(2)
    assert keyed(floor).said == "delivered"


def test_with_a_key_and_without_a_store_nothing_is_sent() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.store_fails(reads=True)
    answer = keyed(floor)
    assert answer.said == "store-unavailable"
    assert answer.problem is not None
    assert "sent" not in answer.problem.fields
    assert agent.messages() == []


def test_a_problem_before_anything_was_durable_leaves_no_key_behind() -> None:
    floor = Floor()
    floor.store_fails(reads=True)
    assert keyed(floor).said == "store-unavailable"
    floor.store.heal()
    answer = keyed(floor, "another payload")
    assert answer.said == "queued:away"
    assert not replayed(answer)


def test_a_key_outlives_the_process_and_the_message_keeps_its_id() -> None:
    floor = Floor()
    first = keyed(floor)
    floor.restart()
    second = keyed(floor)
    assert replayed(second)
    assert second.id == first.id
    assert floor.agent().register().messages() == ["pay"]


def test_a_message_whose_commit_was_lost_comes_again_under_the_id_that_the_agent_has_seen() -> None:
    floor = Floor()
    first = keyed(floor)
    other = Floor(MemoryStore())
    other.store._shelf._secret = floor.store._shelf._secret
    other.restart()
    assert keyed(other).id == first.id


def test_a_key_is_remembered_for_a_day_from_acceptance() -> None:
    floor = Floor()
    agent = floor.agent().register()
    keyed(floor, ttl=60.0)
    agent.ack(*agent.ids())
    agent.leave()
    floor.pass_time(DAY - 100, step=600)
    assert keyed(floor, "another payload").said == "idempotency-key-reused"
    floor.pass_time(200, step=100)
    assert keyed(floor, "another payload").said == "queued:away"


def test_a_key_is_remembered_as_long_as_its_message_may_live() -> None:
    floor = Floor()
    first = keyed(floor, ttl=3 * DAY)
    floor.pass_time(3 * DAY - 3600, step=3600)
    second = keyed(floor, ttl=3 * DAY)
    assert second.id == first.id
    assert replayed(second)


def test_when_no_more_keys_may_be_remembered_a_new_one_is_refused() -> None:
    floor = Floor(MemoryStore(bounds=replace(DEFAULTS, keys=1)))
    assert keyed(floor).said == "queued:away"
    answer = keyed(floor, key="another")
    assert answer.said == "queue-full"
    assert answer.problem is not None
    assert answer.problem.retry_after
    assert replayed(keyed(floor))
    assert floor.post().said == "queued:away"


def test_a_repeat_is_told_what_is_true_although_the_queue_is_full() -> None:
    """429 is never said of a message that was sent: nothing was kept, its publisher would think."""
    floor = Floor(queue_count=1)
    agent = floor.agent().register()
    first = keyed(floor, wait=0)
    assert (first.said, agent.messages()) == ("queued:sent", ["pay"])
    assert (keyed(floor, wait=0).said, keyed(floor, "other", "l").said) == ("queued:silent", "queue-full")
    agent.ack(first.id)
    agent.leave()
    floor.post(wait=0)
    second = keyed(floor)
    assert (second.said, replayed(second), second.id) == ("delivered", True, first.id)


def test_while_the_first_waits_a_repeat_waits_too_although_the_queue_is_full() -> None:
    floor = Floor(queue_count=1)
    agent = floor.agent().register()
    first, second = keyed(floor, wait=10), keyed(floor, wait=10)
    assert (first.said, second.said) == ("waiting", "waiting")
    agent.ack(*agent.ids())
    assert (first.said, second.said) == ("delivered", "delivered")


def test_a_key_that_a_full_queue_refused_is_not_remembered() -> None:
    floor = Floor(queue_count=1)
    queued = floor.post(wait=0)
    assert keyed(floor).said == "queue-full"
    floor.now(floor.hub.cancel(queued.id))
    again = keyed(floor)
    assert (again.said, replayed(again)) == ("queued:away", False)


def test_a_repeat_on_its_way_into_the_store_lets_nothing_overtake_the_message_that_is_there() -> None:
    floor = Floor()
    for number in range(4):
        floor.post(number, key=f"k{number}", wait=0)
    floor.store.hold(writes=False, reads=True)
    agent = floor.agent().register()
    floor.store.hold(writes=True, reads=True)
    repeat = floor.post(1, key="k1", wait=5)
    floor.store.release()
    assert agent.messages() == [0, 1, 2, 3]
    assert repeat.id in floor.queued()


def test_a_late_ack_counts_although_a_repeat_is_on_its_way_into_the_store() -> None:
    floor = Floor()
    for number in range(2):
        floor.post(number, key=f"k{number}", wait=0)
    agent = floor.agent().register()
    ids = agent.ids()
    agent.leave()
    agent = floor.agent().register(max_in_flight=1)
    agent.messages()
    floor.store.hold()
    floor.post(1, key="k1", wait=5)
    agent.ack(ids[1])
    floor.store.release()
    agent.ack(ids[0])
    assert agent.messages() == []
    assert floor.queued() == []


def test_a_nack_of_what_has_ended_does_not_bring_it_back_for_a_repeat() -> None:
    floor = Floor()
    agent = floor.agent().register()
    first = keyed(floor)
    agent.ack(*agent.ids())
    agent.say("nack", id=first.id, delay=60)
    assert keyed(floor).said == "delivered"


def test_a_repeat_of_what_was_put_off_by_its_id_alone_is_queued_and_not_sent_before_its_time() -> None:
    floor = Floor()
    floor.post(wait=0)
    first = keyed(floor, wait=0)
    agent = floor.agent().register()
    agent.leave()
    agent = floor.agent().register(max_in_flight=1)  # the other is on the disk alone
    agent.messages()
    agent.say("nack", id=first.id, delay=60)
    assert keyed(floor).said == "queued:silent"
    agent.say("window", max_in_flight=10)
    assert agent.messages() == []
    floor.pass_time(60)
    assert agent.messages() == [1, "pay"]


# -- now or never


def test_now_or_never_with_a_key_is_durable_before_it_is_sent_and_found_by_a_repeat() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.store.hold()
    first = keyed(floor, ttl=0.0)
    assert agent.messages() == []
    floor.store.release()
    (id,) = agent.ids()
    agent.ack(id)
    assert first.said == "delivered"
    agent.leave()
    second = keyed(floor, ttl=0.0)
    assert second.said == "delivered"
    assert replayed(second)


def test_now_or_never_with_a_key_that_cannot_be_sent_leaves_no_key_behind() -> None:
    floor = Floor()
    assert keyed(floor, ttl=0.0).said == "undeliverable"
    assert keyed(floor, "another payload").said == "queued:away"


def test_now_or_never_with_a_key_is_not_sent_without_a_store() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.store_fails(Put, Revise, End)
    assert keyed(floor, ttl=0.0).said == "store-unavailable"
    assert agent.messages() == []


def test_a_refused_repeat_says_which_message_it_was_and_how_often_that_was_sent() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=10)
    first = keyed(floor, wait=5)
    repeat, other = keyed(floor, wait=0), keyed(floor, "something else", wait=0)
    agent.ack(*agent.ids())
    for answer, word in ((repeat, "idempotency-in-progress"), (other, "idempotency-key-reused")):
        assert answer.problem is not None
        assert answer.said == word
        assert (answer.id, answer.problem.fields["attempts"]) == (first.id, 1)
        assert answer.problem.replay == (answer is repeat)
    late = keyed(floor, "something else", wait=0)
    assert late.problem is not None
    assert (late.id, late.problem.fields["attempts"]) == (first.id, 1)
