"""Times to live: past them nothing is sent, and 0 is now or never (protocol 1.1 'TTL', 2.3 'Expiry')."""

from __future__ import annotations

from relay.core.model import Past, Status
from tests.hub.support import Floor

DAY = 86400.0


def test_the_time_to_live_that_applies_is_told() -> None:
    floor = Floor()
    for asked, applies in [(60.0, 60), (90 * DAY, 30 * 86400), (None, None)]:
        answer = floor.post(ttl=asked)
        assert answer.outcome is not None
        assert answer.outcome.ttl == applies


def test_without_one_a_message_lives_seven_days() -> None:
    floor = Floor()
    floor.post()
    frame = floor.agent().register().heard("message")[0]
    assert (frame["created_at"], frame["expires_at"]) == ("2027-01-15T08:00:00.000Z", "2027-01-22T08:00:00.000Z")


# -- 0


def test_now_or_never_goes_directly_or_is_undeliverable() -> None:
    floor = Floor()
    assert floor.post(ttl=0.0).said == "undeliverable"
    agent = floor.agent().register()
    answer = floor.post(ttl=0.0)
    agent.ack(*agent.ids())
    assert answer.said == "delivered"


def test_now_or_never_that_cannot_be_sent_says_nothing_of_having_been_sent() -> None:
    answer = Floor().post(ttl=0.0)
    assert answer.problem is not None
    assert answer.problem.status == 504
    assert "sent" not in answer.problem.fields
    assert answer.problem.fields["attempts"] == 0


def test_now_or_never_is_not_put_behind_others_nor_past_the_window() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=1)
    floor.post(wait=0)
    assert floor.post(ttl=0.0).said == "undeliverable"
    assert agent.messages() == [1]


def test_now_or_never_without_an_ack_was_sent_and_is_not_sent_again() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=10)
    answer = floor.post(ttl=0.0, wait=3)
    floor.pass_time(3)
    assert answer.said == "undeliverable"
    assert answer.problem is not None
    assert (answer.problem.fields["sent"], answer.problem.fields["attempts"]) == (True, 1)
    agent.messages()
    floor.pass_time(30)
    agent.conversation.heard()
    assert agent.messages() == []
    agent.leave()
    assert floor.agent().register().messages() == []


def test_now_or_never_is_never_stored_however_it_ends() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.post(ttl=0.0, wait=1)
    floor.post(ttl=0.0, wait=30)
    floor.post(ttl=0.0, wait=30)
    _one, two, three = agent.ids()
    agent.say("nack", id=two, requeue=False)
    agent.say("nack", id=three)
    floor.pass_time(2)
    assert floor.queued() == []
    assert floor.ended() == {}
    assert floor.now(floor.hub.letters(after="", limit=10)) == []


def test_the_nack_of_now_or_never_ends_it() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(ttl=0.0)
    agent.say("nack", id=agent.ids()[0])
    assert answer.said == "undeliverable"
    floor.pass_time(5)
    assert agent.messages() == []


def test_now_or_never_is_not_sent_to_an_agent_that_is_in_doubt() -> None:
    floor = Floor()
    floor.agent().register()
    floor.post(wait=1)
    floor.pass_time(1)
    assert floor.post(ttl=0.0).said == "undeliverable"


def test_now_or_never_goes_only_to_a_socket_that_takes_something() -> None:
    floor = Floor()
    agent = floor.agent().register()
    agent.wire.taking = False
    assert floor.post(ttl=0.0).said == "undeliverable"
    assert agent.messages() == []


# -- short


def test_a_message_that_expires_before_it_could_be_sent_is_undeliverable_at_once() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=1)
    floor.post(wait=0)
    answer = floor.post(ttl=2.0, wait=30)
    floor.pass_time(2)
    assert answer.said == "undeliverable"
    assert answer.problem is not None
    assert "sent" not in answer.problem.fields
    agent.ack(agent.ids()[0])
    assert agent.messages() == []


def test_one_that_was_sent_in_time_may_be_acknowledged_after_it() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(ttl=2.0, wait=10)
    floor.pass_time(5)
    assert answer.said == "waiting"
    agent.ack(*agent.ids())
    assert answer.said == "delivered"


def test_one_that_was_sent_and_expires_while_its_post_waits_ends_with_the_wait() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=3)
    answer = floor.post(ttl=2.0, wait=10)
    floor.pass_time(10)
    assert answer.said == "undeliverable"
    assert answer.problem is not None
    assert answer.problem.fields["sent"] is True
    assert agent.messages() == [1]
    floor.pass_time(30)
    assert agent.messages() == []


def test_one_that_expires_in_flight_ends_when_it_would_be_sent_again() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=10)
    answer = floor.post(ttl=5.0, wait=0)
    floor.pass_time(9)
    assert floor.look(answer.id).status is Status.SENT
    floor.pass_time(2)
    assert floor.look(answer.id).status is Status.EXPIRED
    assert agent.messages() == [1]


def test_one_that_expires_in_flight_ends_with_its_session() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(ttl=5.0, wait=0)
    floor.pass_time(6)
    agent.leave()
    assert floor.look(answer.id).status is Status.EXPIRED
    assert floor.agent().register().messages() == []


def test_a_late_ack_of_one_that_expired_in_flight_counts_until_then() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=30)
    answer = floor.post(ttl=5.0, wait=0)
    floor.pass_time(20)
    agent.ack(answer.id)
    assert floor.look(answer.id).status is Status.DELIVERED


# -- the queue


def test_what_expires_leaves_the_queue_by_itself() -> None:
    floor = Floor()
    answers = [floor.post(ttl=ttl) for ttl in (5.0, 500.0, 6.0)]
    floor.pass_time(8)
    assert floor.queued() == [answers[1].id]
    assert floor.ended() == {answers[index].id: ("expired", "expired") for index in (0, 2)}
    assert floor.now(floor.hub.agent("desk-1")).queued == 1


def test_what_expires_leaves_in_slices() -> None:
    floor = Floor(overdue_count=10)
    for _ in range(25):
        floor.post(ttl=5.0)
    floor.pass_time(5)
    left = len(floor.queued())
    floor.pass_time(1)
    assert left - len(floor.queued()) == 10
    floor.pass_time(3)
    assert floor.queued() == []


def test_the_sweep_leaves_alone_what_is_in_flight() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=1)
    first, second = floor.post(ttl=5.0, wait=0), floor.post(ttl=5.0, wait=0)
    floor.pass_time(8)
    assert floor.queued() == [first.id]
    agent.ack(first.id)
    assert isinstance(floor.find(second.id), Past)
    assert agent.messages() == [1]


def test_a_sweep_that_the_store_refuses_comes_again() -> None:
    floor = Floor()
    floor.post(ttl=5.0)
    floor.store_fails(reads=True)
    floor.pass_time(10)
    floor.store.heal()
    floor.pass_time(2)
    assert floor.queued() == []
