"""Redelivery, its limit and its blame (protocol 2.3)."""

from __future__ import annotations

from tests.hub.support import Agent, Floor, Wire

DAY = 86400.0


def test_redeliveries_are_further_apart_each_time() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=10)
    floor.post(wait=0)
    assert agent.messages() == [1]
    for pause in (10, 20, 40, 80):
        floor.pass_time(pause - 1)
        agent.conversation.heard()
        assert agent.messages() == []
        floor.pass_time(1)
        assert agent.messages() == [1]


def test_a_redelivery_counts_its_attempts() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=10)
    floor.post(wait=0)
    floor.pass_time(30)
    assert [(frame["attempt"], frame["queued"]) for frame in agent.heard("message")] == [
        (1, False),
        (2, True),
        (3, True),
    ]


def test_after_a_nack_the_pauses_begin_anew() -> None:
    """A nack is no silence: the agent had the message in its hands."""
    floor = Floor()
    agent = floor.agent().register(ack_wait=10)
    floor.post(wait=0)
    floor.pass_time(30)
    agent.say("nack", id=agent.ids()[0], delay=0)
    assert agent.messages() == [1]
    floor.pass_time(9)
    assert agent.messages() == []
    floor.pass_time(1)
    assert agent.messages() == [1]


def test_an_agent_may_ask_for_no_redelivery_in_its_session() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=0)
    floor.post(wait=0)
    agent.messages()
    for _ in range(100):
        floor.pass_time(20)
        agent.conversation.heard()
    assert agent.messages() == []


def test_nothing_is_sent_again_while_a_post_waits_for_it() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=2)
    floor.post(wait=20)
    agent.messages()
    floor.pass_time(19)
    assert agent.messages() == []
    floor.pass_time(1)
    assert agent.messages() == [1]


def test_what_a_post_waited_for_in_vain_is_sent_again_by_the_clock_that_began_when_it_was_sent() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=10)
    answers = [floor.post(wait=wait) for wait in (4, 7, 2.5)]
    assert agent.messages() == [1, 2, 3]
    floor.pass_time(9, step=0.5)
    assert [answer.said for answer in answers] == ["queued:silent"] * 3
    agent.conversation.heard()
    assert agent.messages() == []
    floor.pass_time(1, step=0.5)
    assert sorted(agent.messages()) == [1, 2, 3]


def test_a_turn_that_was_late_makes_a_redelivery_a_tenth_of_a_second_later_at_most() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=10)
    floor.post(wait=4)
    agent.messages()
    floor.clock.advance(4.0123)  # all at once: the wait is found to be over too late
    agent.conversation.heard()
    floor.clock.advance(5.98)
    assert agent.messages() == []
    floor.clock.advance(0.1)
    assert agent.messages() == [1]


def test_a_clock_that_stood_still_while_a_post_waited_stood_still_for_its_message() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=10)
    floor.post(wait=5)
    agent.wire.stalled, agent.wire.waiting = True, 10
    floor.post(wait=0)
    floor.pass_time(3)
    agent.wire.stalled = False
    agent.wire.take()
    floor.pass_time(7)
    agent.conversation.heard()
    assert agent.messages() == [1, 2]
    floor.pass_time(4)
    assert sorted(agent.messages()) == [1, 2]


def test_progress_starts_the_clock_afresh() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=10)
    floor.post(wait=0)
    (id,) = agent.ids()
    for _ in range(5):
        floor.pass_time(9)
        agent.say("progress", id=id)
    assert agent.messages() == []
    floor.pass_time(10)
    assert agent.messages() == [1]


def test_progress_counts_although_the_message_is_being_read_to_be_sent_again() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=10)
    answer = floor.post(wait=0)
    floor.store.hold(writes=False, reads=True)
    floor.pass_time(11)
    agent.say("progress", ids=[answer.id])
    floor.store.release()
    floor.pass_time(9)
    assert agent.messages() == [1]
    floor.pass_time(1)
    assert agent.messages() == [1]


def test_what_was_refused_and_sent_while_it_was_being_read_is_not_sent_twice() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=10)
    answer = floor.post(wait=0)
    floor.store.hold(writes=False, reads=True)
    floor.pass_time(11)
    agent.say("nack", id=answer.id, delay=0)
    floor.store.release()
    assert agent.messages() == [1, 1]


def test_the_clock_stands_still_while_bytes_have_not_left() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=10)
    agent.wire.stalled = True
    floor.post("x" * 1000, wait=0)
    for _ in range(25):
        floor.pass_time(1)
        agent.wire.take(10)
    assert len(agent.messages()) == 1
    agent.wire.stalled = False
    agent.wire.take()
    floor.pass_time(8)
    assert agent.messages() == []
    floor.pass_time(4)
    assert len(agent.messages()) == 1


def test_a_redelivery_uses_the_place_that_it_has() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=10, max_in_flight=1)
    floor.post(wait=0)
    floor.post(wait=0)
    floor.pass_time(10)
    assert agent.messages() == [1, 1]


def test_a_message_is_dead_after_16_failures_and_at_the_earliest_a_day() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=600)
    floor.post(wait=0)
    (id,) = agent.ids()
    sends = 1
    for _ in range(int(DAY / 30) + 60):
        floor.pass_time(30, step=30)
        agent.conversation.heard()
        sends += len(agent.ids())
    assert sends == 145
    assert floor.ended()[id] == ("dead", "attempts")
    agent.leave()
    assert floor.agent().register().messages() == []


def test_what_could_not_be_sent_again_has_failed_only_once() -> None:
    """An agent that polls works for long before it asks for more: nothing can be sent to it meanwhile."""
    floor = Floor(redeliveries=2, redelivery_age=0)
    agent = Agent(floor, Wire(kind="poll", holds=False)).register(ack_wait=3)
    floor.post(wait=0)
    agent.wire.taking = False
    floor.pass_time(30)
    assert floor.ended() == {}
    agent.wire.taking = True
    floor.pass_time(3)
    assert agent.messages() == [1, 1]
    floor.pass_time(6)
    assert list(floor.ended().values()) == [("dead", "attempts")]


def test_a_message_that_breaks_its_session_alone_waits_and_lets_others_go_first() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=1)
    floor.post(wait=0)
    floor.post(wait=0)
    agent.crash()
    agent = floor.agent().register(max_in_flight=1)
    assert agent.messages() == [2]


def test_a_message_whose_time_has_come_waits_for_room_without_a_timer() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=1, ack_wait=0)
    floor.post(wait=0)
    agent.say("nack", id=agent.ids()[0], delay=5)
    floor.post(wait=0)
    (id,) = agent.ids()
    floor.pass_time(10)
    assert len(floor.clock.getDelayedCalls()) == 1  # the heartbeat
    agent.ack(id)
    assert agent.messages() == [1]


def test_an_orderly_end_blames_nobody() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=1)
    floor.post(wait=0)
    agent.leave(1001)
    assert floor.agent().register().messages() == [1]


def test_after_three_breaks_with_several_in_flight_the_window_starts_at_one_and_doubles() -> None:
    floor = Floor()
    for _ in range(20):
        floor.post(wait=0)
    for _ in range(3):
        agent = floor.agent().register()
        assert len(agent.messages()) == 20
        agent.crash()
    agent = floor.agent().register()
    sizes = []
    while ids := agent.ids():
        sizes.append(len(ids))
        agent.ack(ids[0])
        if len(ids) > 1:
            agent.ack(*ids[1:])
    assert sizes[:3] == [1, 2, 8]


def test_only_the_poisonous_message_ends_dead() -> None:
    floor = Floor(redelivery_age=600)
    poison = 7
    for _ in range(12):
        floor.post(wait=0)
    processed: set[int] = set()
    for _ in range(2000):
        agent = floor.agent().register()
        if _work(agent, poison, processed):
            agent.crash()
        else:
            agent.leave()
        floor.pass_time(20, step=20)
        if not floor.queued():
            break
    assert processed == set(range(1, 13)) - {poison}
    assert list(floor.ended().values()) == [("dead", "attempts")]


def _work(agent: Agent, poison: int, processed: set[int]) -> bool:
    """Acknowledge message by message; True when the poison was met."""
    while frames := agent.heard("message"):
        if any(frame["payload"] == poison for frame in frames):
            first = frames[0]
            if first["payload"] != poison:
                processed.add(first["payload"])
                agent.ack(first["id"])
            return True
        for frame in frames:
            processed.add(frame["payload"])
            agent.ack(frame["id"])
    return False


def test_an_agent_that_was_closed_for_its_errors_broke_its_session() -> None:
    floor = Floor(errors=2)
    agent = floor.agent().register(max_in_flight=1)
    floor.post(wait=0)
    floor.post(wait=0)
    for _ in range(3):
        agent.say("dance")
    assert agent.wire.closed == (4004, "too-many-errors")
    assert floor.agent().register(max_in_flight=1).messages() == [2]


def test_a_session_that_the_relay_closed_for_no_fault_of_its_agent_blames_nobody() -> None:
    floor = Floor()
    floor.agent().register(max_in_flight=1)
    floor.post(wait=0)
    floor.post(wait=0)
    assert floor.hub.disconnect("desk-1")
    assert floor.agent().register(max_in_flight=1).messages() == [1]


def test_the_timeout_of_a_post_frees_no_place_in_the_window() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=1)
    assert agent.messages() == []
    first, second = floor.post(wait=2), floor.post(wait=5)
    floor.pass_time(5)
    assert (first.said, second.said) == ("queued:silent", "queued:window")
    (id,) = agent.ids()
    agent.ack(id)
    assert agent.messages() == [2]


def test_with_a_window_of_one_an_agent_gets_its_messages_one_by_one_in_order() -> None:
    floor = Floor()
    for _ in range(3):
        floor.post(wait=0)
    agent = floor.agent().register(max_in_flight=1, ack_wait=10)
    floor.pass_time(11)
    assert agent.messages() == [1, 1]
    agent.leave()
    agent = floor.agent().register(max_in_flight=1, ack_wait=10)
    got = []
    for _ in range(3):
        (message,) = agent.heard("message")
        got.append(message["payload"])
        agent.ack(message["id"])
    assert got == [1, 2, 3]
