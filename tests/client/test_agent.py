"""The agent against a scripted relay, on a fake clock: it registers, handles, reconnects and stops."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from relay.client import Agent, Joined, Message, Nack, Settings
from relay.client.link import LONGEST_HEAD
from relay.client.settings import DEFAULT_MAX_FRAME
from tests.client.support import LIFE, URL, Stage
from tests.conftest import LoggedFailures

Maker = Callable[..., Stage]


def only(frames: list[dict[str, Any]]) -> dict[str, Any]:
    assert len(frames) == 1, frames
    return frames[0]


def done() -> Deferred[None]:
    return succeed(None)


def ids(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["id"] for frame in frames]


# registration


def test_it_offers_the_subprotocol_and_no_compression(stage: Stage) -> None:
    request = stage.connect().request
    assert request is not None
    assert request.path == "/v1/connect"
    assert request.protocols == ["relay.v1"]
    assert request.extensions == []
    assert request.headers["host"] == "127.0.0.1:8080"


def test_its_first_frame_registers_with_what_it_was_asked_to_ask_for(make_stage: Maker) -> None:
    settings = Settings(client="typist/2", max_in_flight=7, ack_wait=12, on_duplicate="replace")
    relay = make_stage(settings).start().connect()
    assert only(relay.take()) == {
        "type": "register",
        "agent": "desk-1",
        "client": "typist/2",
        "max_in_flight": 7,
        "ack_wait": 12.0,
        "max_frame": DEFAULT_MAX_FRAME,
        "on_duplicate": "replace",
        "batch": True,
    }


def test_it_tells_that_it_is_registered(stage: Stage) -> None:
    stage.register(queued=3)
    notice = stage.notices[-1]
    assert isinstance(notice, Joined)
    assert (notice.frame.session, notice.frame.queued) == ("s1", 3)


def test_it_comes_back_with_the_session_that_it_had(stage: Stage) -> None:
    assert "resume" not in only(stage.register().take("register"))
    stage.drop()
    stage.advance(1)
    assert only(stage.connect().take("register"))["resume"] == "s1"


def test_a_token_is_sent_in_the_upgrade_and_asked_for_afresh_each_time(make_stage: Maker) -> None:
    tokens = iter(["old", "new"])
    stage = make_stage(token=lambda: next(tokens)).start()
    request = stage.connect().request
    assert request is not None
    assert request.headers["authorization"] == "Bearer old"
    stage.close(4010, "token-expired")
    stage.advance(1)
    request = stage.connect().request
    assert request is not None
    assert request.headers["authorization"] == "Bearer new"


def test_the_brackets_of_an_ipv6_host_are_kept(make_stage: Maker) -> None:
    request = make_stage(url="http://[::1]:8080").start().connect().request
    assert request is not None
    assert request.headers["host"] == "[::1]:8080"


def test_a_relay_that_does_not_answer_the_registration_is_left(stage: Stage) -> None:
    stage.connect()
    stage.advance(29)
    assert not stage.relay.gone
    stage.advance(1)
    assert stage.relay.gone
    stage.advance(1)
    assert stage.connecting()


def test_something_that_takes_the_connection_and_says_nothing_is_left_too(stage: Stage) -> None:
    server = stage.answer_with(b"")
    stage.advance(29)
    assert not server.gone
    stage.advance(1)
    assert server.gone
    assert stage.parted().again_in == 0.5


def test_messages_before_the_registration_are_ignored(stage: Stage) -> None:
    stage.connect()
    stage.push("m1")
    assert stage.messages == []


def test_names_and_urls_that_cannot_be_are_refused_at_once() -> None:
    for url, name in (("ftp://relay", "desk-1"), ("http://", "desk-1"), (URL, ".."), (URL, "desk 1"), (URL, "")):
        with pytest.raises(ValueError, match=r"URL|name"):
            Agent(url, name, Stage().collect, reactor=Stage().reactor)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_in_flight": 0},
        {"max_in_flight": 10_001},
        {"ack_wait": -1},
        {"ack_wait": 3601},
        {"max_frame": 65535},
        {"on_duplicate": "ask"},
        {"client": "x" * 129},
        {"concurrency": 0},
        {"patience": 0},
        {"stop_limit": -1},
    ],
)
def test_settings_out_of_bounds_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^{next(iter(wrong))} must be"):
        Settings(**wrong)


# messages


def test_a_message_is_acknowledged_when_its_handler_returns(make_stage: Maker) -> None:
    stage = make_stage(slow=True).start()
    relay = stage.register()
    stage.push("m1", "hello")
    assert stage.messages[0].text == "hello"
    assert relay.take("ack") == []
    stage.let_go("m1")
    assert ids(relay.take("ack")) == ["m1"]


@pytest.mark.parametrize("answer", [{"n": [1, None, "é"]}, "typed", 0, False, "x" * (64 * 1024 - 2)])
def test_what_a_handler_returns_is_the_reply(make_stage: Maker, answer: object) -> None:
    async def handle(message: Message) -> object:
        return answer

    stage = make_stage(handler=handle).start()
    relay = stage.register()
    relay.take()
    stage.push("m1")
    assert only(relay.take()) == {"type": "ack", "id": "m1", "reply": answer}


@pytest.mark.parametrize("answer", [object(), "x" * (64 * 1024 - 1), "\ud800", None])
def test_work_that_is_done_is_acknowledged_whatever_its_reply(make_stage: Maker, answer: object) -> None:
    async def handle(message: Message) -> object:
        return answer

    stage = make_stage(handler=handle).start()
    relay = stage.register()
    relay.take()
    stage.push("m1")
    assert only(relay.take()) == {"type": "ack", "id": "m1"}


def test_a_handler_that_gives_a_message_back_says_when_and_why(make_stage: Maker) -> None:
    async def refuse(message: Message) -> None:
        raise Nack("the printer is out of paper", requeue=message.id == "m1", delay=90 if message.id == "m1" else None)

    stage = make_stage(handler=refuse).start()
    relay = stage.register()
    stage.push("m1")
    stage.push("m2")
    assert relay.take("nack") == [
        {"type": "nack", "id": "m1", "delay": 90, "reason": "the printer is out of paper"},
        {"type": "nack", "id": "m2", "requeue": False, "reason": "the printer is out of paper"},
    ]


def test_any_other_exception_gives_the_message_back(make_stage: Maker) -> None:
    async def stumble(message: Message) -> None:
        raise KeyError("x" * 5000)

    stage = make_stage(handler=stumble).start()
    relay = stage.register()
    stage.push("m1")
    nack = only(relay.take("nack"))
    assert nack["reason"].startswith("KeyError: 'xxx")
    assert len(nack["reason"]) == 1000


def test_a_handler_that_gives_a_deferred_is_waited_for_too(make_stage: Maker) -> None:
    work: Deferred[None] = Deferred()
    stage = make_stage(handler=lambda message: work).start()
    relay = stage.register()
    stage.push("m1")
    assert relay.take("ack") == []
    work.callback(None)
    stage.flush()
    assert ids(relay.take("ack")) == ["m1"]


def test_messages_are_handled_one_at_a_time_in_order(make_stage: Maker) -> None:
    stage = make_stage(slow=True).start()
    stage.register()
    for id in ("m1", "m2", "m3"):
        stage.push(id)
    assert list(stage.pending) == ["m1"]
    stage.let_go("m1")
    assert list(stage.pending) == ["m1", "m2"]
    stage.let_go("m2")
    assert list(stage.pending) == ["m1", "m2", "m3"]


def test_no_more_handlers_run_at_a_time_than_were_allowed(make_stage: Maker) -> None:
    stage = make_stage(Settings(concurrency=2), slow=True).start()
    stage.register()
    for id in ("m1", "m2", "m3"):
        stage.push(id)
    assert list(stage.pending) == ["m1", "m2"]
    stage.let_go("m2")
    assert list(stage.pending) == ["m1", "m2", "m3"]


def test_a_thousand_messages_that_wait_behind_one_need_no_deeper_stack(make_stage: Maker) -> None:
    first: Deferred[None] = Deferred()
    stage = make_stage(Settings(max_in_flight=2000), handler=lambda message: first if message.id == "m0" else done())
    relay = stage.start().register()
    for number in range(2000):
        stage.relay.sendMessage(json.dumps({"type": "message", "id": f"m{number}", "payload": 1, **LIFE}).encode())
    stage.flush()
    first.callback(None)
    stage.flush()
    assert ids(relay.take("ack")) == [f"m{number}" for number in range(2000)]


def test_a_handler_that_takes_too_long_is_cancelled_and_the_message_given_back(make_stage: Maker) -> None:
    stage = make_stage(Settings(patience=60), slow=True).start()
    relay = stage.register()
    stage.push("m1")
    stage.advance(59)
    assert relay.take("nack") == []
    stage.advance(1)
    assert only(relay.take("nack"))["reason"] == "not processed within 60 s"


def test_frames_that_are_none_do_no_harm(stage: Stage) -> None:
    relay = stage.register()
    deep = b"[" * 5000 + b"]" * 5000
    for frame in (
        b"nonsense",
        b"[]",
        b'{"type": "message"}',
        b'{"type": "message", "id": 7}',
        b'{"type": "new"}',
        deep,
    ):
        stage.say_raw(frame)
    stage.say("registered", agent="desk-2", session="other")
    stage.push("m1")
    assert [message.agent for message in stage.messages] == ["desk-1"]
    assert ids(relay.take("ack")) == ["m1"]


# the same message twice


def test_a_message_that_was_acknowledged_is_acknowledged_again_and_not_handled(stage: Stage) -> None:
    stage.register()
    stage.push("m1")
    stage.drop()
    stage.advance(1)
    relay = stage.register()
    stage.push("m1", attempt=2)
    assert len(stage.messages) == 1
    assert ids(relay.take("ack")) == ["m1"]


def test_a_message_that_was_given_back_is_handled_again(make_stage: Maker) -> None:
    tries = iter([fail(Nack("not yet")), done()])
    stage = make_stage(handler=lambda message: next(tries)).start()
    relay = stage.register()
    stage.push("m1")
    assert ids(relay.take("nack")) == ["m1"]
    stage.push("m1", attempt=2)
    assert ids(relay.take("ack")) == ["m1"]


def test_a_message_that_comes_again_while_it_is_handled_is_handled_once(make_stage: Maker) -> None:
    stage = make_stage(slow=True).start()
    stage.register()
    stage.push("m1")
    stage.drop()
    stage.advance(1)
    relay = stage.register()
    assert only(relay.take("progress"))["ids"] == ["m1"]
    stage.push("m1", attempt=2)
    assert ids(relay.take("progress")) == ["m1"]
    stage.let_go("m1")
    assert ids(relay.take("ack")) == ["m1"]
    assert len(stage.messages) == 1


def test_what_was_not_begun_when_the_connection_went_is_left_to_be_sent_again(make_stage: Maker) -> None:
    stage = make_stage(slow=True).start()
    stage.register()
    stage.push("m1")
    stage.push("m2")
    stage.drop()
    stage.advance(1)
    relay = stage.register()
    stage.let_go("m1")
    assert list(stage.pending) == ["m1"]
    assert ids(relay.take("ack")) == ["m1"]
    stage.push("m2", attempt=2)
    stage.let_go("m2")
    assert ids(relay.take("ack")) == ["m2"]


def test_an_answer_that_found_no_connection_is_given_when_the_message_comes_again(make_stage: Maker) -> None:
    stage = make_stage(slow=True).start()
    stage.register()
    stage.push("m1")
    stage.drop()
    stage.let_go("m1")
    stage.advance(1)
    relay = stage.register()
    stage.push("m1", attempt=2)
    assert ids(relay.take("ack")) == ["m1"]
    assert len(stage.messages) == 1


# still working


def test_it_says_that_it_is_still_working_before_the_redelivery_is_due(make_stage: Maker) -> None:
    stage = make_stage(slow=True).start()
    relay = stage.register(ack_wait=30)
    stage.push("m1")
    stage.push("m2")
    for _ in range(6):
        stage.advance(10)
        assert only(relay.take("progress"))["ids"] == ["m1", "m2"]
    stage.let_go("m1")
    stage.advance(10)
    assert only(relay.take("progress"))["ids"] == ["m2"]
    stage.let_go("m2")
    stage.advance(10)
    assert relay.take("progress") == []


def test_it_says_nothing_of_the_kind_where_nothing_is_ever_sent_again(make_stage: Maker) -> None:
    stage = make_stage(slow=True).start()
    relay = stage.register(ack_wait=0, heartbeat=3600)
    stage.push("m1")
    stage.advance(60)
    assert relay.take("progress") == []


# bounds


def test_more_than_was_asked_for_is_given_back(make_stage: Maker) -> None:
    stage = make_stage(Settings(max_in_flight=2, concurrency=1), slow=True).start()
    relay = stage.register()
    for id in ("m1", "m2", "m3", "m4"):
        stage.push(id)
    assert ids(relay.take("nack")) == ["m4"]


def test_large_messages_in_hand_close_the_window_until_half_of_them_are_handled(make_stage: Maker) -> None:
    stage = make_stage(Settings(max_bytes=64 * 1024, max_in_flight=9), slow=True).start()
    relay = stage.register()
    for id in ("m1", "m2", "m3", "m4"):
        stage.push(id, "x" * 20_000)
    assert only(relay.take("window"))["max_in_flight"] == 0
    stage.let_go("m1")
    stage.let_go("m2")
    assert relay.take("window") == []
    stage.let_go("m3")
    assert only(relay.take("window"))["max_in_flight"] == 9


@pytest.mark.parametrize("ack_wait", [0, 30])
def test_the_window_is_closed_in_the_next_session_too_while_there_is_no_room(make_stage: Maker, ack_wait: int) -> None:
    stage = make_stage(Settings(max_bytes=64 * 1024), slow=True).start()
    stage.register()
    stage.push("m1", "x" * 70_000)
    stage.drop()
    stage.advance(1)
    assert only(stage.register(ack_wait=ack_wait).take("window"))["max_in_flight"] == 0


def test_a_frame_that_is_too_large_ends_the_connection_and_not_the_agent(make_stage: Maker) -> None:
    stage = make_stage(Settings(max_frame=65536)).start()
    stage.register()
    stage.push("m1", "x" * 70_000)
    assert stage.relay.closed_with == 1009
    assert stage.messages == []
    stage.drop()
    assert "65536" in stage.parted().verdict.sentence
    stage.advance(1)
    assert stage.connecting()


def test_a_message_in_fragments_without_end_is_not_waited_for(stage: Stage) -> None:
    relay = stage.register()
    relay.beginMessage()
    for _ in range(1001):
        relay.sendMessageFrame(b"")
    stage.flush()
    assert relay.gone


def test_binary_frames_are_not_frames_of_the_protocol(stage: Stage) -> None:
    relay = stage.register()
    relay.sendMessage(b'{"type":"message","id":"m1","payload":1}', isBinary=True)
    stage.flush()
    assert stage.messages == []


def test_pings_are_answered_and_of_those_that_cannot_be_only_the_newest(stage: Stage) -> None:
    relay = stage.register()
    relay.sendPing(b"1")
    stage.flush()
    client = stage.pumps[-1].client._wrappedProtocol
    client.pauseProducing()
    for number in (b"2", b"3", b"4"):
        relay.sendPing(number)
    stage.flush()
    assert relay.pongs == [b"1"]
    client.resumeProducing()
    stage.flush()
    assert relay.pongs == [b"1", b"4"]


# silence


def test_after_a_silence_it_asks_and_an_answer_is_enough(stage: Stage) -> None:
    relay = stage.register(heartbeat=30)
    stage.advance(39)
    assert relay.take("ping") == []
    stage.advance(1)
    assert len(relay.take("ping")) == 1
    stage.say("pong")
    stage.advance(39)
    assert relay.take("ping") == []
    stage.advance(1)
    assert len(relay.take("ping")) == 1
    assert not relay.gone


def test_a_relay_that_stays_silent_is_left_for_another_try(stage: Stage) -> None:
    relay = stage.register(heartbeat=30)
    stage.advance(49.5)
    assert not relay.gone
    stage.advance(0.5)
    assert relay.gone
    assert "nothing came" in stage.parted().verdict.sentence
    stage.advance(1)
    assert stage.connecting()


def test_the_relays_own_pings_are_signs_of_life(stage: Stage) -> None:
    relay = stage.register(heartbeat=30)
    for _ in range(5):
        stage.advance(30)
        relay.sendPing(b"alive")
        stage.flush()
    assert relay.take("ping") == []


# coming back


def test_delays_double_up_to_a_minute_and_begin_anew_after_a_long_session(make_stage: Maker) -> None:
    stage = make_stage(chance=lambda: 1.0).start()
    delays = []
    for _ in range(8):
        stage.completer.failOnce()
        delays.append(stage.parted().again_in or 0.0)
        stage.advance(delays[-1])
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
    stage.register()
    stage.advance(59)
    stage.drop()
    assert stage.parted().again_in == 60
    stage.advance(60)
    stage.register(heartbeat=60)
    stage.advance(60)
    stage.drop()
    assert stage.parted().again_in == 1


@pytest.mark.parametrize(
    ("code", "reason", "again_in"),
    [
        (1001, "draining; retry_after=7", 7.5),
        (1000, "", 0.5),
        (1011, "internal", 0.5),
        (1012, "", 0.5),
        (4000, "duplicate", 60.5),
        (4005, "operator", 30.5),
        (4005, "operator; retry_after=90", 90.5),
        (4008, "slow", 0.5),
        (4009, "moved", 0.5),
        (4013, "overloaded; retry_after=2.5", 3.0),
        (4999, "unheard-of", 0.5),
    ],
)
def test_it_comes_back_after_these_and_not_too_early(stage: Stage, code: int, reason: str, again_in: float) -> None:
    stage.register()
    stage.close(code, reason)
    assert stage.parted().again_in == again_in
    stage.advance(again_in - 0.25)
    assert not stage.connecting()
    stage.advance(0.25)
    assert stage.connecting()


@pytest.mark.parametrize("code", [1003, 1007, 1009, 4001, 4002, 4003, 4004])
def test_it_does_not_come_back_after_these(stage: Stage, code: int) -> None:
    stopped = stage.agent.when_stopped()
    stage.register()
    stage.close(code, "word")
    assert stage.parted().again_in is None
    assert str(code) in stage.parted().verdict.sentence
    assert stage.reactor.getDelayedCalls() == []
    results: list[Any] = []
    stopped.addCallback(results.append)
    stage.agent.when_stopped().addCallback(results.append)
    assert results == [stage.parted().verdict] * 2


def test_what_the_relay_said_before_it_closed_is_in_the_sentence(stage: Stage) -> None:
    stage.connect()
    holder = {"since": "2026-01-01T00:00:00Z", "client": "typist/2"}
    stage.say("error", code="duplicate", detail="desk-1 is held", holder=holder)
    stage.close(4000, "duplicate")
    sentence = stage.parted().verdict.sentence
    assert sentence.startswith("another connection holds this agent (4000): duplicate: desk-1 is held")
    assert "typist/2" in sentence


def test_an_old_complaint_is_not_blamed_for_a_later_end(stage: Stage) -> None:
    stage.register()
    stage.say("error", code="invalid-frame", detail="no id")
    stage.push("m1")
    stage.close(1001, "draining")
    assert "no id" not in stage.parted().verdict.sentence


@pytest.mark.parametrize(
    ("head", "again_in"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 9\r\n", 9.5),
        (b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 4\r\n", 4.5),
        (b"HTTP/1.1 502 Bad Gateway\r\n", 0.5),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://elsewhere/\r\n", 0.5),
        (b"HTTP/1.1 400 Bad Request\r\n", None),
        (b"HTTP/1.1 401 Unauthorized\r\n", None),
        (b"HTTP/1.1 403 Forbidden\r\n", None),
        (b"HTTP/1.1 404 Not Found\r\n", None),
    ],
)
def test_an_upgrade_that_is_refused_is_judged_by_its_status(stage: Stage, head: bytes, again_in: float | None) -> None:
    stage.answer_with(head + b'Content-Type: application/problem+json\r\n\r\n{"detail": "because of the moon"}')
    assert stage.parted().again_in == again_in
    assert head.split()[1].decode() in stage.parted().verdict.sentence
    assert "because of the moon" in stage.parted().verdict.sentence


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 \xff\r\n\r\n",
        b"HTTP/1.1 503 x\r\nX: " + b"x" * LONGEST_HEAD,
        b"\x00" * (LONGEST_HEAD + 1),
    ],
)
def test_something_that_is_no_relay_is_left_for_another_try(stage: Stage, answer: bytes) -> None:
    stage.answer_with(answer)
    assert stage.parted().again_in == 0.5


def test_nothing_at_the_other_end_is_told_as_such(stage: Stage) -> None:
    stage.completer.failOnce()
    assert stage.parted().verdict.sentence.startswith("the relay cannot be reached: Connection was refused")


def test_a_relay_that_closes_and_then_keeps_the_connection_is_dropped(stage: Stage) -> None:
    relay = stage.register()
    relay.sendCloseFrame(1001, b"draining")
    # The twin keeps the connection: it has not seen our answer.
    stage.pumps[-1].server.dataReceived = lambda data: None
    stage.flush()
    stage.advance(4.75)
    assert not relay.gone
    stage.advance(0.25)
    assert relay.gone
    assert "(1001)" in stage.parted().verdict.sentence


def test_a_notice_that_fails_is_logged_and_nothing_else(make_stage: Maker, logged_failures: LoggedFailures) -> None:
    stage = make_stage()
    stage.agent._notice = lambda event: 1 / 0
    stage.start()
    stage.register()
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    stage.push("m1")
    assert len(stage.messages) == 1


# stopping


def test_it_stops_in_order(make_stage: Maker) -> None:
    stage = make_stage(slow=True).start()
    relay = stage.register()
    stage.push("m1")
    stage.push("m2")
    relay.take()
    stopped = stage.stop()
    assert only(relay.take())["type"] == "window"
    stage.push("m3")
    assert not stopped.called
    stage.let_go("m1")
    assert ids(relay.take()) == ["m1"]
    assert relay.closed_with == 1000
    assert stopped.called
    assert list(stage.pending) == ["m1"]


def test_a_handler_that_does_not_end_is_cancelled_at_the_limit_and_its_message_left_alone(make_stage: Maker) -> None:
    stage = make_stage(Settings(stop_limit=10), slow=True).start()
    relay = stage.register()
    stage.push("m1")
    stopped = stage.stop()
    relay.take()
    stage.advance(9.75)
    assert not stopped.called
    stage.advance(0.25)
    assert stopped.called
    assert {frame["type"] for frame in relay.take()} == {"progress"}
    assert relay.closed_with == 1000


def test_a_relay_that_does_not_answer_the_close_is_not_waited_for(stage: Stage) -> None:
    stage.register()
    stage.pumps[-1].server.dataReceived = lambda data: None
    stopped = stage.stop()
    assert not stopped.called
    stage.advance(5)
    assert stopped.called


def test_it_stops_while_it_waits_for_the_next_try(stage: Stage) -> None:
    stage.completer.failOnce()
    assert stage.stop().called
    assert stage.reactor.getDelayedCalls() == []


def test_it_stops_while_it_connects(stage: Stage) -> None:
    connector = stage.reactor.connectors[0]
    assert stage.stop().called
    assert connector.stoppedConnecting


def test_it_stops_while_it_is_upgraded(stage: Stage) -> None:
    server = stage.answer_with(b"")
    assert stage.stop().called
    assert server.gone


def test_it_stops_while_it_registers(stage: Stage) -> None:
    stage.connect()
    assert stage.stop().called
    assert stage.relay.gone


def test_it_may_be_stopped_twice_and_before_it_began(make_stage: Maker) -> None:
    stage = make_stage()
    assert stage.stop().called
    assert stage.stop().called
    with pytest.raises(RuntimeError):
        stage.agent.startService()


def test_a_handler_may_stop_its_agent_and_its_message_is_acknowledged(make_stage: Maker) -> None:
    async def enough(message: Message) -> None:
        stage.agent.stopService()

    stage = make_stage(Settings(max_in_flight=1), handler=enough).start()
    relay = stage.register()
    relay.take()
    stage.push("m1")
    assert [frame["type"] for frame in relay.take()] == ["window", "ack"]
    assert relay.closed_with == 1000
