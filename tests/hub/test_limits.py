"""What an agent may do, and how often: each limit of a session, its answer and its counter."""

from __future__ import annotations

import pytest

from relay.core.problems import Problem
from relay.hub.directory import Directory
from tests.hub.support import Agent, Floor


def reached(floor: Floor, limit: str) -> int:
    return floor.hub.counters.table()[limit]


def test_an_agent_sends_so_many_frames_and_one_more_has_no_effect() -> None:
    floor = Floor(frames=5)
    agent = Agent(floor).register()
    for number in range(6):
        agent.say("ping", ref=str(number))
    told = agent.heard()
    assert [frame["ref"] for frame in told if frame["type"] == "pong"] == ["0", "1", "2", "3"]
    assert [frame["code"] for frame in told if frame["type"] == "error"] == ["rate-limited"] * 2
    assert reached(floor, "frames") == 2
    floor.clock.advance(1)
    agent.say("ping", ref="later")
    assert [frame["type"] for frame in agent.heard()] == ["pong"]


def test_an_agent_that_floods_is_closed_by_the_rule_of_errors() -> None:
    floor = Floor(frames=5, errors=10)
    agent = Agent(floor).register()
    for _ in range(30):
        agent.say("ping")
    assert agent.wire.closed == (4004, "too-many-errors")
    assert reached(floor, "errors") == 1


def test_by_default_frames_are_not_counted() -> None:
    floor = Floor()
    agent = Agent(floor).register()
    for _ in range(5000):
        agent.say("ping")
    assert len(agent.heard("pong")) == 5000


def test_only_so_many_connections_may_hold_no_agent() -> None:
    floor = Floor(unregistered=2)
    first, _second = Agent(floor), Agent(floor)
    with pytest.raises(Problem, match="overloaded") as refusal:
        floor.hub.admit_agent()
    assert refusal.value.retry_after is not None
    assert refusal.value.limit == "unregistered"
    first.register()
    floor.hub.admit_agent()


def test_who_does_not_register_in_time_is_counted() -> None:
    floor = Floor()
    agent = Agent(floor)
    floor.clock.advance(10)
    assert agent.wire.closed == (4002, "register-late")
    assert reached(floor, "register_seconds") == 1


def test_registrations_past_their_rate_are_counted() -> None:
    floor = Floor(registrations=2)
    agents = [Agent(floor).register(f"desk-{number}") for number in range(3)]
    assert [agent.wire.closed and agent.wire.closed[0] for agent in agents] == [None, None, 4013]
    assert reached(floor, "registrations") == 1


def test_a_newcomer_may_say_only_so_much_while_its_holder_is_asked() -> None:
    floor = Floor(kept_frames=3)
    Agent(floor).register()
    newcomer = Agent(floor).register()
    for _ in range(4):
        newcomer.say("ping")
    assert newcomer.wire.closed == (4004, "too-many-frames")
    assert reached(floor, "kept_frames") == 1


def test_the_queues_of_all_agents_together_are_bounded() -> None:
    few = Floor(total_count=2, queue_count=2)
    assert [few.post(agent=f"desk-{number}", wait=0).said for number in range(3)] == ["queued:away"] * 2 + [
        "queue-full"
    ]
    assert reached_by(few) == "total_count"
    small = Floor(total_bytes=10, queue_bytes=10)
    assert small.post(b'"123456"', wait=0).said == "queued:away"
    assert small.post(b'"123456"', agent="desk-2", wait=0).said == "queue-full"
    assert reached_by(small) == "total_bytes"


def reached_by(floor: Floor) -> str | None:
    """The limit that a further POST is refused for."""
    problem = floor.post(b'"1234567"', agent="other", wait=0).problem
    assert problem is not None
    return problem.limit


def test_what_an_agent_asks_for_is_clamped() -> None:
    floor = Floor(max_in_flight=20, default_in_flight=10, ack_wait=7, ack_wait_max=60)
    plain = Agent(floor).register("plain").heard("registered")[0]
    assert (plain["max_in_flight"], plain["ack_wait"]) == (10, 7)
    greedy = Agent(floor).register("greedy", max_in_flight=10_000, ack_wait=3600).heard("registered")[0]
    assert (greedy["max_in_flight"], greedy["ack_wait"]) == (20, 60)


def test_agents_that_went_are_remembered_up_to_a_number() -> None:
    directory = Directory(2)
    for number in range(5):
        directory.seen(f"desk-{number}", float(number))
    assert directory.after("", "") == ["desk-0", "desk-1"]


def test_a_batch_of_messages_is_bounded_in_number_and_bytes() -> None:
    floor = Floor(batch_count=3, batch_bytes=10_000)
    for _ in range(5):
        floor.post(1, wait=0)
    for _ in range(4):
        floor.post("x" * 4000, wait=0)
    agent = Agent(floor).register(batch=True)
    floor.clock.advance(0)
    assert [len(batch) for batch in agent.batches()] == [3, 3, 2, 1]


def test_of_the_reason_of_a_nack_so_much_is_kept() -> None:
    floor = Floor(reason=10)
    agent = Agent(floor).register()
    answers = [floor.post(), floor.post(), floor.post()]
    short, long, again = agent.ids()
    agent.say("nack", id=short, requeue=False, reason="x" * 10)
    assert reached(floor, "reason") == 0
    agent.say("nack", id=long, requeue=False, reason="é" * 11)
    agent.say("nack", id=again, delay=9, reason="x" * 1_000_000)
    assert reached(floor, "reason") == 2
    assert [answer.said for answer in answers] == ["rejected", "rejected", "queued:nacked"]
    told = [answer.problem.detail for answer in answers if answer.problem is not None]
    assert told == ["x" * 10, "é" * 10]
    assert [event.detail for event in floor.look(again).timeline if event.event == "nacked"] == ["x" * 10]
