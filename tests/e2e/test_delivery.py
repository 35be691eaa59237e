"""The main job, seen from both ends: a POST, the agent's WebSocket, the ACK, and the queue when there is no agent."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import Answer, dial, get, post, settle
from tests.e2e.support import Daemon

pytestmark = pytest.mark.e2e
Join = Callable[..., Agent]
Posting = Callable[..., Future[Answer]]


def queued(relay: Daemon, agent: str) -> int:
    """What is durable and not ended for that agent, once all that was read is written."""
    settle(relay.port)
    return int(get(relay.port, f"/v1/agents/{agent}").json["queued"])


def test_a_message_is_delivered_when_its_agent_acknowledges_it(shared: Daemon, join: Join) -> None:
    agent = join(shared, "here", acknowledge)
    answer = post(shared.port, "here", '{"text": "good morning"}', wait=10)
    assert (answer.status, answer.outcome) == (200, "delivered")
    assert answer.headers["preference-applied"] == "wait=10"
    assert answer.json == {"id": answer.json["id"], "agent": "here", "status": "delivered", "attempts": 1}
    message = agent.next()
    assert message["id"] == answer.json["id"]
    assert message["payload"] == {"text": "good morning"}
    assert (message["content_type"], message["queued"], message["attempt"]) == ("application/json", False, 1)
    assert message["created_at"] < message["expires_at"]


def test_the_first_frame_tells_the_agent_what_applies(shared: Daemon, join: Join) -> None:
    told = join(shared, "told", client="a test", max_in_flight=7, ack_wait=11).registered
    assert told["agent"] == "told"
    assert len(told["session"]) >= 16
    assert (told["queued"], told["heartbeat"], told["ack_timeout"]) == (0, 30, 5)
    assert (told["ack_wait"], told["max_in_flight"], told["max_frame"]) == (11, 7, 2 * 1024 * 1024)
    assert told["durable"] is True
    assert told["server"]
    assert told["node"]


def test_messages_for_an_absent_agent_wait_in_order_and_are_drained(shared: Daemon, join: Join) -> None:
    answers = [post(shared.port, "away", str(number)) for number in range(25)]
    assert {answer.outcome for answer in answers} == {"queued: away"}
    assert all(answer.json["attempts"] == 0 and "durable" not in answer.json for answer in answers)
    view = get(shared.port, "/v1/agents/away").json
    assert (view["connected"], view["queued"], view["queued_bytes"]) == (False, 25, 40)

    agent = join(shared, "away", acknowledge)
    assert agent.registered["queued"] == 25
    burst = agent.take(25)
    assert [message["payload"] for message in burst] == list(range(25))
    assert [message["id"] for message in burst] == [answer.json["id"] for answer in answers]
    assert all(message["queued"] and message["attempt"] == 1 for message in burst)
    assert post(shared.port, "away", "25", wait=10).outcome == "delivered"
    assert queued(shared, "away") == 0


def test_the_whole_queue_comes_without_an_ack_in_between(shared: Daemon, join: Join) -> None:
    for number in range(10):
        post(shared.port, "burst", str(number))
    agent = join(shared, "burst")
    assert [message["payload"] for message in agent.take(10)] == list(range(10))
    agent.ack(*(message["id"] for message in agent.messages))
    agent.nothing_more()
    assert queued(shared, "burst") == 0


def test_a_silent_agent_makes_the_post_queued_and_a_late_ack_still_counts(shared: Daemon, join: Join) -> None:
    agent = join(shared, "late")
    answer = post(shared.port, "late", '"slow"', wait=1)
    assert (answer.outcome, answer.json["attempts"]) == ("queued: silent", 1)
    assert queued(shared, "late") == 1
    agent.ack(agent.next()["id"])
    agent.nothing_more()
    assert queued(shared, "late") == 0


def test_a_wait_of_zero_is_queued_at_once_and_still_sent(shared: Daemon, join: Join) -> None:
    agent = join(shared, "unhurried")
    answer = post(shared.port, "unhurried", '"for the record"', wait=0)
    assert answer.outcome == "queued: sent"
    assert agent.next()["id"] == answer.json["id"]


def test_respond_async_is_202_once_durable(shared: Daemon, join: Join) -> None:
    agent = join(shared, "async")
    answer = post(shared.port, "async", "1", headers={"Prefer": "respond-async"})
    assert (answer.status, answer.outcome) == (202, "accepted: sent")
    assert agent.next()["id"] == answer.json["id"]
    away = post(shared.port, "async-away", "1", headers={"Prefer": "respond-async"})
    assert (away.status, away.outcome) == (202, "accepted: away")


def test_a_nack_is_told_to_the_publisher_and_the_message_comes_again(
    shared: Daemon, join: Join, posting: Posting
) -> None:
    agent = join(shared, "busy")
    waiting = posting(shared, "busy", '"later"', wait=20)
    first = agent.next()
    agent.nack(first["id"], delay=0)
    assert waiting.result().outcome == "queued: nacked"
    again = agent.next()
    assert (again["id"], again["payload"], again["attempt"], again["queued"]) == (first["id"], "later", 2, True)
    agent.ack(again["id"])
    agent.nothing_more()
    assert queued(shared, "busy") == 0


def test_a_delayed_nack_lets_others_pass(shared: Daemon, join: Join) -> None:
    agent = join(shared, "patient")
    for number in range(3):
        post(shared.port, "patient", str(number), wait=0)
    first, *others = agent.take(3)
    agent.nack(first["id"], delay=1)
    agent.ack(*(message["id"] for message in others))
    agent.nothing_more()
    again = agent.next()
    assert (again["payload"], again["attempt"]) == (0, 2)


def test_a_refused_message_is_422_with_the_agents_reason(shared: Daemon, join: Join, posting: Posting) -> None:
    agent = join(shared, "choosy")
    waiting = posting(shared, "choosy", '"no"', wait=20)
    message = agent.next()
    agent.nack(message["id"], requeue=False, reason="not for this desk")
    answer = waiting.result()
    assert (answer.status, answer.problem) == (422, "rejected")
    assert "not for this desk" in answer.json["detail"]
    assert (answer.json["id"], answer.json["attempts"]) == (message["id"], 1)
    agent.nothing_more()
    assert queued(shared, "choosy") == 0


def test_an_unacknowledged_message_comes_again_after_ack_wait(shared: Daemon, join: Join) -> None:
    agent = join(shared, "forgetful", ack_wait=1)
    answer = post(shared.port, "forgetful", '"remember"', wait=0)
    first, again = agent.take(2)
    assert first["id"] == again["id"] == answer.json["id"]
    assert (first["attempt"], again["attempt"], again["queued"]) == (1, 2, True)
    agent.ack(again["id"])
    agent.nothing_more()
    assert queued(shared, "forgetful") == 0


def test_a_session_that_ends_in_mid_wait_leaves_the_message_queued(
    shared: Daemon, join: Join, posting: Posting
) -> None:
    agent = join(shared, "gone")
    waiting = posting(shared, "gone", '"hold"', wait=30)
    first = agent.next()
    agent.leave()
    assert waiting.result().outcome == "queued: lost"
    again = join(shared, "gone").next()
    assert (again["id"], again["attempt"], again["queued"]) == (first["id"], 2, True)


def test_an_ack_for_what_an_earlier_session_was_sent_counts(shared: Daemon, join: Join) -> None:
    before = join(shared, "resumed")
    for number in range(2):
        post(shared.port, "resumed", str(number), wait=0)
    first, second = before.take(2)
    before.leave()
    # A window of one keeps the second from being sent in this session.
    after = join(shared, "resumed", resume=before.session, max_in_flight=1)
    assert after.next()["id"] == first["id"]
    after.ack(second["id"])
    after.ack(first["id"])
    after.nothing_more()
    assert queued(shared, "resumed") == 0


def test_a_window_of_one_gives_one_message_at_a_time(shared: Daemon, join: Join) -> None:
    for number in range(4):
        post(shared.port, "narrow", str(number))
    agent = join(shared, "narrow", max_in_flight=1)
    message = agent.next()  # the window is full only now
    assert post(shared.port, "narrow", "4", wait=0).outcome == "queued: window"
    for number in range(1, 5):
        agent.nothing_more()
        agent.ack(message["id"])
        message = agent.next()
        assert message["payload"] == number


def test_a_closed_window_holds_messages_until_it_is_opened(shared: Daemon, join: Join) -> None:
    agent = join(shared, "shutter")
    agent.say(type="window", max_in_flight=0)
    agent.nothing_more()
    answer = post(shared.port, "shutter", '"wait"', wait=0)
    assert answer.outcome == "queued: window"
    agent.nothing_more()
    agent.say(type="window", max_in_flight=10)
    assert agent.next()["id"] == answer.json["id"]


def test_a_repeated_or_unknown_ack_is_ignored(shared: Daemon, join: Join) -> None:
    agent = join(shared, "repeating", acknowledge)
    post(shared.port, "repeating", "1", wait=10)
    message = agent.next()
    agent.ack(message["id"], "never-heard-of", message["id"])
    agent.say(type="ack", id="never-heard-of")
    agent.say(type="nack", id="never-heard-of")
    agent.say(type="progress", id="never-heard-of")
    agent.nothing_more()
    assert post(shared.port, "repeating", "2", wait=10).outcome == "delivered"


def test_nobody_acknowledges_for_somebody_else(shared: Daemon, join: Join) -> None:
    answer = post(shared.port, "victim", '"mine"')
    thief = join(shared, "thief")
    thief.ack(answer.json["id"])
    thief.nothing_more()
    assert queued(shared, "victim") == 1


def test_a_publisher_that_hangs_up_undoes_nothing(shared: Daemon, join: Join) -> None:
    agent = join(shared, "abandoned")
    with dial(shared.port) as line:
        line.sendall(
            b"POST /v1/agents/abandoned/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Prefer: wait=2\r\nContent-Length: 8\r\n\r\n" + b'"hello!"'
        )
        message = agent.next()
    assert message["payload"] == "hello!"
    agent.ack(message["id"])
    agent.nothing_more()
    assert queued(shared, "abandoned") == 0


def test_a_queue_survives_a_kill_and_a_start(start: Callable[..., Daemon], join: Join) -> None:
    relay = start()
    ids = [post(relay.port, "far", str(number)).json["id"] for number in range(20)]
    relay.kill()
    relay.start()
    agent = join(relay, "far", acknowledge)
    assert agent.registered["queued"] == 20
    assert [message["id"] for message in agent.take(20)] == ids


def test_a_store_in_memory_says_so(start: Callable[..., Daemon], join: Join) -> None:
    relay = start(store="memory:")
    answer = post(relay.port, "volatile", "1")
    assert (answer.outcome, answer.json["durable"]) == ("queued: away", False)
    assert get(relay.port, "/readyz").json["durable"] is False
    assert join(relay, "volatile").registered["durable"] is False


def test_agents_are_listed_page_by_page(start: Callable[..., Daemon], join: Join) -> None:
    relay = start()
    for name in ("desk-1", "desk-2", "desk-3", "phone"):
        post(relay.port, name, "1")
    join(relay, "desk-2", client="typist")

    def names(query: str) -> list[str]:
        return [view["agent"] for view in get(relay.port, f"/v1/agents{query}").json["items"]]

    assert names("") == ["desk-1", "desk-2", "desk-3", "phone"]
    assert names("?connected=true") == ["desk-2"]
    assert names("?prefix=desk-") == ["desk-1", "desk-2", "desk-3"]
    first = get(relay.port, "/v1/agents?limit=3").json
    assert [view["agent"] for view in first["items"]] == ["desk-1", "desk-2", "desk-3"]
    rest = get(relay.port, f"/v1/agents?limit=3&cursor={first['next']}").json
    assert ([view["agent"] for view in rest["items"]], rest["next"]) == (["phone"], None)
    view = get(relay.port, "/v1/agents/desk-2").json
    assert (view["connected"], view["client"], view["queued"]) == (True, "typist", 1)
    assert get(relay.port, "/v1/agents/unheard-of").problem == "not-found"
