"""One POST, one honest answer (protocol 1.1 'What happens')."""

from __future__ import annotations

import pytest

from tests.hub.support import Floor


def test_a_message_for_an_agent_that_is_away_is_queued() -> None:
    assert Floor().post().said == "queued:away"


def test_a_message_is_delivered_when_its_agent_acknowledges_it() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post("hello")
    (message,) = agent.heard("message")
    assert (message["payload"], message["queued"], message["attempt"]) == ("hello", False, 1)
    assert answer.said == "waiting"
    agent.ack(message["id"])
    assert answer.said == "delivered"
    assert answer.outcome is not None
    assert (answer.outcome.id, answer.outcome.attempts) == (message["id"], 1)


def test_a_direct_message_that_is_acknowledged_never_touches_the_store() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.store_fails()
    answer = floor.post()
    agent.ack(*agent.ids())
    assert answer.said == "delivered"


def test_a_message_without_ack_is_queued_as_silent_and_not_sent_again_before_its_time() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post()
    floor.pass_time(5)
    assert answer.said == "queued:silent"
    assert len(agent.messages()) == 1
    floor.pass_time(24)
    assert agent.messages() == []
    floor.pass_time(2)
    assert agent.messages() == [1]


def test_a_late_ack_ends_what_was_queued() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.post()
    (id,) = agent.ids()
    floor.pass_time(10)
    agent.ack(id)
    floor.pass_time(600)
    assert agent.messages() == []
    agent.leave()
    assert floor.agent().register().messages() == []


def test_the_queue_comes_in_a_burst_in_order_when_the_agent_registers() -> None:
    floor = Floor()
    for _ in range(250):
        floor.post()
    agent = floor.agent().register()
    frames = agent.heard()
    assert frames[0]["type"] == "registered"
    assert frames[0]["queued"] == 250
    assert [frame["payload"] for frame in frames[1:]] == list(range(1, 251))
    assert all(frame["queued"] for frame in frames[1:])


def test_what_was_not_acknowledged_comes_again_in_the_next_session() -> None:
    floor = Floor()
    for _ in range(3):
        floor.post()
    agent = floor.agent().register()
    first, _second, _third = agent.ids()
    agent.ack(first)
    agent.leave()
    again = floor.agent().register().heard("message")
    assert [(frame["payload"], frame["attempt"]) for frame in again] == [(2, 2), (3, 2)]


def test_a_session_that_ends_in_mid_wait_leaves_the_message_queued_as_lost() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post()
    agent.leave()
    assert answer.said == "queued:lost"
    assert floor.agent().register().messages() == [1]


def test_a_message_behind_others_waits_for_its_ack_all_the_same() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=1)
    first, second = floor.post(), floor.post()
    assert agent.messages() == [1]
    agent.ack(agent.wire.frames[-1]["id"])
    assert first.said == "delivered"
    assert agent.messages() == [2]
    agent.ack(agent.wire.frames[-1]["id"])
    assert second.said == "delivered"


def test_a_full_window_is_the_reason_that_is_said() -> None:
    floor = Floor()
    floor.agent().register(max_in_flight=1)
    floor.post(wait=30)
    second = floor.post(wait=3)
    floor.pass_time(3)
    assert second.said == "queued:window"


@pytest.mark.parametrize(("respond_async", "said"), [(False, "queued:sent"), (True, "accepted:sent")])
def test_without_a_wait_it_is_sent_and_kept(respond_async: bool, said: str) -> None:
    floor = Floor()
    agent = floor.agent().register()
    assert floor.post(wait=0, respond_async=respond_async).said == said
    assert agent.messages() == [1]


def test_an_ack_that_is_read_before_the_answer_is_written_makes_it_delivered() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.store.hold()
    answer = floor.post(wait=0)
    agent.ack(*agent.ids())
    floor.store.release()
    assert answer.said == "delivered"
    agent.leave()
    assert floor.agent().register().messages() == []


def test_with_respond_async_a_wait_may_still_end_delivered() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(wait=5, respond_async=True)
    agent.ack(*agent.ids())
    assert answer.said == "delivered"


def test_a_nack_with_requeue_ends_the_wait_and_comes_again_after_its_delay() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post()
    agent.say("nack", id=agent.ids()[0], delay=7)
    assert answer.said == "queued:nacked"
    floor.pass_time(6)
    assert agent.messages() == []
    floor.pass_time(1)
    assert agent.messages() == [1]


def test_nacks_without_a_delay_wait_longer_each_time() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.post()
    for pause in (1, 2, 4, 8):
        agent.say("nack", id=agent.ids()[0])
        floor.pass_time(pause - 0.5, step=0.5)
        assert agent.read == len(agent.wire.frames)
        floor.pass_time(0.5, step=0.5)
        assert agent.read < len(agent.wire.frames)


def test_a_nack_without_requeue_is_a_rejection_with_the_agents_reason() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post()
    agent.say("nack", id=agent.ids()[0], requeue=False, reason="cannot read it")
    assert answer.said == "rejected"
    assert answer.problem is not None
    assert answer.problem.detail == "cannot read it"
    agent.leave()
    assert floor.agent().register().messages() == []


def test_a_silent_agent_is_pinged_at_once_and_not_waited_for_until_it_is_heard() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.post(wait=1)
    floor.pass_time(1)
    assert agent.wire.pings == 1
    assert floor.post(wait=30).said == "queued:silent"
    agent.conversation.heard()
    assert floor.post(wait=30).said == "waiting"


def test_a_message_larger_than_the_agent_takes_is_rejected_and_not_sent() -> None:
    floor = Floor()
    agent = floor.agent().register(max_frame=65536)
    answer = floor.post("x" * 65536)
    assert answer.said == "rejected"
    assert answer.problem is not None
    assert answer.problem.detail == "too-large-for-agent"
    assert agent.messages() == []
    floor.post("small")
    assert agent.messages() == ["small"]


def test_a_full_queue_refuses_the_next_message() -> None:
    floor = Floor(queue_count=2)
    assert [floor.post().said for _ in range(3)] == ["queued:away", "queued:away", "queue-full"]


def test_an_expired_message_is_never_sent() -> None:
    floor = Floor(ttl=60)
    floor.post()
    floor.pass_time(60)
    assert floor.agent().register().messages() == []
    assert floor.agent().register("other").heard()[0]["queued"] == 0


def test_giving_up_on_the_answer_changes_nothing() -> None:
    floor = Floor()
    agent = floor.agent().register()
    from relay.core.model import Form, Submission

    floor.hub.submit(Submission("desk-1", b"1", "application/json", Form.JSON, 5.0)).addErrback(lambda _: None).cancel()
    floor.pass_time(6)
    agent.leave()
    assert floor.agent().register().messages() == [1]


def test_what_is_sent_while_it_is_being_saved_is_not_called_silent() -> None:
    floor = Floor()
    floor.store.hold()
    answer = floor.post()
    agent = floor.agent().register()
    floor.store.release()
    assert agent.messages() == [1]
    assert answer.said == "queued:sent"


def test_a_shorter_wait_without_ack_says_nothing_of_the_agent() -> None:
    floor = Floor()
    agent = floor.agent().register()
    assert floor.post(wait=0.9).said == "waiting"
    floor.pass_time(0.9, step=0.1)
    assert agent.wire.pings == 0
    assert floor.post(wait=30).said == "waiting"
