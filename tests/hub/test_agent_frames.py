"""What an agent may say and ask for beside the plain ACK: replies, confirmations, raw and batched messages."""

from __future__ import annotations

import base64
import json

from relay.core.model import End, Form, Past, Put
from tests.hub.support import Floor

MIB = 1024 * 1024


# -- reply


def test_a_reply_is_returned_byte_for_byte_and_kept_with_the_status() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(wait=5, respond_async=True)
    reply = b'{ "b" : 1.0, "a":[10000000000000000000000, "\\u00e9"] }'
    agent.conversation.received(b'{"type":"ack","id":"%s","reply":%s}' % (agent.ids()[0].encode(), reply))
    assert answer.outcome is not None
    assert answer.outcome.reply == reply
    assert floor.look(answer.id).reply == reply
    found = floor.find(answer.id)
    assert isinstance(found, Past)
    assert found.reply == reply


def test_a_reply_of_null_is_a_reply() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answers = [floor.post(), floor.post()]
    one, two = agent.ids()
    agent.say("ack", id=one, reply=None)
    agent.say("ack", id=two)
    assert [answer.outcome and answer.outcome.reply for answer in answers] == [b"null", None]


def test_a_reply_with_several_ids_is_no_frame() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post()
    agent.say("ack", ids=agent.ids(), reply=1)
    (error,) = agent.heard("error")
    assert error["code"] == "invalid-frame"
    assert answer.said == "waiting"


def test_a_reply_that_is_too_large_is_refused_and_the_ack_counts() -> None:
    floor = Floor(reply=100)
    agent = floor.agent().register()
    answer = floor.post()
    (id,) = agent.ids()
    agent.say("ack", id=id, reply="x" * 99)
    (error,) = agent.heard("error")
    assert (error["code"], error["id"]) == ("reply-too-large", id)
    assert answer.said == "delivered"
    assert answer.outcome is not None
    assert answer.outcome.reply is None


def test_the_first_ack_counts_with_its_reply() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(wait=0)
    agent.say("ack", id=answer.id, reply=1)
    agent.say("ack", id=answer.id, reply=2)
    assert floor.look(answer.id).reply == b"1"


# -- confirm


def test_an_ack_is_confirmed_once_it_is_durable() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answers = [floor.post(wait=0) for _ in range(2)]
    ids = agent.ids()
    floor.store.hold()
    agent.say("ack", id=ids[0])
    agent.say("ack", ids=ids, confirm=True)
    assert agent.heard("acked") == []
    floor.store.release(1)
    assert agent.heard("acked") == []
    floor.store.release()
    assert agent.heard("acked") == [{"type": "acked", "ids": [answer.id for answer in answers], "unknown": []}]


def test_what_was_not_known_is_said_so() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.post(wait=0)
    (id,) = agent.ids()
    agent.say("ack", ids=["nonsense", id, "other", id], confirm=True)
    assert agent.heard("acked") == [{"type": "acked", "ids": [id], "unknown": ["nonsense", "other"]}]


def test_the_ack_of_what_was_never_durable_is_confirmed_at_once() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.store_fails(Put)
    floor.post(wait=5)
    (id,) = agent.ids()
    agent.say("ack", id=id, confirm=True)
    assert agent.heard("acked") == [{"type": "acked", "ids": [id], "unknown": []}]


def test_a_repeat_of_an_ack_is_confirmed_no_earlier_than_the_first() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(wait=0)
    floor.store.hold()
    agent.ack(answer.id)
    agent.say("ack", id=answer.id, confirm=True)
    agent.say("ack", ids=[], confirm=True)
    assert agent.heard("acked") == [{"type": "acked", "ids": [], "unknown": []}]
    floor.store.release()
    assert agent.heard("acked") == [{"type": "acked", "ids": [answer.id], "unknown": []}]


def test_an_ack_of_nothing_is_confirmed() -> None:
    agent = Floor().agent().register()
    agent.say("ack", ids=[], confirm=True)
    assert agent.heard("acked") == [{"type": "acked", "ids": [], "unknown": []}]


def test_the_message_of_another_agent_is_unknown_and_stays() -> None:
    floor = Floor()
    answer = floor.post(wait=0)
    floor.post(agent="desk-2", wait=0)
    other = floor.agent().register("desk-2")
    other.heard()
    other.say("ack", id=answer.id, confirm=True)
    assert other.heard("acked") == [{"type": "acked", "ids": [], "unknown": [answer.id]}]
    assert answer.id in floor.queued()


# -- headers


def test_headers_are_given_to_the_agent_and_survive_the_disk() -> None:
    floor = Floor()
    headers = (("traceparent", "00-1"), ("tenant", "blue"))
    floor.post("queued", headers=headers)
    agent = floor.agent().register()
    floor.post("direct", headers=headers)
    frames = agent.heard("message")
    assert [frame["headers"] for frame in frames] == [dict(headers)] * 2
    assert "topic" not in frames[0]


# -- raw


def test_a_raw_session_gets_every_payload_as_the_bytes_that_were_received() -> None:
    floor = Floor()
    agent = floor.agent().register(raw=True)
    bodies = [
        (b'{ "a": 1.0 }', "application/json", Form.JSON),
        ("grüße".encode("latin-1"), "text/plain; charset=iso-8859-1", Form.LATIN1),
        ("grüße".encode(), "text/plain", Form.TEXT),
        (b"\x00\xff", "application/octet-stream", Form.BINARY),
    ]
    for body, content_type, form in bodies:
        floor.post(body, content_type=content_type, form=form)
    frames = agent.heard("message")
    assert [frame["encoding"] for frame in frames] == ["base64"] * 4
    assert [base64.b64decode(frame["payload"]) for frame in frames] == [body for body, _, _ in bodies]
    assert [frame["content_type"] for frame in frames] == [content_type for _, content_type, _ in bodies]


# -- batch


def test_a_queue_comes_in_frames_of_a_hundred_in_order() -> None:
    floor = Floor()
    for _ in range(250):
        floor.post(wait=0)
    agent = floor.agent().register(batch=True)
    batches = agent.batches()
    assert [len(batch) for batch in batches] == [100, 100, 50]
    assert [payload for batch in batches for payload in batch] == list(range(1, 251))


def test_a_frame_of_messages_is_at_most_a_mebibyte() -> None:
    floor = Floor(session_buffer=64 * MIB, page_bytes=64 * MIB)
    for _ in range(10):
        floor.post("x" * 300_000, wait=0)
    agent = floor.agent().register(batch=True)
    assert [len(batch) for batch in agent.batches()] == [3, 3, 3, 1]
    assert max(agent.wire.sizes) <= MIB


def test_a_message_of_any_size_comes_alone() -> None:
    floor = Floor(session_buffer=64 * MIB, page_bytes=64 * MIB)
    for size in (10, 1_500_000, 10):
        floor.post("x" * size, wait=0)
    agent = floor.agent().register(batch=True)
    assert [[len(payload) for payload in batch] for batch in agent.batches()] == [[10], [1_500_000], [10]]


def test_no_frame_of_messages_is_larger_than_the_agent_takes() -> None:
    floor = Floor()
    for _ in range(100):
        floor.post("x" * 5_000, wait=0)
    agent = floor.agent().register(batch=True, max_frame=65536)
    assert sum(map(len, agent.batches())) == 100
    assert 60_000 < max(agent.wire.sizes) <= 65536


def test_a_single_message_comes_as_message_at_once() -> None:
    floor = Floor()
    agent = floor.agent().register(batch=True)
    answer = floor.post()
    (frame,) = agent.heard("message")
    agent.ack(frame["id"])
    assert answer.said == "delivered"


def test_the_messages_of_a_frame_look_as_they_do_alone() -> None:
    floor = Floor()
    floor.post({"a": 1}, wait=0, topic="t", headers=(("h", "v"),))
    floor.post("b", wait=0)
    alone = floor.agent().register().heard("message")
    floor.restart()
    (frame,) = floor.agent().register(batch=True).heard("messages")
    assert frame["messages"] == alone


def test_the_window_bounds_what_frames_of_messages_bring() -> None:
    floor = Floor()
    for _ in range(30):
        floor.post(wait=0)
    agent = floor.agent().register(batch=True, max_in_flight=10)
    (frame,) = agent.heard("messages")
    assert len(frame["messages"]) == 10
    agent.ack(*[item["id"] for item in frame["messages"][:4]])
    assert [payload for batch in agent.batches() for payload in batch] == [11, 12, 13, 14]


def test_what_is_due_again_comes_in_a_frame_too() -> None:
    floor = Floor()
    agent = floor.agent().register(batch=True, ack_wait=10)
    for _ in range(3):
        floor.post(wait=0)
    agent.heard()
    floor.store.hold()
    floor.pass_time(10)
    (frame,) = agent.heard("messages")
    assert [(item["payload"], item["attempt"]) for item in frame["messages"]] == [(1, 2), (2, 2), (3, 2)]
    assert json.dumps(frame)


# -- floods


def test_one_frame_of_foreign_ids_costs_no_more_writes_than_an_agent_may_have_in_flight() -> None:
    # Two megabytes of ids would hold up everybody for seconds, and stand in memory until they are written.
    floor = Floor(max_in_flight=10)
    agent = floor.agent().register()
    answer = floor.post()
    (id,) = agent.ids()
    floor.store_fails(End)
    agent.say("ack", ids=[*(f"foreign-{number}" for number in range(1000)), "foreign-1", id])
    context = floor.hub._context
    assert context.ledger.ends.count("desk-1") == 10
    assert context.counters.table()["max_in_flight"] == 990
    assert answer.said == "delivered", "its own counts, wherever it stands among the others"


def test_the_delay_of_a_nack_is_a_day_at_most() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.post(wait=0, ttl=30 * 86400.0)
    agent.say("nack", id=agent.ids()[0], delay=10**9)
    floor.clock.advance(86399)
    assert agent.messages() == []
    floor.pass_time(2)
    assert agent.messages() == [1]


def test_a_window_is_as_wide_as_may_be_and_no_wider() -> None:
    floor = Floor(max_in_flight=3, default_in_flight=1)
    for _ in range(5):
        floor.post(wait=0)
    agent = floor.agent().register()
    assert agent.messages() == [1]
    agent.say("window", max_in_flight=10_000)
    assert agent.messages() == [2, 3]
    assert agent.heard("error") == []


def test_a_pong_tells_the_time_of_the_relay() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.clock.advance(1.5)
    agent.say("ping")
    (pong,) = agent.heard("pong")
    assert (pong["time"], "ref" in pong) == ("2027-01-15T08:00:01.500Z", False)
