"""A drain waits for the ACK of what somebody reads the answer to, and for nothing else (protocol 2.3 'Draining')."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from relay.core.model import Form, Outcome, Submission
from tests.hub.support import Agent, Floor


def begin(floor: Floor, **fields: Any) -> Deferred[Outcome]:
    """A POST that waits long for its ACK, and whose publisher may hang up."""
    answer: Deferred[Outcome] = floor.hub.submit(
        Submission("desk-1", b"1", "application/json", Form.JSON, 30.0, **fields)
    )
    return answer


def hang_up(answer: Deferred[Outcome]) -> None:
    answer.cancel()
    answer.addErrback(lambda failure: failure.trap(CancelledError))


def sent_away(agent: Agent) -> bool:
    agent.floor.clock.advance(0)
    return agent.wire.closed is not None and agent.wire.closed[0] == 1001


def test_whose_publisher_hung_up_is_not_waited_for_and_is_kept() -> None:
    floor = Floor()
    agent = floor.agent().register()
    hang_up(begin(floor))
    (id,) = agent.ids()
    assert floor.queued() == []
    floor.hub.drain()
    assert sent_away(agent)
    assert floor.queued() == [id]


def test_who_hangs_up_during_a_drain_ends_it() -> None:
    floor = Floor()
    agent = floor.agent().register()
    first, second = begin(floor), begin(floor)
    floor.hub.drain()
    hang_up(first)
    assert not sent_away(agent)
    hang_up(second)
    assert sent_away(agent)
    assert floor.queued() == agent.ids()


def test_a_drain_is_not_over_before_what_nobody_reads_is_durable() -> None:
    floor = Floor()
    agent = floor.agent().register()
    hang_up(begin(floor))
    floor.store.hold()
    floor.hub.drain()
    assert not sent_away(agent)
    floor.store.release()
    assert sent_away(agent)
    assert floor.queued() == agent.ids()


def test_a_repeat_that_is_still_read_is_waited_for() -> None:
    floor = Floor()
    agent = floor.agent().register()
    first, repeat = begin(floor, key="k"), floor.post(1, wait=30, key="k")
    hang_up(first)
    floor.hub.drain()
    assert not sent_away(agent)
    agent.ack(*agent.ids())
    assert repeat.said == "delivered"
    assert sent_away(agent)


def test_a_repeat_that_hangs_up_too_is_not_waited_for() -> None:
    floor = Floor()
    agent = floor.agent().register()
    first, repeat = begin(floor, key="k"), begin(floor, key="k")
    hang_up(first)
    floor.hub.drain()
    hang_up(repeat)
    assert sent_away(agent)
    assert floor.queued() == agent.ids()


def test_an_end_that_is_being_recorded_is_waited_for_though_nobody_reads_of_it() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = begin(floor, key="k")
    floor.store.hold()
    agent.ack(*agent.ids())
    hang_up(answer)
    floor.hub.drain()
    assert not sent_away(agent)
    floor.store.release()
    assert sent_away(agent)
    assert floor.queued() == []


def test_without_a_drain_hanging_up_undoes_nothing() -> None:
    floor = Floor()
    agent = floor.agent().register()
    hang_up(begin(floor))
    (id,) = agent.ids()
    floor.pass_time(29)
    assert floor.queued() == []
    floor.pass_time(2)
    assert floor.queued() == [id]
    agent.ack(id)
    assert floor.queued() == []


def test_who_leaves_with_publications_undecided_holds_up_no_drain() -> None:
    floor = Floor()
    desk, publisher = floor.agent().register(), floor.agent()
    publisher.say("register")
    line = b'{"type":"publish","agent":"desk-1","payload":"x","ref":"r","wait":30}'
    publisher.conversation.received(line)
    publisher.conversation.received(line, line)
    floor.hub.drain()
    publisher.leave()
    assert sent_away(desk)
    assert floor.queued() == desk.ids()


def test_what_was_saved_when_the_drain_began_and_is_now_or_never_does_not_wait() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.store.hold()
    answer = floor.post(wait=30, ttl=0, key="k")
    floor.hub.drain()
    floor.store.release()
    assert answer.said == "undeliverable"
    assert sent_away(agent)


def test_the_last_who_waits_is_answered_before_the_agents_are_sent_away() -> None:
    """What is in flight may end with its session: then that is what would have to be said."""
    floor = Floor()
    agent = floor.agent().register()
    order: list[bool] = []
    begin(floor).addBoth(lambda _: order.append(agent.wire.closed is None))
    floor.hub.drain()
    agent.ack(*agent.ids())
    assert order == [True]
    assert sent_away(agent)
