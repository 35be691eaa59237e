"""What a publisher may ask of a message, and what it may see and change of it (protocol 1.1 and 1.3)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.edge.support import Client, get, post, request
from tests.edge.whole import Relay


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ttl", "soon"),
        ("ttl", "-1"),
        ("ttl", "1.5"),
        ("ttl", ""),
        ("topic", ""),
        ("topic", "two words"),
        ("topic", "x" * 33),
        ("idempotency_key", ""),
        ("idempotency_key", "x" * 256),
        ("idempotency_key", "two words"),
        ("callback_url", "https://example.org/hook"),
        ("callback_url", "http://example.org/hook"),
        ("callback_url", "nonsense"),
        ("relay_meta_", "x"),
        ("relay_meta_room", "x" * 9000),
    ],
)
def test_a_malformed_header_is_refused_and_nothing_is_kept(relay: Relay, name: str, value: str) -> None:
    header: dict[str, Any] = {name: value}
    answer = relay.post(**header)
    assert (answer.status, answer.problem) == (400, "invalid-header")
    assert relay.get("/v1/agents").json["items"] == []


@pytest.mark.parametrize("name", ["TTL", "Topic", "Idempotency-Key", "Callback-URL", "Relay-Meta-Room"])
def test_a_header_that_is_given_twice_is_refused(relay: Relay, name: str) -> None:
    lines = f"{name}: 1\r\n{name}: 1\r\n"
    head = f"POST /v1/agents/a/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n{lines}\r\n1"
    answer = relay.ask(head.encode())
    assert (answer.status, answer.problem) == (400, "invalid-header")


def test_headers_for_the_agent_come_in_lower_case_without_the_prefix(relay: Relay) -> None:
    agent = relay.agent()
    relay.begin(b"")
    headers = {"relay_meta_Room": "kitchen", "traceparent": "00-1-2-01", "x_other": "no"}
    relay.begin(request("POST", "/v1/agents/desk-1/messages", b"1", content_type="application/json", **headers))
    (message,) = agent.messages()
    assert message["headers"] == {"room": "kitchen", "traceparent": "00-1-2-01"}


def test_a_time_to_live_is_echoed_as_it_applies(relay: Relay) -> None:
    assert relay.post(ttl="60").headers["ttl"] == "60"
    assert relay.post(ttl="99999999999").headers["ttl"] == str(30 * 86400)
    assert "ttl" not in relay.post().headers


def test_now_or_never_is_never_for_an_agent_that_is_away(relay: Relay) -> None:
    answer = relay.post(ttl="0")
    assert (answer.status, answer.problem) == (504, "undeliverable")
    assert (answer.headers["relay-status"], "location" in answer.headers) == ("undeliverable", False)
    assert "sent" not in answer.json
    assert relay.get("/v1/agents/desk-1/messages").json["items"] == []


def test_now_or_never_does_not_go_with_respond_async(relay: Relay) -> None:
    assert relay.post(ttl="0", prefer="respond-async").problem == "invalid-header"


def test_a_reply_is_in_the_answer_byte_for_byte(relay: Relay) -> None:
    agent = relay.agent()
    client = relay.begin(request("POST", "/v1/agents/desk-1/messages", b"1", content_type="application/json"))
    agent.conversation.received(
        b'{"type":"ack","id":"%s","reply":{"n": 1.50, "z":12345678901234567890123}}'
        % agent.messages()[0]["id"].encode()
    )
    relay.settle()
    answer = client.answer("POST")
    assert b'"reply":{"n": 1.50, "z":12345678901234567890123}' in answer.body
    fate = relay.get(answer.headers["location"])
    assert b'"reply":{"n": 1.50, "z":12345678901234567890123}' in fate.body
    assert [event["event"] for event in fate.json["timeline"]] == ["accepted", "sent", "delivered"]


def test_a_repeat_with_the_same_key_is_the_same_message(relay: Relay) -> None:
    first, again = relay.post(idempotency_key="k"), relay.post(idempotency_key="k")
    assert first.json["id"] == again.json["id"]
    assert "idempotent-replay" not in first.headers
    assert again.headers["idempotent-replay"] == "true"
    assert relay.post(b"2", idempotency_key="k").problem == "idempotency-key-reused"
    assert len(relay.get("/v1/agents/desk-1/messages").json["items"]) == 1


def test_a_newer_message_of_a_topic_replaces_the_older(relay: Relay) -> None:
    old, new = relay.post(b"1", topic="t"), relay.post(b"2", topic="t")
    assert [item["id"] for item in relay.get("/v1/agents/desk-1/messages").json["items"]] == [new.json["id"]]
    fate = relay.get(old.headers["location"]).json
    assert (fate["status"], fate["reason"]) == ("replaced", new.json["id"])


def test_a_queued_message_can_be_cancelled_and_one_in_flight_cannot(relay: Relay) -> None:
    where = relay.post().headers["location"]
    assert relay.delete(where).json == {"deleted": 1}
    assert relay.get(where).json["status"] == "cancelled"
    assert relay.delete(where).problem == "too-late"
    assert relay.delete("/v1/messages/nothing").problem == "not-found"
    where = relay.post().headers["location"]
    relay.agent()
    assert relay.get(where).json["status"] == "sent"
    assert relay.delete(where).problem == "too-late"


def test_a_get_with_a_wait_answers_when_the_message_has_ended(relay: Relay) -> None:
    where = relay.post().headers["location"]
    client = relay.begin(f"GET {where} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=30\r\n\r\n".encode())
    assert client.answers() == []
    relay.agent().ack_all()
    relay.settle()
    answer = client.answer()
    assert (answer.json["status"], answer.headers["preference-applied"]) == ("delivered", "wait=30")


def test_a_queue_is_listed_page_by_page_and_emptied(relay: Relay) -> None:
    for number in range(5):
        relay.post(str(number).encode())
    path, got = "/v1/agents/desk-1/messages?limit=2&payload=true", []
    page: Any = relay.get(path).json
    while True:
        got += [item["payload"] for item in page["items"]]
        if page["next"] is None:
            break
        page = relay.get(f"{path}&cursor={page['next']}").json
    assert got == [0, 1, 2, 3, 4]
    assert relay.delete("/v1/agents/desk-1/messages").json == {"deleted": 5}
    assert relay.get(path).json == {"items": [], "next": None}


def test_a_rejected_message_is_a_dead_letter_that_can_be_requeued(relay: Relay) -> None:
    where = relay.post(b'{"a":1}').headers["location"]
    agent = relay.agent()
    agent.say("nack", id=agent.messages()[0]["id"], requeue=False, reason="cannot")
    (letter,) = relay.get("/v1/dead-letters").json["items"]
    assert (letter["status"], letter["reason"], letter["detail"]) == ("rejected", "rejected", "cannot")
    assert letter["payload"] == {"a": 1}
    assert relay.get(where).json["status"] == "rejected"
    answer = relay.ask(request("POST", f"/v1/dead-letters/{letter['id']}/requeue", b""))
    assert (answer.status, answer.json["id"], answer.json["attempts"]) == (200, letter["id"], 0)
    relay.settle()
    assert [message["attempt"] for message in agent.messages()] == [1, 1]
    agent.ack_all()
    assert relay.get("/v1/dead-letters").json["items"] == []


def test_large_dead_letters_come_on_pages_of_a_megabyte_one_of_any_size_alone(relay: Relay) -> None:
    agent = relay.agent()
    for size in (400_000, 400_000, 400_000, 1_000_000, 10, 10):
        relay.begin(post("desk-1", b"x" * size, content_type="text/plain"))
        agent.say("nack", id=agent.messages()[-1]["id"], requeue=False)
    relay.settle()
    sizes: list[list[int]] = []
    cursor = ""
    while cursor is not None:
        answer = relay.get(f"/v1/dead-letters{cursor and f'?cursor={cursor}'}").json
        sizes.append([letter["size"] for letter in answer["items"]])
        cursor = answer["next"]
    assert sizes == [[400_000, 400_000], [400_000], [1_000_000, 10, 10]]


def test_a_dead_letter_can_be_thrown_away(relay: Relay) -> None:
    relay.post(ttl="1")
    relay.pass_time(3)
    (letter,) = relay.get("/v1/dead-letters").json["items"]
    assert (letter["status"], letter["reason"]) == ("expired", "expired")
    assert relay.delete(f"/v1/dead-letters/{letter['id']}").json == {"deleted": 1}
    assert relay.delete(f"/v1/dead-letters/{letter['id']}").problem == "not-found"


def test_an_operator_closes_a_session(relay: Relay) -> None:
    agent = relay.agent()
    assert relay.delete("/v1/agents/desk-1/session").json == {"deleted": 1}
    assert agent.wire.closed == (4005, "closed-by-operator; retry_after=30")
    assert relay.delete("/v1/agents/desk-1/session").json == {"deleted": 0}


def test_an_end_that_is_a_problem_is_named_in_a_header_and_so_is_the_wait_that_applied(relay: Relay) -> None:
    agent, where = relay.agent(), list[str]()

    def begin(body: bytes, **headers: str | None) -> Client:
        return relay.begin(post("desk-1", body, prefer="wait=2", **headers))

    def said(client: Client) -> tuple[int, str, str]:
        answer = client.answer("POST")
        where.append(answer.headers["location"])
        return answer.status, answer.headers["relay-status"], answer.headers["preference-applied"]

    refused = begin(b"1")
    agent.say("nack", id=agent.messages()[-1]["id"], requeue=False)
    relay.settle()
    assert said(refused) == (422, "rejected", "wait=2")
    assert relay.get(where[-1]).json["status"] == "rejected"
    unheard = begin(b"2", ttl="0")
    relay.pass_time(2)
    assert said(unheard) == (504, "undeliverable", "wait=2")
    agent.say("ping")
    agent.say("window", max_in_flight=0)
    behind = begin(b"3", topic="t")
    begin(b"4", topic="t")
    assert said(behind) == (409, "replaced", "wait=2")
    cancelled = begin(b"5")
    relay.delete("/v1/agents/desk-1/messages")
    relay.settle()
    assert said(cancelled) == (410, "cancelled", "wait=2")


def test_a_refusal_that_is_about_no_message_names_no_status(relay: Relay) -> None:
    assert "relay-status" not in relay.post(ttl="soon").headers
    assert "relay-status" not in relay.get("/v1/agents/desk-1/next", relay_session="nothing").headers


def test_a_trace_that_came_in_several_headers_is_one_list(relay: Relay) -> None:
    agent = relay.agent()
    lines = "tracestate: a=1\r\nTraceState: b=2\r\nContent-Type: application/json\r\n"
    relay.begin(
        f"POST /v1/agents/desk-1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n{lines}\r\n1".encode()
    )
    (message,) = agent.messages()
    assert message["headers"] == {"tracestate": "a=1, b=2"}


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_a_batch_is_posted_and_nothing_else(relay: Relay, method: str) -> None:
    answer = relay.ask(get("/v1/messages", method=method))
    assert (answer.problem, answer.headers["allow"]) == ("method-not-allowed", "OPTIONS, POST")
    assert relay.ask(get("/v1/messages", method="OPTIONS")).headers["allow"] == "OPTIONS, POST"


def test_what_is_queued_is_shown_with_its_payload_as_an_agent_would_get_it(relay: Relay) -> None:
    for body, content_type in (
        (b'{"n": 1.0}', "application/json"),
        (b"h\xe9", "text/plain;charset=iso-8859-1"),
        (b"\0", "a/b"),
    ):
        relay.post(body, content_type=content_type, topic=None, relay_meta_room="kitchen")
    shown = relay.get("/v1/agents/desk-1/messages?payload=true").json["items"]
    assert [(item["payload"], item.get("encoding"), item["size"]) for item in shown] == [
        ({"n": 1.0}, None, 10),
        ("hé", None, 2),
        ("AA==", "base64", 1),
    ]
    assert [item["headers"] for item in shown] == [{"room": "kitchen"}] * 3
    assert all("payload" not in item for item in relay.get("/v1/agents/desk-1/messages").json["items"])
