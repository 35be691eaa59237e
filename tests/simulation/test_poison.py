"""A message that breaks its agent each time is found among innocent ones, and only that one goes (protocol 2.3)."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from tests.hub.support import Agent, Floor

ROUNDS = 3000


def work(agent: Agent, poison: set[int], done: list[int]) -> bool:
    """Take message after message and acknowledge each, as far as the first that breaks it. Did one?"""
    while frames := [item for frame in agent.heard() for item in frame.get("messages", [frame]) if "payload" in item]:
        for frame in frames:
            if frame["payload"] in poison:
                return True
            done.append(frame["payload"])
            agent.ack(frame["id"])
    return False


@given(
    count=st.integers(1, 12),
    poison=st.sets(st.integers(1, 12), min_size=1, max_size=2),
    window=st.sampled_from([1, 2, 5, 1000]),
    batch=st.booleans(),
    pause=st.sampled_from([2.0, 20.0]),
)
@example(count=12, poison={7}, window=1000, batch=True, pause=20.0)
def test_only_what_breaks_its_agent_ends_dead(
    count: int, poison: set[int], window: int, batch: bool, pause: float
) -> None:
    floor = Floor(redeliveries=4, redelivery_age=100)
    answers = [floor.post(wait=0) for _ in range(count)]
    done: list[int] = []
    for _ in range(ROUNDS):
        if not floor.queued():
            break
        agent = floor.agent().register(max_in_flight=window, batch=batch)
        if work(agent, poison, done):
            agent.crash()
        else:
            agent.leave()
        floor.pass_time(pause, step=pause)
    guilty = {number for number in poison if number <= count}
    assert sorted(done) == [number for number in range(1, count + 1) if number not in guilty]
    assert floor.ended() == {answers[number - 1].id: ("dead", "attempts") for number in guilty}
