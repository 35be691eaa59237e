"""Lines that came together for agents that are here: sent together, waited for by one timer, each told its own end."""

from __future__ import annotations

from typing import Any

from relay.core.model import Form, Outcome, Reason, Submission
from relay.core.problems import Problem
from tests.hub.support import Agent, Floor


def lines(*agents: str, **fields: Any) -> list[Submission]:
    """One line for each of these, its number being its payload."""
    wait = fields.pop("wait", 5.0)
    return [
        Submission(agent, b"%d" % number, "application/json", Form.JSON, wait, **fields)
        for number, agent in enumerate(agents)
    ]


def submit(floor: Floor, *submissions: Submission) -> dict[int, Outcome | Problem]:
    """What each line is told, by its index, when it is told."""
    told: dict[int, Outcome | Problem] = {}
    floor.hub.submit_all(submissions, told.update)
    return told


def said(told: dict[int, Outcome | Problem]) -> dict[int, str]:
    """The same in words."""
    return {
        index: became.word if isinstance(became, Problem) else ":".join(filter(None, [became.status, became.reason]))
        for index, became in sorted(told.items())
    }


def ids(agent: Agent) -> list[str]:
    """Of the messages that came since the last call, be they in frames of their own or together."""
    frames = [frame for frame in agent.heard() if frame["type"] in ("message", "messages")]
    return [item["id"] for frame in frames for item in frame.get("messages", [frame])]


def test_lines_for_one_that_takes_many_leave_in_one_frame_in_their_order_and_are_delivered() -> None:
    floor = Floor()
    agent = floor.agent().register(batch=True)
    told = submit(floor, *lines("desk-1", "desk-1", "desk-1"))
    assert agent.batches() == [[0, 1, 2]]
    assert told == {}
    agent.read = 1  # the same again, for their ids
    agent.ack(*ids(agent))
    assert said(told) == {0: "delivered", 1: "delivered", 2: "delivered"}
    assert floor.queued() == []


def test_each_line_is_told_when_its_own_ack_comes() -> None:
    floor = Floor()
    agent = floor.agent().register(batch=True)
    told = submit(floor, *lines("desk-1", "desk-1", "desk-1"))
    first, second, third = ids(agent)
    agent.say("ack", id=second, reply={"a": 1})
    assert said(told) == {1: "delivered"}
    assert isinstance(told[1], Outcome) and told[1].reply == b'{"a": 1}'
    agent.say("nack", id=third, requeue=False, reason="no")
    agent.ack(first)
    assert said(told) == {0: "delivered", 1: "delivered", 2: "rejected"}


def test_lines_wait_by_one_timer_and_those_without_an_ack_are_queued() -> None:
    floor = Floor()
    agent = floor.agent().register(batch=True)
    timers = len(floor.clock.getDelayedCalls())
    told = submit(floor, *lines(*["desk-1"] * 50))
    assert len(floor.clock.getDelayedCalls()) <= timers + 2  # their timeout, and the next redelivery
    agent.ack(*ids(agent)[:20])
    floor.pass_time(5)
    assert [*said(told).values()] == ["delivered"] * 20 + ["queued:silent"] * 30
    assert len(floor.queued()) == 30


def test_what_an_agent_left_unacknowledged_is_queued_when_it_goes() -> None:
    floor = Floor()
    agent = floor.agent().register(batch=True)
    told = submit(floor, *lines("desk-1", "desk-1"))
    agent.crash()
    assert said(told) == {0: "queued:lost", 1: "queued:lost"}
    again = floor.agent().register()
    assert again.messages() == [0, 1]


def test_no_more_are_sent_than_the_window_has_room_for_and_the_order_is_kept() -> None:
    floor = Floor()
    agent = floor.agent().register(batch=True, max_in_flight=2)
    told = submit(floor, *lines(*["desk-1"] * 5))
    sent = ids(agent)
    assert len(sent) == 2
    while sent:
        agent.ack(*sent)
        sent = ids(agent)
    floor.pass_time(5)
    assert set(said(told)) == {0, 1, 2, 3, 4}
    agent.read = 0
    assert [payload for batch in agent.batches() for payload in batch] == [0, 1, 2, 3, 4]


def test_a_line_that_asks_for_more_goes_behind_the_plain_ones_before_it_and_before_those_after_it() -> None:
    floor = Floor()
    agent = floor.agent().register(batch=True)
    plain, keyed, last = lines("desk-1", "desk-1", "desk-1")
    submit(floor, plain, Submission(keyed.agent, b"1", "application/json", Form.JSON, 5.0, key="k"), last)
    assert [payload for batch in agent.batches() for payload in batch] == [0, 1, 2]


def test_one_that_takes_one_at_a_time_gets_each_in_its_order_whatever_is_asked_of_them() -> None:
    floor = Floor()
    agent = floor.agent().register()
    topical = Submission("desk-1", b"1", "application/json", Form.JSON, 5.0, topic="t")
    plain = lines("desk-1", "desk-1", "desk-1")
    submit(floor, plain[0], topical, plain[2])
    assert agent.batches() == [[0], [1], [2]]


def test_lines_for_those_who_are_here_and_those_who_are_not_are_each_told_their_own() -> None:
    floor = Floor()
    here = floor.agent().register(batch=True)
    single = floor.agent().register("desk-2")
    told = submit(floor, *lines("desk-1", "desk-3", "desk-2", "desk-1", "desk-3"))
    here.ack(*ids(here))
    single.ack(*ids(single))
    assert said(told) == {
        0: "delivered",
        1: "queued:away",
        2: "delivered",
        3: "delivered",
        4: "queued:away",
    }


def test_limits_are_asked_of_lines_that_are_sent_together() -> None:
    floor = Floor(queue_count=3)
    agent = floor.agent().register(batch=True)
    told = submit(floor, *lines(*["desk-1"] * 5))
    assert said(told) == {3: "queue-full", 4: "queue-full"}
    agent.ack(*ids(agent))
    assert [*said(told).values()] == ["delivered"] * 3 + ["queue-full"] * 2


def test_who_hangs_up_changes_nothing_and_a_drain_does_not_wait_for_those() -> None:
    floor = Floor()
    agent = floor.agent().register(batch=True)
    told: dict[int, Outcome | Problem] = {}
    hang_up = floor.hub.submit_all(lines("desk-1", "desk-1"), told.update)
    hang_up()
    floor.hub.drain()
    assert said(told) == {0: "queued:draining", 1: "queued:draining"}
    assert len(floor.queued()) == 2
    agent.leave()


def test_an_agent_that_is_mute_is_waited_for_no_longer() -> None:
    floor = Floor(silent_count=3, silent_seconds=2.0)
    floor.agent().register(batch=True)
    told = submit(floor, *lines(*["desk-1"] * 4, wait=60.0))
    floor.pass_time(3)
    assert [*said(told).values()] == ["queued:silent"] * 4


def test_events_and_histories_of_lines_are_those_of_any_message() -> None:
    floor = Floor()
    agent = floor.agent().register(batch=True)
    heard: list[Any] = []
    floor.hub.notices.subscribe(heard.append)
    submit(floor, *lines("desk-1", "desk-1"))
    first, second = ids(agent)
    agent.ack(first, second)
    steps = ["accepted", "sent", "delivered"]
    assert [event.event for event in floor.look(first).timeline] == steps
    assert [notice.event for notice in heard if notice.fields.get("id") == second] == [f"message.{s}" for s in steps]
    assert Reason.SILENT not in [notice.fields.get("reason") for notice in heard]


def test_many_lines_for_one_leave_in_as_many_frames_as_they_need_and_in_their_order() -> None:
    floor = Floor(batch_count=10)
    agent = floor.agent().register(batch=True)
    told = submit(floor, *lines(*["desk-1"] * 25))
    batches = agent.batches()
    assert [len(batch) for batch in batches] == [10, 10, 5]
    assert [payload for batch in batches for payload in batch] == list(range(25))
    agent.read = 1
    agent.ack(*ids(agent))
    assert [*said(told).values()] == ["delivered"] * 25


def test_lines_that_are_delivered_together_are_told_in_one_call() -> None:
    floor = Floor()
    agent = floor.agent().register(batch=True)
    calls: list[list[int]] = []
    floor.hub.submit_all(lines("desk-1", "desk-1", "desk-1"), lambda told: calls.append([index for index, _ in told]))
    first, second, third = ids(agent)
    agent.ack(third, first)
    agent.ack(second)
    assert calls == [[2, 0], [1]]


def test_none_is_larger_in_its_frame_than_its_agent_takes_whatever_becomes_of_its_payload_there() -> None:
    floor = Floor()
    agent = floor.agent().register(batch=True, raw=True, max_frame=65536)
    (small,) = lines("desk-1")
    large = Submission("desk-1", b'"' + b"x" * 60_000 + b'"', "application/json", Form.JSON, 5.0)
    text = Submission("desk-2", b"\x01" * 20_000, "text/plain", Form.TEXT, 5.0)
    other = floor.agent().register("desk-2", batch=True, max_frame=65536)
    told = submit(floor, small, large, text, small)
    for each in (agent, other):
        assert max(each.wire.sizes) <= 65536
    agent.ack(*ids(agent))
    assert said(told) == {0: "delivered", 1: "rejected", 2: "rejected", 3: "delivered"}


def test_nothing_is_kept_in_mind_of_lines_that_were_due_again_before_they_were_acknowledged() -> None:
    floor = Floor()
    agent = floor.agent().register(batch=True, ack_wait=1)
    told = submit(floor, *lines("desk-1", "desk-1", wait=30.0))
    floor.pass_time(5)
    agent.ack(*ids(agent))
    assert said(told) == {0: "delivered", 1: "delivered"}
    outlet = floor.hub._couriers.of("desk-1").outlet
    assert outlet is not None and not outlet.redelivery.held
