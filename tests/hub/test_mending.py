"""What operators and publishers may see and change, over the floor (protocol 1.3)."""

from __future__ import annotations

from typing import Any

import pytest

from relay.core.model import End, Event, MessageView, Past, Put, Requeue, Status
from relay.core.problems import Problem
from tests.hub.support import WALL, Floor


def events(view: MessageView) -> list[tuple[float, str]]:
    return [(event.at - WALL, event.event) for event in view.timeline]


def refused(floor: Floor, work: Any) -> str:
    (answer,) = floor.asked(work)
    assert isinstance(answer, Problem)
    return answer.word


def dead_letter(floor: Floor, payload: Any = None, **fields: Any) -> str:
    """The id of a message that its agent refused for good. Nobody is connected afterwards."""
    agent = floor.agent().register(fields.get("agent", "desk-1"))
    floor.post(payload, **fields)
    (id,) = agent.ids()
    agent.say("nack", id=id, requeue=False, reason="unreadable")
    agent.leave()
    return str(id)


# -- status and timeline


def test_a_message_tells_what_happened_to_it() -> None:
    floor = Floor()
    answer = floor.post(wait=0)
    floor.pass_time(3)
    agent = floor.agent().register(ack_wait=4)
    floor.pass_time(4)
    assert events(floor.look(answer.id)) == [(0, "accepted"), (0, "queued"), (3, "sent"), (7, "sent")]
    agent.say("nack", id=answer.id, delay=2, reason="busy")
    floor.pass_time(2)
    agent.say("ack", id=answer.id, reply=7)
    view = floor.look(answer.id)
    assert events(view)[4:] == [(7, "nacked"), (9, "sent"), (9, "delivered")]
    assert (view.status, view.attempts, view.reply, view.ended_at) == (Status.DELIVERED, 3, b"7", WALL + 9)
    sent = view.timeline[2]
    assert (sent.session, sent.node) == (agent.session, "node-1")
    assert view.timeline[4] == Event(WALL + 7, "nacked", None, "node-1", "busy")


def test_the_status_follows_the_message() -> None:
    floor = Floor()
    answer = floor.post(wait=0)
    assert floor.look(answer.id).status is Status.QUEUED
    agent = floor.agent().register()
    assert floor.look(answer.id).status is Status.SENT
    agent.leave()
    assert floor.look(answer.id).status is Status.QUEUED
    assert floor.look(answer.id).ended_at is None


def test_a_direct_message_is_seen_while_it_waits_and_after() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.post()
    (id,) = agent.ids()
    assert floor.look(id).status is Status.SENT
    agent.ack(id)
    view = floor.look(id)
    assert (view.status, events(view)) == (Status.DELIVERED, [(0, "accepted"), (0, "sent"), (0, "delivered")])
    assert not isinstance(floor.find(id), Past)


def test_of_messages_that_were_never_durable_the_last_ones_are_remembered() -> None:
    floor = Floor(remembered=2)
    agent = floor.agent().register()
    for _ in range(3):
        floor.post()
    ids = agent.ids()
    agent.ack(*ids)
    views = [floor.now(floor.hub.message(id)) for id in ids]
    assert [view and view.status for view in views] == [None, Status.DELIVERED, Status.DELIVERED]


def test_replies_to_what_was_never_durable_are_remembered_up_to_their_bytes() -> None:
    floor = Floor(remembered_bytes=5000)
    agent = floor.agent().register()
    for _ in range(4):
        floor.post()
    ids = agent.ids()
    for id, size in zip(ids, (1000, 1000, 1000, 4000), strict=True):
        agent.say("ack", id=id, reply="x" * size)
    views = [floor.now(floor.hub.message(id)) for id in ids]
    assert [view and view.reply and len(view.reply) for view in views] == [None, None, None, 4002]
    assert floor.look(ids[3]).status is Status.DELIVERED
    agent.ack(floor.post(wait=0).id)


def test_what_was_never_durable_is_remembered_as_it_happened() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.post(publisher="ann")
    (id,) = agent.ids()
    agent.say("ack", id=id, reply={"a": 1})
    view = floor.look(id)
    assert (view.agent, view.publisher, view.status, view.attempts) == ("desk-1", "ann", Status.DELIVERED, 1)
    assert view.reply == b'{"a": 1}'
    steps = [(event.event, event.session, event.node) for event in view.timeline]
    session = agent.session
    assert steps == [("accepted", None, "node-1"), ("sent", session, "node-1"), ("delivered", session, "node-1")]


def test_who_asks_for_a_message_that_nobody_knows_gets_nothing() -> None:
    assert Floor().now(Floor().hub.message("nonsense")) is None


def test_who_waits_for_the_end_is_told_when_it_has_come() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(wait=0)
    asked = floor.asked(floor.hub.message(answer.id, wait=20))
    floor.pass_time(10)
    assert asked == []
    agent.ack(answer.id)
    assert [view.status for view in asked] == [Status.DELIVERED]


def test_who_waits_for_the_end_hears_of_it_when_it_is_durable() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(wait=0)
    asked = floor.asked(floor.hub.message(answer.id, wait=20))
    floor.store.hold()
    agent.ack(answer.id)
    assert asked == []
    floor.store.release()
    assert [view.status for view in asked] == [Status.DELIVERED]


@pytest.mark.parametrize("wait", [0, 20])
def test_who_asks_while_an_end_is_being_recorded_hears_of_that_end(wait: float) -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(wait=0)
    floor.store.hold(writes=True, reads=False)
    agent.ack(answer.id)
    asked = floor.asked(floor.hub.message(answer.id, wait=wait))
    assert asked == []
    floor.store.release()
    assert [view.status for view in asked] == [Status.DELIVERED]


def test_who_asks_for_what_is_being_buried_hears_of_its_end() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.post()
    (id,) = agent.ids()
    floor.store.hold(writes=True, reads=False)
    agent.say("nack", id=id, requeue=False)
    asked = floor.asked(floor.hub.message(id))
    floor.store.release()
    assert [view.status for view in asked] == [Status.REJECTED]


def test_an_end_that_ends_while_the_store_is_asked_is_told() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(wait=0)
    floor.store.hold(writes=True, reads=True)
    asked = floor.asked(floor.hub.message(answer.id))
    agent.ack(answer.id)
    floor.store.release()
    assert [view.status for view in asked] == [Status.DELIVERED]


def test_of_an_end_that_cannot_be_recorded_nobody_is_told_what_is_true_no_more() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(wait=0)
    floor.store_fails(End)
    agent.ack(answer.id)
    asked = floor.asked(floor.hub.message(answer.id))
    floor.pass_time(6)
    assert [problem.word for problem in asked] == ["store-unavailable"]
    floor.store.heal()
    floor.pass_time(2)
    assert floor.look(answer.id).status is Status.DELIVERED


def test_who_waits_for_an_end_that_does_not_come_is_told_how_it_stands() -> None:
    floor = Floor()
    answer = floor.post()
    asked = floor.asked(floor.hub.message(answer.id, wait=5))
    floor.pass_time(5)
    assert [view.status for view in asked] == [Status.QUEUED]
    assert len(floor.clock.getDelayedCalls()) == 1


def test_without_a_store_nobody_can_say_what_is_only_there() -> None:
    floor = Floor()
    answer = floor.post()
    floor.store_fails(reads=True)
    assert refused(floor, floor.hub.message(answer.id)) == "store-unavailable"


def test_status_and_timeline_outlive_the_process() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(wait=0)
    agent.say("ack", id=answer.id, reply="thanks")
    before = floor.look(answer.id)
    floor.restart()
    assert floor.look(answer.id) == before
    assert before.reply == b'"thanks"'


# -- cancel


def test_what_is_queued_can_be_cancelled() -> None:
    floor = Floor()
    answers = [floor.post() for _ in range(3)]
    floor.now(floor.hub.cancel(answers[1].id))
    assert floor.look(answers[1].id).status is Status.CANCELLED
    assert floor.agent().register().messages() == [1, 3]


def test_who_waits_for_a_message_is_told_that_it_was_cancelled() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=1)
    floor.post(wait=0)
    answer = floor.post(wait=30)
    floor.now(floor.hub.cancel(floor.queued()[1]))
    assert answer.said == "ended"
    assert answer.problem is not None
    assert (answer.problem.status, answer.problem.fields["ended"]) == (410, "cancelled")
    agent.ack(*agent.ids())
    assert agent.messages() == []


def test_what_is_in_flight_or_has_ended_cannot_be_cancelled() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(wait=0)
    assert refused(floor, floor.hub.cancel(answer.id)) == "too-late"
    agent.ack(answer.id)
    assert refused(floor, floor.hub.cancel(answer.id)) == "too-late"


def test_what_is_sent_directly_cannot_be_cancelled_before_nor_after_its_ack() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.post()
    (id,) = agent.ids()
    for told in ("the message is with its agent, or ends now", "the message ended delivered"):
        with pytest.raises(Problem) as late:
            floor.now(floor.hub.cancel(id))
        assert (late.value.word, late.value.detail) == ("too-late", told)
        assert late.value.fields == {"id": id, "attempts": 1}
        agent.ack(id)


def test_what_rests_can_be_cancelled() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(wait=0)
    agent.say("nack", id=agent.ids()[0], delay=5)
    floor.now(floor.hub.cancel(answer.id))
    floor.pass_time(10)
    assert agent.messages() == []
    assert floor.queued() == []


def test_nothing_known_cannot_be_cancelled() -> None:
    floor = Floor()
    assert refused(floor, floor.hub.cancel("nonsense")) == "not-found"


def test_cancelling_is_answered_when_it_is_durable() -> None:
    floor = Floor()
    answer = floor.post()
    floor.store.hold(writes=True, reads=False)
    asked, also = floor.asked(floor.hub.cancel(answer.id)), floor.asked(floor.hub.cancel(answer.id))
    assert asked == also == []
    floor.store.release()
    assert asked == also == [None]
    assert isinstance(floor.find(answer.id), Past)


def test_a_cancel_that_the_store_does_not_take_is_not_claimed_and_done_as_soon_as_may_be() -> None:
    floor = Floor()
    answer = floor.post()
    floor.store_fails(End)
    for _ in range(2):
        assert refused(floor, floor.hub.cancel(answer.id)) == "store-unavailable"
    floor.store.heal()
    floor.pass_time(2)
    assert floor.agent().register().messages() == []
    assert floor.look(answer.id).status is Status.CANCELLED
    assert refused(floor, floor.hub.cancel(answer.id)) == "too-late"


def test_a_cancel_that_the_store_does_not_answer_is_not_waited_for_for_ever() -> None:
    floor = Floor()
    answer = floor.post()
    floor.store.hold(writes=True, reads=False)
    asked = floor.asked(floor.hub.cancel(answer.id))
    floor.pass_time(5)
    assert [problem.word for problem in asked] == ["store-unavailable"]
    floor.store.release()
    assert floor.look(answer.id).status is Status.CANCELLED
    assert len(floor.clock.getDelayedCalls()) == 1


def test_what_was_replaced_on_its_way_into_the_store_is_not_cancelled() -> None:
    floor = Floor()
    first = floor.post(topic="t")
    floor.store.hold(writes=True, reads=False)
    floor.post(topic="t")
    asked = floor.asked(floor.hub.cancel(first.id))
    floor.store.release()
    assert [problem.word for problem in asked] == ["too-late"]
    assert floor.look(first.id).status is Status.REPLACED


# -- the queue


def test_the_queue_is_shown_oldest_first_page_by_page() -> None:
    floor = Floor()
    for _ in range(5):
        floor.post({"n": 1}, wait=0)
    first, after = floor.now(floor.hub.queue("desk-1", after=0, limit=3))
    rest, end = floor.now(floor.hub.queue("desk-1", after=after, limit=3))
    assert [view.id for view in (*first, *rest)] == floor.queued()
    assert end is None
    assert first[0].message.payload == b'{"n": 1}'
    assert {view.status for view in first} == {Status.QUEUED}


def test_the_queue_shows_what_is_sent_and_what_waits_for_its_time() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=2)
    for _ in range(3):
        floor.post(wait=0)
    agent.say("nack", id=agent.ids()[0], delay=50)
    views, _ = floor.now(floor.hub.queue("desk-1", after=0, limit=10))
    assert [view.status for view in views] == [Status.QUEUED, Status.SENT, Status.SENT]


def test_emptying_leaves_what_is_sent() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=2)
    for _ in range(10):
        floor.post(wait=0)
    waiting = floor.post(wait=30)
    floor.post(agent="desk-2")
    assert floor.now(floor.hub.empty("desk-1")) == 9
    assert waiting.said == "ended"
    agent.ack(*agent.ids())
    assert agent.messages() == []
    assert len(floor.queued()) == 1
    assert floor.now(floor.hub.empty("nobody")) == 0


def test_emptying_a_long_queue_goes_by_slices_and_leaves_what_comes_meanwhile() -> None:
    floor = Floor(queue_count=10_000)
    for _ in range(2500):
        floor.post(wait=0)
    floor.store.hold(writes=False, reads=True)
    asked = floor.asked(floor.hub.empty("desk-1"))
    later = floor.post(wait=0)
    floor.store.release()
    assert asked == [2500]
    assert floor.queued() == [later.id]


def test_a_queue_that_cannot_be_read_is_not_emptied() -> None:
    floor = Floor()
    floor.post()
    floor.store_fails(reads=True)
    assert refused(floor, floor.hub.empty("desk-1")) == "store-unavailable"
    floor.store.heal()
    floor.pass_time(1)
    assert len(floor.queued()) == 1


def test_emptying_is_answered_when_it_is_durable() -> None:
    floor = Floor()
    answers = [floor.post() for _ in range(3)]
    floor.store.hold(writes=True, reads=False)
    asked, also = floor.asked(floor.hub.empty("desk-1")), floor.asked(floor.hub.cancel(answers[1].id))
    assert asked == also == []
    floor.store.release()
    assert (asked, also) == ([3], [None])


def test_emptying_what_the_store_does_not_take_is_not_claimed_and_done_as_soon_as_may_be() -> None:
    floor = Floor()
    ids = [floor.post().id for _ in range(3)]
    floor.store_fails(End)
    assert refused(floor, floor.hub.empty("desk-1")) == "store-unavailable"
    assert floor.queued() == ids
    floor.store.heal()
    assert floor.agent().register().messages() == []
    floor.pass_time(2)
    assert floor.queued() == []


# -- dead letters


def test_a_message_that_did_not_end_well_is_kept_with_its_reason() -> None:
    floor = Floor()
    id = dead_letter(floor, {"a": 1})
    (letter,) = floor.now(floor.hub.letters(after="", limit=10))
    assert letter.record.message.payload == b'{"a": 1}'
    assert (letter.past.id, letter.past.status, letter.past.reason) == (id, Status.REJECTED, "unreadable")


def test_a_refused_message_without_a_reason_is_kept_too() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.post()
    agent.say("nack", id=agent.ids()[0], requeue=False)
    assert len(floor.now(floor.hub.letters(after="", limit=10))) == 1


def test_what_was_delivered_cancelled_or_replaced_is_no_dead_letter() -> None:
    floor = Floor()
    agent = floor.agent().register()
    agent.ack(floor.post(wait=0).id)
    agent.leave()
    floor.post(topic="t")
    floor.now(floor.hub.cancel(floor.post(topic="t").id))
    assert floor.now(floor.hub.letters(after="", limit=10)) == []


def test_dead_letters_come_page_by_page_oldest_first() -> None:
    floor = Floor()
    ids = [dead_letter(floor) for _ in range(5)]
    first = floor.now(floor.hub.letters(after="", limit=3))
    rest = floor.now(floor.hub.letters(after=first[-1].past.id, limit=3))
    assert [letter.past.id for letter in (*first, *rest)] == ids


def test_a_requeued_letter_is_sent_again_at_the_end_of_the_order_with_its_attempts_forgotten() -> None:
    floor = Floor()
    id = dead_letter(floor, "again")
    floor.post("other")
    view = floor.now(floor.hub.requeue(id))
    assert (view.id, view.status) == (id, Status.QUEUED)
    frames = floor.agent().register().heard("message")
    assert [(frame["payload"], frame["attempt"]) for frame in frames] == [("other", 1), ("again", 1)]
    assert frames[1]["id"] == id
    assert floor.now(floor.hub.letters(after="", limit=10)) == []


def test_a_letter_that_is_requeued_for_an_agent_that_is_here_is_sent_at_once() -> None:
    floor = Floor()
    id = dead_letter(floor)
    agent = floor.agent().register()
    floor.now(floor.hub.requeue(id))
    assert agent.ids() == [id]
    agent.ack(id)
    assert floor.look(id).status is Status.DELIVERED
    told = [event for _, event in events(floor.look(id))]
    assert told == ["accepted", "sent", "rejected", "queued", "sent", "delivered"]


def test_a_requeued_letter_lives_its_first_time_to_live_afresh_however_often() -> None:
    floor = Floor()
    id = floor.post(ttl=10.0).id
    for _ in range(3):
        floor.pass_time(30)
        assert floor.ended()[id] == ("expired", "expired")
        floor.now(floor.hub.requeue(id))
    agent = floor.agent().register()
    assert agent.ids() == [id]
    agent.leave()
    floor.pass_time(12)
    assert floor.ended()[id] == ("expired", "expired")


def test_a_letter_that_expired_with_its_agent_here_is_sent_after_it_was_requeued() -> None:
    floor = Floor()
    id = floor.post(ttl=10.0).id
    floor.pass_time(30)
    agent = floor.agent().register()
    floor.now(floor.hub.requeue(id))
    assert agent.ids() == [id]


def test_a_requeued_letter_replaces_nothing_of_its_topic() -> None:
    floor = Floor()
    id = dead_letter(floor, "old", topic="t")
    agent = floor.agent().register(ack_wait=10)
    newer = floor.post("new", topic="t", wait=0)
    floor.now(floor.hub.requeue(id))
    assert agent.messages() == ["new", "old"]
    floor.pass_time(10)
    assert agent.messages() == ["new", "old"]
    assert set(floor.queued()) == {newer.id, id}


def test_a_letter_is_requeued_once_however_many_ask() -> None:
    floor = Floor()
    id = dead_letter(floor)
    floor.store.hold()
    first, second = floor.asked(floor.hub.requeue(id)), floor.asked(floor.hub.requeue(id))
    floor.store.release()
    assert isinstance(first[0], MessageView)
    assert isinstance(second[0], Problem)
    agent = floor.agent().register()
    assert agent.ids() == [id]
    agent.ack(id)
    floor.pass_time(60)
    assert agent.ids() == []


def test_a_letter_that_the_store_does_not_take_back_stays_a_letter() -> None:
    floor = Floor()
    id = dead_letter(floor)
    agent = floor.agent().register()
    floor.store_fails(Requeue)
    assert refused(floor, floor.hub.requeue(id)) == "store-unavailable"
    floor.store.heal()
    assert agent.ids() == []
    assert len(floor.now(floor.hub.letters(after="", limit=10))) == 1


def test_a_letter_for_a_full_queue_stays_a_letter() -> None:
    floor = Floor(queue_count=1)
    id = dead_letter(floor)
    floor.post()
    assert refused(floor, floor.hub.requeue(id)) == "queue-full"


def test_a_discarded_letter_is_gone() -> None:
    floor = Floor()
    id = dead_letter(floor)
    floor.now(floor.hub.discard(id))
    assert floor.now(floor.hub.letters(after="", limit=10)) == []
    assert refused(floor, floor.hub.requeue(id)) == "not-found"
    assert refused(floor, floor.hub.discard(id)) == "not-found"


def test_a_letter_that_was_never_durable_outlives_the_process() -> None:
    floor = Floor()
    id = dead_letter(floor)
    floor.restart()
    assert [letter.past.id for letter in floor.now(floor.hub.letters(after="", limit=10))] == [id]


def test_a_refusal_that_cannot_be_kept_now_is_not_sent_again_meanwhile() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post()
    floor.store_fails(Put)
    agent.say("nack", id=agent.ids()[0], requeue=False)
    assert answer.said == "rejected"
    agent.leave()
    assert floor.agent().register().messages() == []


# -- sessions


def test_an_operator_closes_a_session() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(wait=30)
    assert floor.hub.disconnect("desk-1")
    assert agent.wire.closed == (4005, "closed-by-operator; retry_after=30")
    assert answer.said == "queued:lost"
    assert not floor.hub.disconnect("desk-1")


def test_nothing_counts_that_a_session_says_after_an_operator_closed_it() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(wait=0)
    floor.hub.disconnect("desk-1")
    agent.ack(answer.id)
    agent.say("nack", id=answer.id, requeue=False)
    assert floor.queued() == [answer.id]


@pytest.mark.parametrize("frame", [{"type": "nack", "delay": 100}, {"type": "progress"}, {"type": "ack"}])
def test_what_a_session_says_on_its_way_out_leaves_nothing_behind(frame: dict[str, Any]) -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post("x" * 1000, wait=0)
    agent.wire.stalled = True
    floor.post("y" * 1000, wait=0)
    floor.pass_time(32)
    assert agent.wire.closed is not None
    assert agent.wire.closed[0] == 4008
    agent.say(id=answer.id, **frame)
    agent.leave(4008)
    floor.pass_time(1)
    assert len(floor.clock.getDelayedCalls()) == 1
    again = floor.agent().register()
    assert len(again.messages()) == (1 if frame["type"] == "ack" else 2)


def test_the_timeline_of_a_message_that_could_not_be_stored_at_first_is_whole() -> None:
    floor = Floor()
    floor.store_fails(Put)
    assert floor.post().said == "store-unavailable"
    floor.store.heal()
    answer = floor.post()
    assert [event for _, event in events(floor.look(answer.id))] == ["accepted", "queued"]
