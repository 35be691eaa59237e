"""What an agent may do, and how often: each limit of a session, its answer and its counter."""

from __future__ import annotations

import pytest

from relay.core.problems import Problem
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
