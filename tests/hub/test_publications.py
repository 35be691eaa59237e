"""Messages that come over a WebSocket: the same as a POST (protocol 2.1 ``publish``)."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.hub.support import Agent, Floor


def publisher(floor: Floor) -> Agent:
    """A session that only publishes."""
    agent = floor.agent()
    agent.say("register")
    agent.heard()
    return agent


def publish(agent: Agent, payload: Any = "x", to: str = "desk-1", **fields: Any) -> None:
    agent.say("publish", agent=to, payload=payload, **fields)


def test_a_session_may_only_publish() -> None:
    floor = Floor()
    agent = floor.agent()
    agent.say("register")
    (frame,) = agent.heard()
    assert frame["type"] == "registered"
    assert "agent" not in frame
    assert floor.now(floor.hub.agents(connected=None, prefix="", after="", limit=10)) == []


def test_a_session_that_only_publishes_has_nothing_to_acknowledge() -> None:
    floor = Floor()
    agent = publisher(floor)
    for frame in ({"type": "ack", "id": "x"}, {"type": "window", "max_in_flight": 3}, {"type": "nack", "id": "x"}):
        agent.say(**frame)
        assert [error["code"] for error in agent.heard("error")] == ["not-allowed"]
    agent.say("ping", ref="r")
    assert [frame["type"] for frame in agent.heard()] == ["pong"]
    assert agent.wire.closed is None


def test_sessions_that_only_publish_do_not_replace_each_other() -> None:
    floor = Floor()
    one, two = publisher(floor), publisher(floor)
    assert (one.wire.closed, two.wire.closed) == (None, None)
    one.leave()
    two.crash()
    floor.pass_time(1)
    assert len(floor.clock.getDelayedCalls()) == 1


def test_the_answer_comes_as_result_when_it_is_known() -> None:
    floor = Floor()
    desk, agent = floor.agent().register(), publisher(floor)
    publish(agent, {"a": 1}, ref="r1")
    assert agent.heard() == []
    (message,) = desk.heard("message")
    assert message["payload"] == {"a": 1}
    desk.say("ack", id=message["id"], reply=[1])
    assert agent.heard() == [
        {
            "type": "result",
            "ref": "r1",
            "id": message["id"],
            "agent": "desk-1",
            "status": "delivered",
            "attempts": 1,
            "reply": [1],
        }
    ]


def test_a_queued_publication_says_why() -> None:
    floor = Floor()
    agent = publisher(floor)
    publish(agent, ref="r1")
    (result,) = agent.heard("result")
    assert (result["status"], result["reason"], result["durable"]) == ("queued", "away", False)


def test_a_problem_comes_in_the_result() -> None:
    floor = Floor()
    agent = publisher(floor)
    publish(agent, ref="r1", ttl=0)
    (result,) = agent.heard("result")
    assert result["ref"] == "r1"
    assert (result["problem"]["type"], result["problem"]["status"]) == ("/problems/undeliverable", 504)


def test_without_a_ref_only_a_failure_is_told() -> None:
    floor = Floor()
    agent = publisher(floor)
    publish(agent)
    assert agent.heard() == []
    publish(agent, ttl=0)
    (error,) = agent.heard()
    assert (error["type"], error["code"]) == ("error", "undeliverable")
    assert error["id"]


def test_a_bad_publication_is_a_problem_of_its_own_and_has_no_effect() -> None:
    floor = Floor()
    agent = publisher(floor)
    lines: list[tuple[dict[str, Any], str]] = [
        ({"agent": "..", "payload": 1}, "invalid-agent-id"),
        ({"agent": "a"}, "invalid-json"),
        ({"agent": "a", "payload": 1, "topic": "no spaces"}, "invalid-header"),
        ({"agent": "a", "payload": 1, "ttl": -1}, "invalid-header"),
        ({"agent": "a", "payload": "x" * 1_100_000}, "payload-too-large"),
        ({"agent": "a", "payload": "$", "encoding": "base64"}, "invalid-json"),
    ]
    for line, word in lines:
        agent.say("publish", ref="r", **line)
        (result,) = agent.heard()
        assert (result["ref"], result["problem"]["type"]) == ("r", f"/problems/{word}")
    assert floor.queued() == []
    assert agent.wire.closed is None


def test_an_agent_may_publish_too_and_to_itself() -> None:
    floor = Floor()
    agent = floor.agent().register()
    agent.heard()
    publish(agent, "to me", ref="r")
    (message,) = agent.heard("message")
    agent.ack(message["id"])
    assert agent.heard("result")[0]["status"] == "delivered"


def test_publications_keep_their_order_with_posts() -> None:
    floor = Floor()
    agent = publisher(floor)
    floor.post("a")
    publish(agent, "b")
    floor.post("c")
    assert floor.agent().register().messages() == ["a", "b", "c"]


def test_a_repeat_says_that_it_is_one() -> None:
    floor = Floor()
    agent = publisher(floor)
    publish(agent, ref="1", idempotency_key="k")
    publish(agent, ref="2", idempotency_key="k")
    first, second = agent.heard("result")
    assert first["id"] == second["id"]
    assert ("idempotent_replay" in first, second["idempotent_replay"]) == (False, True)


def test_past_the_bound_of_undecided_ones_a_publication_is_refused_at_once() -> None:
    floor = Floor(undecided=3)
    desk, agent = floor.agent().register(), publisher(floor)
    for number in range(4):
        publish(agent, ref=str(number))
    (result,) = agent.heard("result")
    assert (result["ref"], result["problem"]["type"]) == ("3", "/problems/rate-limited")
    assert result["retry_after"] == 1
    desk.ack(*desk.ids())
    publish(agent, ref="later")
    assert [result["ref"] for result in agent.heard("result")] == ["0", "1", "2"]
    desk.ack(*desk.ids())
    assert [result["ref"] for result in agent.heard("result")] == ["later"]


def together(agent: Agent, *lines: dict[str, Any] | bytes) -> None:
    """Frames that come in one piece: publications, or any other."""
    frames = [
        line if isinstance(line, bytes) else json.dumps({"type": "publish", "payload": "x", **line}).encode()
        for line in lines
    ]
    agent.conversation.received(*frames)


def test_those_that_come_together_leave_in_one_frame_for_one_that_takes_many() -> None:
    floor = Floor()
    desk, agent = floor.agent().register(batch=True), publisher(floor)
    together(agent, *[{"agent": "desk-1", "payload": n, "ref": str(n)} for n in range(5)])
    (frame,) = desk.heard()[1:]
    assert [item["payload"] for item in frame["messages"]] == [0, 1, 2, 3, 4]
    desk.ack(*[item["id"] for item in frame["messages"][:3]])
    assert [(result["ref"], result["status"]) for result in agent.heard()] == [(ref, "delivered") for ref in "012"]
    floor.pass_time(5)
    assert [(result["ref"], result["reason"]) for result in agent.heard()] == [(ref, "silent") for ref in "34"]


def test_of_those_that_come_together_a_bad_one_is_refused_by_itself() -> None:
    floor = Floor()
    desk, agent = floor.agent().register(), publisher(floor)
    together(
        agent,
        {"agent": "desk-1", "payload": 1},
        {"agent": "..", "ref": "bad"},
        b'{"type":"publish","agent":',
        {"agent": "desk-1", "payload": 2},
    )
    assert desk.messages() == [1, 2]
    result, error = agent.heard()
    assert (result["ref"], result["problem"]["type"]) == ("bad", "/problems/invalid-agent-id")
    assert (error["type"], error["code"]) == ("error", "invalid-frame")


def test_other_frames_among_them_are_heard_in_their_place() -> None:
    floor = Floor(undecided=2)
    desk, agent = floor.agent().register(), publisher(floor)
    two = [{"agent": "nobody", "ref": "1"}, {"agent": "nobody", "ref": "2"}]
    together(agent, *two, b'{"type":"ping","ref":"p"}', {"agent": "desk-1", "ref": "3"})
    assert [(frame["type"], frame["ref"]) for frame in agent.heard()] == [
        ("result", "1"),
        ("result", "2"),
        ("pong", "p"),
    ]
    desk.ack(*desk.ids())
    assert agent.heard()[0]["ref"] == "3"


def test_of_those_that_come_together_only_what_is_past_the_bound_is_refused() -> None:
    floor = Floor(undecided=3)
    floor.agent().register()
    agent = publisher(floor)
    together(agent, *[{"agent": "desk-1", "ref": str(n)} for n in range(5)])
    assert [(result["ref"], result["problem"]["type"]) for result in agent.heard()] == [
        ("3", "/problems/rate-limited"),
        ("4", "/problems/rate-limited"),
    ]


def test_who_leaves_undoes_nothing() -> None:
    floor = Floor()
    desk, agent = floor.agent().register(), publisher(floor)
    publish(agent, "x", ref="r")
    agent.leave()
    (id,) = desk.ids()
    floor.pass_time(6)
    assert floor.queued() == [id]
    desk.ack(id)
    assert floor.queued() == []


# -- one silent agent among many


def test_an_agent_with_a_hundred_undecided_lines_that_acknowledges_nothing_is_not_waited_for() -> None:
    floor = Floor()
    floor.agent().register()
    answers = [floor.post(wait=30, line=True) for _ in range(100)]
    floor.pass_time(0.5, step=0.5)
    assert {answer.said for answer in answers} == {"waiting"}
    floor.pass_time(0.5, step=0.5)
    assert {answer.said for answer in answers} == {"queued:silent"}
    assert floor.post(wait=30, line=True).said == "queued:silent"


def test_fewer_lines_wait_as_long_as_they_asked_for() -> None:
    floor = Floor()
    floor.agent().register()
    answers = [floor.post(wait=10, line=True) for _ in range(99)]
    floor.pass_time(9)
    assert {answer.said for answer in answers} == {"waiting"}


def test_an_agent_that_acknowledges_something_is_waited_for() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answers = [floor.post(wait=30, line=True) for _ in range(120)]
    ids = agent.ids()
    for number in range(10):
        floor.pass_time(0.9, step=0.9)
        agent.ack(ids[number])
    assert [answer.said for answer in answers].count("waiting") == 110


def test_lines_are_waited_for_again_after_the_agent_acknowledged_something() -> None:
    floor = Floor()
    agent = floor.agent().register()
    for _ in range(100):
        floor.post(wait=30, line=True)
    floor.pass_time(1)
    agent.ack(agent.ids()[0])
    assert floor.post(wait=30, line=True).said == "waiting"


def test_a_silent_agent_holds_up_neither_its_posts_nor_other_agents() -> None:
    floor = Floor()
    floor.agent().register()
    other = floor.agent().register("desk-2")
    for _ in range(100):
        floor.post(wait=30, line=True)
    post = floor.post(wait=30)
    theirs = floor.post(wait=30, line=True, agent="desk-2")
    floor.pass_time(1)
    assert (post.said, theirs.said) == ("waiting", "waiting")
    other.ack(*other.ids())
    assert theirs.said == "delivered"


def test_who_only_publishes_and_registers_again_is_told_so() -> None:
    agent = publisher(Floor())
    agent.say("register", agent="desk-1")
    (error,) = agent.heard("error")
    assert (error["code"], error["detail"]) == ("already-registered", "this connection is registered already")


def test_a_raw_agent_gets_the_json_of_a_line_as_it_stood_there_or_what_it_decodes_to() -> None:
    floor = Floor()
    desk, agent = floor.agent().register(raw=True), publisher(floor)
    slices = [b'{ "a": 1.0 }', b'"gr\\u00fc\xc3\x9fe"', b"-0.0"]
    for number, payload in enumerate(slices):
        line = b'{"type":"publish","agent":"desk-1","content_type":"text/plain","ref":"%d","payload":%b}'
        agent.conversation.received(line % (number, payload))
    publish(agent, base64.b64encode(b"\x00\xff").decode(), encoding="base64")
    publish(agent, base64.b64encode(b"hi").decode(), encoding="base64", content_type="text/plain")
    frames = desk.heard("message")
    assert {frame["encoding"] for frame in frames} == {"base64"}
    assert [base64.b64decode(frame["payload"]) for frame in frames] == [*slices, b"\x00\xff", b"hi"]
    types = ["text/plain"] * 3 + ["application/octet-stream", "text/plain"]
    assert [frame["content_type"] for frame in frames] == types
