"""Events, agents that poll, and batches, over the real floor (protocol 1.2, 1.4 and 1.5)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from twisted.logger import capturedLogs

from tests.conftest import LoggedFailures
from tests.edge.support import Client, get, post, request
from tests.edge.whole import Relay, unchunked

Build = Callable[..., Relay]


# -- events


def events(client: Client) -> list[tuple[str, str, Any]]:
    """(event, id, data) of what came so far."""
    body = unchunked(bytes(client.socket.sent))[1].decode()
    found = []
    for block in body.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            found.append((fields["event"], fields["id"], json.loads(fields["data"])))
    return found


def test_what_happens_is_told_as_it_happens(relay: Relay) -> None:
    client = relay.begin(get("/v1/events"))
    assert [event for event, _, _ in events(client)] == ["hello"]
    agent = relay.agent()
    posted = relay.begin(request("POST", "/v1/agents/desk-1/messages", b"1", content_type="application/json"))
    agent.ack_all()
    relay.settle()
    told = [(event, data["agent"]) for event, _, data in events(client)[1:]]
    assert told == [
        ("agent.connected", "desk-1"),
        ("message.accepted", "desk-1"),
        ("message.sent", "desk-1"),
        ("message.delivered", "desk-1"),
    ]
    assert events(client)[-1][2]["id"] == posted.answer("POST").json["id"]


def test_a_subscriber_chooses_agents_and_types(relay: Relay) -> None:
    client = relay.begin(get("/v1/events?agent=b&types=message.queued"))
    relay.post(agent="a")
    relay.post(agent="b")
    assert [(event, data["agent"]) for event, _, data in events(client)[1:]] == [("message.queued", "b")]
    assert relay.get("/v1/events?types=nonsense").problem == "invalid-request"


def test_a_stream_is_resumed_after_the_last_event_that_was_seen(relay: Relay) -> None:
    client = relay.begin(get("/v1/events"))
    relay.post()
    relay.settle()
    _, seen, _ = events(client)[1]
    client.socket.hang_up()
    relay.post()
    again = events(relay.begin(get("/v1/events", last_event_id=seen)))
    assert again[0][1:] == (seen, {})
    assert [event for event, _, _ in again[1:]] == ["message.queued", "message.accepted", "message.queued"]


def test_who_loses_a_resumed_stream_before_the_first_event_resumes_it_where_it_was(relay: Relay) -> None:
    _, last, _ = events(relay.begin(get("/v1/events")))[0]
    relay.post()
    for _ in range(2):
        _, last, _ = events(relay.begin(get("/v1/events", last_event_id=last)))[0]
    told = events(relay.begin(get("/v1/events", last_event_id=last)))
    assert [event for event, _, _ in told] == ["hello", "message.accepted", "message.queued"]


@pytest.mark.parametrize("seen", ["nonsense", "abc-1", "0-99999"])
def test_an_id_that_is_not_known_any_more_is_told_as_lost(relay: Relay, seen: str) -> None:
    assert events(relay.begin(get("/v1/events", last_event_id=seen)))[0][2] == {"lost": True}


def test_an_id_that_is_too_old_is_told_as_lost(make: Build) -> None:
    relay = make(events=3)
    _, first, _ = events(relay.begin(get("/v1/events")))[0]
    for _ in range(3):
        relay.post()
    assert events(relay.begin(get("/v1/events", last_event_id=first)))[0][2] == {"lost": True}


def test_a_quiet_stream_says_something_every_20_seconds(relay: Relay) -> None:
    client = relay.begin(get("/v1/events"))
    relay.pass_time(41)
    assert unchunked(bytes(client.socket.sent))[1].count(b":\n\n") == 2


def test_a_subscriber_that_is_too_far_behind_is_disconnected(make: Build) -> None:
    relay = make(events=50)
    client = relay.begin(get("/v1/events"))
    client.socket.room = 0
    for _ in range(600):
        relay.hub.notices.tell("message.queued", "a", id="x" * 200)
    relay.settle()
    assert client.closed
    assert relay.hub.notices.subscribers == 0


def test_a_subscriber_that_reads_nothing_gives_its_place_up(make: Build) -> None:
    relay = make(subscribers=1)
    client = relay.begin(get("/v1/events"))
    client.socket.room = 0
    for _ in range(400):
        relay.hub.notices.tell("message.queued", "a", id="x" * 200)
    relay.settle()
    relay.pass_time(29)
    assert not client.closed
    relay.pass_time(12)
    assert client.closed
    assert relay.house.site.counters.table()["stalled_seconds"] == 1
    assert [event for event, _, _ in events(relay.begin(get("/v1/events")))] == ["hello"]


def test_there_are_only_so_many_subscribers(make: Build) -> None:
    relay = make(subscribers=1)
    client = relay.begin(get("/v1/events"))
    assert relay.get("/v1/events").problem == "overloaded"
    client.socket.hang_up()
    assert [event for event, _, _ in events(relay.begin(get("/v1/events")))] == ["hello"]


def test_a_drain_ends_the_streams(relay: Relay) -> None:
    client = relay.begin(get("/v1/events"))
    relay.hub.drain()
    relay.settle()
    assert client.socket.sent.endswith(b"0\r\n\r\n")
    assert relay.get("/v1/events").problem == "draining"


# -- agents that poll


def poll(relay: Relay, query: str = "wait=0", session: str | None = None, agent: str = "desk-1") -> Any:
    return relay.get(f"/v1/agents/{agent}/next?{query}", relay_session=session)


def acks(relay: Relay, session: str | None, body: Any, agent: str = "desk-1") -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return relay.ask(request("POST", f"/v1/agents/{agent}/acks", data, relay_session=session))


def test_an_agent_that_polls_gets_its_queue_and_acknowledges_it(relay: Relay) -> None:
    where = [relay.post(str(number).encode()).headers["location"] for number in range(3)]
    answer = poll(relay).json
    assert [message["payload"] for message in answer["messages"]] == [0, 1, 2]
    body = {
        "acks": [{"id": answer["messages"][0]["id"], "reply": {"done": True}}],
        "nacks": [{"id": answer["messages"][1]["id"], "requeue": False, "reason": "no"}],
        "progress": [answer["messages"][2]["id"]],
    }
    assert acks(relay, answer["session"], body).json == {"errors": []}
    fates = [relay.get(path).json for path in where]
    assert [fate["status"] for fate in fates] == ["delivered", "rejected", "sent"]
    assert fates[0]["reply"] == {"done": True}


def test_a_call_waits_until_there_is_a_message_and_the_post_gets_its_ack(relay: Relay) -> None:
    session = poll(relay, "wait=0").json["session"]
    client = relay.begin(get("/v1/agents/desk-1/next?wait=30", relay_session=session))
    assert client.answers() == []
    posted = relay.begin(request("POST", "/v1/agents/desk-1/messages", b'"hi"', content_type="application/json"))
    (message,) = client.answer().json["messages"]
    assert (message["payload"], message["queued"]) == ("hi", True)
    acks(relay, session, {"acks": [{"id": message["id"]}]})
    relay.settle()
    assert posted.answer("POST").json["status"] == "delivered"


def test_a_call_ends_empty_at_the_end_of_its_wait(relay: Relay) -> None:
    client = relay.begin(get("/v1/agents/desk-1/next?wait=3"))
    relay.pass_time(2.5)
    assert client.answers() == []
    relay.pass_time(1)
    assert client.answer().json["messages"] == []


def test_a_second_open_call_ends_the_first_with_nothing(relay: Relay) -> None:
    session = poll(relay).json["session"]
    first = relay.begin(get("/v1/agents/desk-1/next?wait=30", relay_session=session))
    second = relay.begin(get("/v1/agents/desk-1/next?wait=30", relay_session=session))
    assert first.answer().json["messages"] == []
    relay.begin(request("POST", "/v1/agents/desk-1/messages", b"1", content_type="application/json"))
    assert len(second.answer().json["messages"]) == 1


def test_one_answer_has_no_more_messages_than_were_asked_for(relay: Relay) -> None:
    for _ in range(5):
        relay.post()
    answer = poll(relay, "wait=0.1&max=2").json
    assert len(answer["messages"]) == 2
    assert len(poll(relay, "wait=0.1&max=9", answer["session"]).json["messages"]) == 3


def test_a_session_that_is_not_known_is_told_to_begin_anew(relay: Relay) -> None:
    assert (poll(relay, session="nothing").status, poll(relay, session="nothing").problem) == (410, "ended")
    session = poll(relay).json["session"]
    assert poll(relay, session=session, agent="other").problem == "ended"
    assert acks(relay, None, {}).problem == "ended"


def test_an_agent_that_polls_holds_its_name_like_any_other(relay: Relay) -> None:
    poll(relay)
    assert poll(relay).problem == "duplicate"
    relay.agent("desk-2")
    client = relay.begin(get("/v1/agents/desk-2/next?wait=0"))
    relay.pass_time(1)
    assert client.answers() == [], "the holder is asked for a sign of life"


def test_ten_seconds_after_a_call_a_newcomer_takes_over_at_once(relay: Relay) -> None:
    old = poll(relay).json["session"]
    relay.pass_time(11)
    new = poll(relay).json["session"]
    assert new != old
    assert poll(relay, session=old).problem == "ended"


def test_a_session_ends_60_seconds_after_its_last_call(relay: Relay) -> None:
    session = poll(relay).json["session"]
    relay.pass_time(59)
    assert relay.get("/v1/agents/desk-1").json["connected"] is True
    relay.pass_time(2)
    assert relay.get("/v1/agents/desk-1").json["connected"] is False
    assert poll(relay, session=session).problem == "ended"


def test_now_or_never_goes_into_an_open_call_only(relay: Relay) -> None:
    session = poll(relay).json["session"]
    assert relay.post(ttl="0").problem == "undeliverable"
    client = relay.begin(get("/v1/agents/desk-1/next?wait=30", relay_session=session))
    relay.begin(request("POST", "/v1/agents/desk-1/messages", b"1", content_type="application/json", ttl="0"))
    assert len(client.answer().json["messages"]) == 1


def test_a_drain_answers_an_open_call_with_nothing(relay: Relay) -> None:
    client = relay.begin(get("/v1/agents/desk-1/next?wait=30"))
    relay.hub.drain()
    relay.settle()
    assert client.answer().json["messages"] == []


def test_while_the_relay_drains_nobody_begins_to_poll_and_the_lines_of_an_open_batch_are_refused(relay: Relay) -> None:
    agent = relay.agent()
    waiting = relay.begin(post("desk-1", b"1", prefer="wait=30"))
    head = get("/v1/messages", method="POST", transfer_encoding="chunked", content_type="application/x-ndjson")
    client = relay.begin(head)
    relay.hub.drain()
    data = line("desk-1", ref="late")
    client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))
    relay.settle()
    (told,) = results(client)
    assert (told["ref"], told["problem"]["type"], told["problem"]["status"]) == ("late", "/problems/draining", 503)
    assert told["retry_after"] > 0
    assert batch(relay, data).answer("POST").problem == "draining"
    answer = poll(relay, agent="desk-2")
    assert (answer.status, answer.problem) == (503, "draining")
    agent.ack_all()
    relay.settle()
    assert waiting.answer("POST").json["status"] == "delivered"


@pytest.mark.parametrize("path", ["/v1/agents/desk-1/next?wait=0", "/v1/events"])
def test_who_asks_for_the_head_alone_takes_nothing_away(relay: Relay, path: str) -> None:
    relay.post()
    answer = relay.ask(get(path, method="HEAD"))
    assert (answer.status, answer.headers["allow"]) == (405, "GET, OPTIONS")
    assert relay.get("/v1/agents/desk-1").json["connected"] is False
    assert relay.hub.notices.subscribers == 0
    assert len(poll(relay).json["messages"]) == 1


def test_what_the_first_call_asks_for_holds_for_its_session(relay: Relay) -> None:
    for _ in range(3):
        relay.post(b'{"a": 1}')
    answer = poll(relay, "wait=0&max_in_flight=1&raw=true&ack_wait=4&client=clock").json
    (message,) = answer["messages"]
    assert (message["payload"], message["encoding"]) == ("eyJhIjogMX0=", "base64")
    assert relay.get("/v1/agents/desk-1").json["client"] == "clock"
    client = relay.begin(get("/v1/agents/desk-1/next?wait=30", relay_session=answer["session"]))
    relay.pass_time(3)
    assert client.answers() == []
    relay.pass_time(2)
    (again,) = client.answer().json["messages"]
    assert (again["id"], again["attempt"]) == (message["id"], 2)


def test_who_polls_takes_over_its_own_session_by_name(relay: Relay) -> None:
    old = poll(relay).json["session"]
    new = poll(relay, f"wait=0&resume={old}").json["session"]
    assert poll(relay, session=old).problem == "ended"
    assert poll(relay, session=new).status == 200


def test_what_is_for_an_agent_that_polls_is_durable_while_its_post_waits(relay: Relay) -> None:
    poll(relay)
    posted = relay.begin(request("POST", "/v1/agents/desk-1/messages", b"1", content_type="application/json"))
    assert posted.answers("POST") == []
    assert relay.get("/v1/agents/desk-1").json["queued"] == 1
    relay.pass_time(6)
    assert posted.answer("POST").json["status"] == "queued"


def test_an_agent_that_polls_puts_off_a_message_and_says_that_it_works_on_another(relay: Relay) -> None:
    for _ in range(2):
        relay.post()
    answer = poll(relay, "wait=0&ack_wait=4").json
    first, second = (message["id"] for message in answer["messages"])
    acks(relay, answer["session"], {"nacks": [{"id": first, "delay": 2}]})
    relay.pass_time(3)
    acks(relay, answer["session"], {"progress": [second]})
    assert [message["id"] for message in poll(relay, session=answer["session"]).json["messages"]] == [first]
    relay.pass_time(3)
    acks(relay, answer["session"], {"acks": [{"id": first}]})
    assert poll(relay, session=answer["session"]).json["messages"] == []
    client = relay.begin(get("/v1/agents/desk-1/next?wait=30", relay_session=answer["session"]))
    relay.pass_time(2)
    assert [message["id"] for message in client.answer().json["messages"]] == [second]


@pytest.mark.parametrize("wait", [0, 0.2, 30])
def test_what_was_due_again_between_two_calls_comes_with_the_next(relay: Relay, wait: float) -> None:
    relay.post()
    answer = poll(relay, "wait=0&ack_wait=20").json
    for attempt, pause in ((2, 25), (3, 45)):
        relay.pass_time(pause)
        client = relay.begin(get(f"/v1/agents/desk-1/next?wait={wait}", relay_session=answer["session"]))
        relay.pass_time(0.2)
        (message,) = client.answer().json["messages"]
        assert (message["id"], message["attempt"]) == (answer["messages"][0]["id"], attempt)


def test_a_call_that_does_not_wait_gets_what_has_to_be_read_from_the_disk_first(relay: Relay) -> None:
    relay.post()
    relay.store.hold(writes=False, reads=True)
    client = relay.begin(get("/v1/agents/desk-1/next?wait=0"))
    relay.pass_time(0.5)
    assert client.answers() == []
    relay.store.release()
    relay.settle()
    answer = client.answer().json
    assert len(answer["messages"]) == 1
    assert poll(relay, session=answer["session"]).json["messages"] == []


def test_a_call_does_not_wait_for_a_disk_that_hangs(relay: Relay) -> None:
    relay.post()
    relay.store.hold(writes=False, reads=True)
    client = relay.begin(get("/v1/agents/desk-1/next?wait=0"))
    relay.pass_time(1.1)
    assert client.answer().json["messages"] == []
    relay.store.release()


@pytest.mark.parametrize("bad", ["max_in_flight=0", f"client={'x' * 129}"])
def test_a_session_that_asks_for_what_there_is_not_is_told_what_there_is(relay: Relay, bad: str) -> None:
    answer = poll(relay, f"wait=0&{bad}")
    assert (answer.status, answer.problem) == (400, "invalid-request")
    assert bad.partition("=")[0] in answer.json["detail"]
    assert poll(relay).status == 200


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"acks":[{}]}', b'{"acks":[{"id":7}]}', b'{"progress":"x"}', b"NaN"])
def test_acks_that_cannot_be_read_are_refused(relay: Relay, body: bytes) -> None:
    session = poll(relay).json["session"]
    assert acks(relay, session, body).problem == "invalid-json"


# -- batches


def batch(relay: Relay, data: bytes, **headers: str | None) -> Client:
    return relay.begin(request("POST", "/v1/messages", data, **{"content_type": "application/x-ndjson", **headers}))


def results(client: Client) -> list[dict[str, Any]]:
    return [json.loads(line) for line in unchunked(bytes(client.socket.sent))[1].splitlines()]


def line(agent: str = "a", payload: Any = 1, **fields: Any) -> bytes:
    return json.dumps({"agent": agent, "payload": payload, **fields}).encode() + b"\n"


def test_every_line_has_its_result_and_a_bad_one_spoils_itself_only(relay: Relay) -> None:
    data = line(ref="one") + b"\n{bad\n" + line("..") + line("b", ref="x" * 65) + line("b").rstrip()
    client = batch(relay, data)
    told = {result["line"]: result for result in results(client)}
    assert sorted(told) == [1, 3, 4, 5, 6]
    assert (told[1]["ref"], told[1]["status"], told[1]["reason"]) == ("one", "queued", "away")
    words = [told[number]["problem"]["type"] for number in (3, 4, 5)]
    assert words == ["/problems/invalid-json", "/problems/invalid-agent-id", "/problems/invalid-json"]
    assert told[6]["status"] == "queued"
    assert client.socket.sent.endswith(b"0\r\n\r\n")


def test_much_of_a_batch_is_read_at_a_time(relay: Relay) -> None:
    client = relay.house.connect()
    read = client.socket.bufferSize
    client.send(request("POST", "/v1/messages", b"", content_type="application/x-ndjson", content_length="1000"))
    assert client.socket.bufferSize == 2 * read


def test_results_come_while_the_body_is_still_on_its_way(relay: Relay) -> None:
    client = relay.house.connect()
    client.send(request("POST", "/v1/messages", b"", content_type="application/x-ndjson", content_length="1000"))
    client.send(line())
    relay.settle()
    assert len(results(client)) == 1


def test_a_line_of_ten_megabytes_is_skipped(relay: Relay) -> None:
    client = batch(relay, line(payload="x" * 10_000_000) + line())
    told = results(client)
    assert [result.get("status") for result in told] == [None, "queued"]
    assert told[0]["problem"]["type"] == "/problems/payload-too-large"


def test_of_a_batch_that_is_cut_off_the_whole_lines_count(relay: Relay) -> None:
    client = relay.house.connect()
    client.send(request("POST", "/v1/messages", b"", content_type="application/x-ndjson", content_length="1000"))
    client.send(line("a") + line("b").rstrip())
    client.socket.hang_up()
    relay.settle()
    assert [item["agent"] for item in relay.get("/v1/agents").json["items"]] == ["a"]


def test_a_batch_whose_publisher_is_gone_holds_up_no_drain(relay: Relay) -> None:
    agent = relay.agent("a")
    client = relay.house.connect()
    client.send(request("POST", "/v1/messages", b"", content_type="application/x-ndjson", content_length="1000"))
    client.send(line("a", wait=30) * 3)
    relay.settle()
    assert len(agent.messages()) == 3
    client.socket.hang_up()
    drained = relay.hub.drain()
    relay.settle()
    assert agent.wire.closed is not None
    agent.conversation.lost(1001, True)
    relay.settle()
    assert drained.called
    assert relay.store.find(agent.messages()[0]["id"]).result is not None


def test_what_is_left_of_a_batch_that_is_cut_off_is_taken_whole(make: Build) -> None:
    relay = make(undecided=10)
    agent = relay.agent("a", max_in_flight=2)
    client = relay.house.connect()
    client.send(request("POST", "/v1/messages", b"", content_type="application/x-ndjson", content_length="9000"))
    client.send(line("a", wait=30) * 35)
    client.socket.hang_up()
    relay.settle()
    assert len(agent.messages()) == 2
    for _ in range(40):
        agent.ack_all()
        relay.settle()
    assert len(agent.messages()) == 35


def test_no_more_is_read_while_much_is_undecided(make: Build) -> None:
    relay = make(undecided=10)
    agent = relay.agent("a")
    client = relay.house.connect()
    data = line() * 25
    client.send(
        request("POST", "/v1/messages", b"", content_type="application/x-ndjson", content_length=str(len(data)))
    )
    client.send(data)
    relay.settle()
    assert len(agent.messages()) == 10
    for _ in range(5):
        agent.ack_all()
        relay.settle()
    assert len(results(client)) == 25
    assert client.socket.sent.endswith(b"0\r\n\r\n")


def test_a_silent_agent_holds_up_the_others_for_a_second_at_most(relay: Relay) -> None:
    relay.agent("mute")
    relay.agent("quick")
    client = batch(relay, line("mute") * 150)
    assert results(client) if client.socket.sent else True
    relay.pass_time(1.5)
    assert [result["status"] for result in results(client)] == ["queued"] * 150


def test_beside_a_silent_agent_the_others_have_all_their_results_after_a_second(make: Build) -> None:
    # The lines that may be undecided are soon the mute one's alone. Were they waited for, each 50 would take as long as
    # a line may wait, and nothing would be read meanwhile.
    relay = make(undecided=50, silent_count=10)
    relay.agent("mute")
    lively = [relay.agent(f"lively-{number}") for number in range(4)]
    names = ["mute", *(f"lively-{number}" for number in range(4))]
    client = batch(relay, b"".join(line(names[at % 5], at, wait=30) for at in range(1000)))
    taken = [0] * 4

    def acknowledge() -> None:
        for number, agent in enumerate(lively):
            ids = [message["id"] for message in agent.messages()[taken[number] :]]
            taken[number] += len(ids)
            agent.say("ack", ids=ids)
        relay.settle()

    for _ in range(5):
        relay.pass_time(0.1)
        acknowledge()
    assert len(results(client)) == sum(taken) < 800
    relay.pass_time(0.6)
    while len(results(client)) < 1000:
        before = sum(taken)
        acknowledge()
        assert sum(taken) > before, "lines for the others wait for something"
    told = {(result["agent"] == "mute", result["status"]) for result in results(client)}
    assert told == {(True, "queued"), (False, "delivered")}
    relay.pass_time(3)


@pytest.mark.parametrize(
    "line",
    [line("a", "x" * 700), line("a" * 128, ref="\x01" * 64), line("", ref="\x01" * 64)],
    ids=["long lines", "long results", "long refusals"],
)
def test_ten_thousand_lines_are_taken_though_no_result_is_read(relay: Relay, line: bytes) -> None:
    client = relay.house.connect()
    client.socket.room = 0
    data = line * 10_000
    assert len(data) < 8 * 1024 * 1024
    client.send(
        request("POST", "/v1/messages", b"", content_type="application/x-ndjson", content_length=str(len(data)))
    )
    client.send(data)
    relay.settle()
    assert client.socket.unread == 0
    relay.pass_time(40)
    assert not client.closed
    client.socket.room = None
    relay.settle()
    assert len(results(client)) == 10_000


def test_a_time_to_live_of_very_many_digits_is_clamped_and_spoils_no_batch(relay: Relay) -> None:
    data = line(ttl=10**400) + b'{"agent":"a","payload":1,"ttl":0,"async":true}\n' + line()
    told = {result["line"]: result for result in results(batch(relay, data))}
    assert {number: result.get("status") for number, result in told.items()} == {1: "queued", 2: None, 3: "queued"}
    assert told[2]["problem"]["type"] == "/problems/invalid-header"


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain"])
def test_a_batch_must_say_that_it_is_one(relay: Relay, content_type: str | None) -> None:
    assert batch(relay, line(), content_type=content_type).answer("POST").problem == "unsupported-media-type"


def test_an_empty_batch_is_answered_with_nothing(relay: Relay) -> None:
    assert b" 200 " in bytes(batch(relay, b"").socket.sent)


def test_a_batch_keeps_the_order_of_an_agents_lines(relay: Relay) -> None:
    batch(relay, b"".join(line("a", number) for number in range(300)))
    assert [message["payload"] for message in relay.agent("a").messages()] == list(range(300))


def test_a_batch_may_pause_and_is_cut_off_when_it_never_goes_on(make: Build) -> None:
    relay = make(batch_pause=20.0)
    head = get("/v1/messages", method="POST", transfer_encoding="chunked", content_type="application/x-ndjson")
    client = relay.begin(head)
    relay.pass_time(19)
    assert not client.closed
    relay.pass_time(8)
    assert client.closed
    assert relay.house.site.counters.table()["batch_pause"] == 1


@pytest.mark.parametrize("small", [{"small_count": 5000}, {"small_bytes": 50_000}])
def test_a_publisher_that_reads_no_results_is_not_read_and_then_cut_off(make: Build, small: dict[str, int]) -> None:
    relay = make(unread=100_000, **small)
    head = get("/v1/messages", method="POST", transfer_encoding="chunked", content_type="application/x-ndjson")
    client = relay.begin(head)
    client.socket.room = 0
    line = b"nonsense\n" * 5000
    for _ in range(4):
        client.send(b"%x\r\n%b\r\n" % (len(line), line))
        relay.settle()
    assert not client.socket.reading
    relay.pass_time(40)
    assert client.closed
    assert relay.house.site.counters.table()["stalled_seconds"] == 1


def test_of_a_strangers_text_the_log_shows_so_much(make: Build, logged_failures: LoggedFailures) -> None:
    relay = make(logged=50)
    site = relay.house.site
    site.resource.render = lambda request: 1 / 0
    with capturedLogs() as logged:
        assert relay.get("/v1/" + "x" * 5000).status == 500
    assert max(len(event["path"]) for event in logged if "path" in event) == 50
    assert logged_failures.flush(ZeroDivisionError)
