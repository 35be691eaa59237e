"""First sends are in the order of acceptance, direct and queued alike, also while a group commit is under way."""

from __future__ import annotations

from tests.hub.support import Floor


def test_a_message_on_its_way_into_the_store_is_sent_before_the_next_one() -> None:
    floor = Floor()
    floor.store.hold()
    first = floor.post()
    agent = floor.agent().register()
    second = floor.post()
    assert agent.messages() == []
    assert (first.said, second.said) == ("waiting", "waiting")
    floor.store.release()
    assert agent.messages() == [1, 2]
    agent.ack(*[frame["id"] for frame in agent.wire.frames[1:]])
    assert second.said == "delivered"


def test_what_waits_for_its_first_send_is_not_overtaken() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=1)
    for _ in range(5):
        floor.post(wait=0)
    agent.say("window", max_in_flight=100)
    floor.post(wait=0)
    assert agent.messages() == [1, 2, 3, 4, 5, 6]


def test_a_window_of_nothing_stops_what_is_new() -> None:
    floor = Floor()
    agent = floor.agent().register()
    agent.say("window", max_in_flight=0)
    assert floor.post(wait=0).said == "queued:window"
    assert agent.messages() == []
    agent.say("window", max_in_flight=1)
    assert agent.messages() == [1]


def test_a_long_queue_is_read_back_in_order_while_more_arrives() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=1)
    for _ in range(450):
        floor.post(wait=0)
    got: list[int] = []
    while frames := agent.heard("message"):
        for frame in frames:
            got.append(frame["payload"])
            if len(got) < 100:
                floor.post(wait=0)
            agent.ack(frame["id"])
    assert got == list(range(1, 450 + 99 + 1))


def test_an_unacknowledged_message_comes_first_in_the_next_session() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=1)
    floor.post(wait=0)
    floor.post(wait=0)
    agent.leave()
    agent = floor.agent().register(max_in_flight=1)
    assert agent.messages() == [1]
    agent.ack(agent.wire.frames[-1]["id"])
    assert agent.messages() == [2]


def test_a_session_that_begins_while_the_last_one_is_being_saved_starts_with_what_that_left() -> None:
    floor = Floor()
    agent = floor.agent().register()
    for _ in range(3):
        floor.post(wait=30)
    floor.store.hold()
    agent.leave()
    agent = floor.agent().register()
    floor.post(wait=30)
    assert agent.messages() == []
    floor.store.release()
    assert agent.messages() == [1, 2, 3, 4]


def test_a_message_that_rests_does_not_hold_up_a_direct_one() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.post()
    agent.say("nack", id=agent.ids()[0], delay=100)
    floor.post()
    (message,) = agent.heard("message")
    assert (message["payload"], message["queued"]) == (2, False)


def test_a_late_ack_of_what_only_the_disk_has_counts() -> None:
    floor = Floor()
    agent = floor.agent().register()
    for _ in range(3):
        floor.post(wait=0)
    _one, two, _three = agent.ids()
    agent.leave()
    agent = floor.agent().register(max_in_flight=1)
    agent.ack(two)
    agent.ack(agent.ids()[0])
    assert agent.messages() == [3]


def test_nothing_of_one_agent_reaches_another() -> None:
    floor = Floor()
    one, two = floor.agent().register("one"), floor.agent().register("two")
    answer = floor.post(agent="one")
    (id,) = one.ids()
    assert two.messages() == []
    two.ack(id)
    two.say("nack", id=id, requeue=False)
    assert answer.said == "waiting"
    one.ack(id)
    assert answer.said == "delivered"


def test_a_slow_agent_takes_what_fits_its_buffer_and_the_rest_when_it_reads() -> None:
    floor = Floor()
    agent = floor.agent().register()
    agent.wire.stalled = True
    for _ in range(10):
        floor.post("x" * 300_000, wait=0)
    assert len(agent.messages()) == 3
    assert floor.post("y" * 900_000, wait=0).said == "queued:slow"
    agent.wire.stalled = False
    agent.wire.take()
    assert len(agent.messages()) == 8


def test_one_message_of_any_size_may_always_leave() -> None:
    floor = Floor()
    agent = floor.agent().register()
    agent.wire.stalled = True
    assert floor.post("x" * 1_500_000, wait=0).said == "queued:sent"
    assert len(agent.messages()) == 1


def test_past_the_bound_of_all_buffers_the_fullest_wait_first() -> None:
    floor = Floor(total_buffer=1_000_000)
    agents = [floor.agent().register(f"a{number}") for number in range(4)]
    for agent in agents:
        agent.wire.stalled = True
    for _ in range(5):
        for number in range(4):
            floor.post("x" * 100_000, agent=f"a{number}", wait=0)
    assert max(agent.wire.waiting for agent in agents) < 500_000
    idle = floor.agent().register("idle")
    floor.post("z", agent="idle", wait=0)
    assert idle.messages() == ["z"]
