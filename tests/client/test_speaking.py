"""What an agent says beside its answers: confirmed ACKs, publications, its window, a fresh token."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from relay.client import Answer, Feed, Message, Nack, Refused, Settings, Unreachable
from relay.client.publications import MOST
from tests.client.support import LIFE, Stage
from tests.conftest import LoggedFailures

Maker = Callable[..., Stage]


def only(frames: list[dict[str, Any]]) -> dict[str, Any]:
    assert len(frames) == 1, frames
    return frames[0]


def result(waiting: Deferred[Any]) -> Any:
    results: list[Any] = []
    waiting.addCallback(results.append)
    assert results, "nothing is known yet"
    return results[0]


def failure(waiting: Deferred[Any], kind: type[Exception]) -> Any:
    failures: list[Any] = []
    waiting.addErrback(failures.append)
    assert failures, "it has not failed"
    failures[0].trap(kind)
    return failures[0].value


def delivery(id: str, payload: Any = "hello") -> dict[str, Any]:
    return {"type": "message", "id": id, "payload": payload, "content_type": "text/plain", **LIFE}


# messages, many in a frame


def test_messages_of_one_frame_are_handled_in_order_and_acknowledged_in_one(stage: Stage) -> None:
    relay = stage.register()
    relay.take()
    stage.say("messages", messages=[delivery(f"m{number}") for number in range(5)])
    assert [message.id for message in stage.messages] == [f"m{number}" for number in range(5)]
    assert only(relay.take()) == {"type": "ack", "ids": ["m0", "m1", "m2", "m3", "m4"]}


def test_who_wants_no_more_than_a_message_in_a_frame_can_say_so(make_stage: Maker) -> None:
    register = only(make_stage(Settings(batch=False, raw=True)).start().connect().take())
    assert "batch" not in register
    assert register["raw"] is True


def test_an_agent_that_stops_in_the_middle_of_a_frame_acknowledges_what_it_has_handled(make_stage: Maker) -> None:
    async def enough(message: Message) -> None:
        if message.id == "m1":
            stage.agent.stopService()

    stage = make_stage(handler=enough).start()
    relay = stage.register()
    stage.say("messages", messages=[delivery("m0"), delivery("m1"), delivery("m2")])
    assert [frame["ids"] for frame in relay.take("ack")] == [["m0", "m1"]]
    assert relay.closed_with == 1000


def test_a_raw_payload_is_the_bytes_that_were_posted_and_a_text_is_still_one(make_stage: Maker) -> None:
    stage = make_stage(Settings(raw=True)).start()
    stage.register()
    posted = "grün".encode("latin-1")
    payload = base64.b64encode(posted).decode()
    stage.push("m1", payload, encoding="base64", content_type="text/plain; charset=iso-8859-1")
    message = stage.messages[0]
    assert (message.body, message.payload, message.text) == (posted, posted, "grün")


# confirmed ACKs


class Keeper:
    """A handler that acknowledges by itself, and hears when that is safe."""

    def __init__(self, reply: object = None, error: Exception | None = None) -> None:
        self.stage: Stage
        self.reply = reply
        self.error = error
        self.confirmed: list[Deferred[bool]] = []
        self.calls = 0

    async def __call__(self, message: Message) -> str:
        self.calls += 1
        self.confirmed.append(self.stage.agent.acknowledge(message, self.reply))
        if self.error is not None:
            raise self.error
        return "said too late"


def keeping(make_stage: Maker, **fields: Any) -> Keeper:
    keeper = Keeper(**fields)
    keeper.stage = make_stage(handler=keeper).start()
    keeper.stage.register()
    keeper.stage.relay.take()
    return keeper


def test_an_ack_is_confirmed_when_the_relay_has_recorded_it(make_stage: Maker) -> None:
    keeper = keeping(make_stage, reply={"n": 1})
    keeper.stage.push("m1")
    ack = {"type": "ack", "id": "m1", "reply": {"n": 1}, "confirm": True}
    assert only(keeper.stage.relay.take()) == ack
    assert not keeper.confirmed[0].called
    keeper.stage.say("acked", ids=["m1"], unknown=[])
    assert result(keeper.confirmed[0]) is True


def test_an_ack_for_which_the_relay_did_not_wait_is_told_as_such(make_stage: Maker) -> None:
    keeper = keeping(make_stage)
    keeper.stage.push("m1")
    keeper.stage.say("acked", ids=[], unknown=["m1"])
    assert result(keeper.confirmed[0]) is False


def test_an_acknowledged_message_that_comes_again_is_not_handled_again(make_stage: Maker) -> None:
    keeper = keeping(make_stage)
    keeper.stage.push("m1")
    keeper.stage.drop()
    assert "session ended" in str(failure(keeper.confirmed[0], Unreachable))
    keeper.stage.advance(1)
    relay = keeper.stage.register()
    relay.take()
    keeper.stage.push("m1")
    assert keeper.calls == 1
    assert only(relay.take()) == {"type": "ack", "id": "m1"}


@pytest.mark.parametrize("error", [Nack("no"), ZeroDivisionError()])
def test_a_handler_that_fails_after_its_ack_gives_nothing_back(
    make_stage: Maker, logged_failures: LoggedFailures, error: Exception
) -> None:
    keeper = keeping(make_stage, error=error)
    keeper.stage.push("m1")
    assert [frame["type"] for frame in keeper.stage.relay.take()] == ["ack"]
    assert len(logged_failures.flush(type(error))) == 1
    keeper.stage.say("acked", ids=["m1"], unknown=[])
    assert result(keeper.confirmed[0]) is True


def test_nothing_more_is_said_of_a_message_that_is_acknowledged_and_still_handled(make_stage: Maker) -> None:
    stage = make_stage(slow=True).start()
    relay = stage.register(ack_wait=3)
    stage.push("m1")
    waiting = stage.agent.acknowledge(stage.messages[0])
    relay.take()
    stage.say("acked", ids=["m1"], unknown=[])
    stage.advance(3)
    assert result(waiting) is True
    assert relay.take("progress") == []


def test_an_ack_that_is_not_confirmed_is_not_waited_for_without_end(make_stage: Maker) -> None:
    keeper = keeping(make_stage)
    keeper.stage.push("m1")
    keeper.stage.advance(30)
    assert "within 30 s" in str(failure(keeper.confirmed[0], Unreachable))


@pytest.mark.parametrize("reply", [object(), "x" * 65537])
def test_a_reply_that_cannot_be_sent_is_refused_before_anything_is_acknowledged(make_stage: Maker, reply: Any) -> None:
    stage = make_stage(slow=True).start()
    relay = stage.register()
    stage.push("m1")
    failure(stage.agent.acknowledge(stage.messages[0], reply), ValueError)
    assert relay.take("ack") == []


def test_without_a_session_there_is_no_ack_to_be_confirmed(make_stage: Maker) -> None:
    stage = make_stage(slow=True).start()
    stage.register()
    stage.push("m1")
    stage.drop()
    failure(stage.agent.acknowledge(stage.messages[0]), Unreachable)


# window and progress


def test_the_window_can_be_closed_and_opened_and_stays_so_in_the_next_session(stage: Stage) -> None:
    relay = stage.register()
    stage.agent.window(0)
    stage.flush()
    assert only(relay.take("window"))["max_in_flight"] == 0
    stage.drop()
    stage.advance(1)
    relay = stage.register()
    assert only(relay.take("window"))["max_in_flight"] == 0
    stage.agent.window(100)
    stage.flush()
    assert only(relay.take("window"))["max_in_flight"] == 100


@pytest.mark.parametrize("window", [-1, 101])
def test_a_window_beyond_what_was_registered_is_refused(stage: Stage, window: int) -> None:
    with pytest.raises(ValueError, match="0 to 100"):
        stage.agent.window(window)


def test_progress_can_be_said_by_hand(make_stage: Maker) -> None:
    stage = make_stage(slow=True).start()
    relay = stage.register()
    stage.push("m1")
    stage.agent.progress(stage.messages)
    stage.flush()
    assert only(relay.take("progress"))["ids"] == ["m1"]


# publications


@pytest.fixture
def feed(make_stage: Maker) -> Stage:
    stage = make_stage(feed=True).start()
    stage.register(agent=None)
    return stage


def publish(stage: Stage, *args: Any, **fields: Any) -> Deferred[Answer]:
    published = stage.presence.publish(*args, **fields)
    stage.flush()
    return published


def test_a_feed_registers_without_a_name(feed: Stage) -> None:
    assert isinstance(feed.presence, Feed)
    register = only(feed.relay.take("register"))
    assert "agent" not in register
    assert "max_in_flight" not in register


@pytest.mark.parametrize("only_publishes", [True, False])
def test_a_message_is_published_over_the_socket_and_its_answer_comes_back(
    make_stage: Maker, only_publishes: bool
) -> None:
    stage = make_stage(feed=only_publishes).start()
    stage.register()
    wishes = {"wait": 2, "ttl": 60, "topic": "mood", "key": "k", "headers": {"room": "1"}, "respond_async": True}
    answer = publish(stage, "desk-2", "grün", callback="https://shop.example/told", **wishes)
    frame = only(stage.relay.take("publish"))
    assert base64.b64decode(frame.pop("payload")).decode() == "grün"
    assert frame == {
        "type": "publish",
        "ref": "1",
        "agent": "desk-2",
        "encoding": "base64",
        "content_type": "text/plain; charset=utf-8",
        "wait": 2,
        "async": True,
        "ttl": 60,
        "topic": "mood",
        "idempotency_key": "k",
        "callback_url": "https://shop.example/told",
        "headers": {"room": "1"},
    }
    stage.say("result", ref="1", id="m1", agent="desk-2", status="delivered", attempts=1, reply={"n": 1})
    told = result(answer)
    assert (told.id, told.status, told.reply) == ("m1", "delivered", b'{"n": 1}')


def test_json_is_published_byte_for_byte(feed: Stage) -> None:
    sent: list[bytes] = []
    feed.relay.onMessage = lambda payload, isBinary: sent.append(payload)  # type: ignore[method-assign]  # looks at bytes
    publish(feed, "desk-2", b'{"n":\n -0.0 }', content_type="application/json").addErrback(lambda _: None)
    assert b'"payload":{"n":  -0.0 }' in sent[0]


@pytest.mark.parametrize(
    ("args", "fields"),
    [
        (("..", "x"), {}),
        (("desk-2", ""), {}),
        (("desk-2", b"{"), {"content_type": "application/json"}),
        (("desk-2", b'"\xff"'), {"content_type": "application/json"}),
        (("desk-2", bytes(2 * 1024 * 1024)), {}),
    ],
)
def test_what_cannot_be_published_is_refused_without_a_frame(
    feed: Stage, args: tuple[Any, ...], fields: dict[str, Any]
) -> None:
    failure(publish(feed, *args, **fields), ValueError)
    assert feed.relay.take("publish") == []


def test_a_publication_that_is_refused_fails_with_its_problem(feed: Stage) -> None:
    answer = publish(feed, "desk-2", "x")
    problem = {"type": "/problems/rejected", "status": 422, "detail": "no such printer", "id": "m1"}
    feed.say("result", ref="1", problem=problem)
    refused = failure(answer, Refused).problem
    assert (refused.word, refused.status, refused.detail, refused.id) == ("rejected", 422, "no such printer", "m1")


def test_an_error_about_a_publication_is_its_answer(feed: Stage) -> None:
    answer = publish(feed, "desk-2", "x")
    feed.say("error", code="rate-limited", detail="slower", ref="1")
    assert failure(answer, Refused).problem.word == "rate-limited"


def test_results_may_come_in_any_order_and_unknown_ones_do_no_harm(feed: Stage) -> None:
    first, second = publish(feed, "desk-2", "x"), publish(feed, "desk-2", "y")
    for ref in ("2", "77", "2", "1"):
        feed.say("result", ref=ref, id=f"m{ref}", agent="desk-2", status="queued", reason="away")
    assert (result(first).id, result(second).id) == ("m1", "m2")


def test_a_result_that_is_none_is_no_answer(feed: Stage) -> None:
    answer = publish(feed, "desk-2", "x")
    feed.say("result", ref="1", status="delivered")
    assert "not a relay" in str(failure(answer, Unreachable))


def test_what_is_under_way_when_the_connection_breaks_ends_with_a_clear_error(feed: Stage) -> None:
    answer = publish(feed, "desk-2", "x")
    feed.drop()
    assert "may have been delivered" in str(failure(answer, Unreachable))
    assert "no session" in str(failure(publish(feed, "desk-2", "x"), Unreachable))


@pytest.mark.parametrize(("wait", "limit"), [(None, 45), (0, 15), (10, 25)])
def test_a_result_is_waited_for_a_little_longer_than_it_may_take(feed: Stage, wait: int | None, limit: int) -> None:
    answer = publish(feed, "desk-2", "x", wait=wait)
    feed.advance(limit - 0.25)
    assert not answer.called
    feed.advance(0.25)
    assert f"within {limit} s" in str(failure(answer, Unreachable))
    feed.say("result", ref="1", id="m1", agent="desk-2", status="delivered")


def test_no_more_are_undecided_than_the_relay_takes(feed: Stage) -> None:
    answers = [feed.presence.publish("desk-2", "x") for _ in range(MOST)]
    assert failure(feed.presence.publish("desk-2", "x"), Refused).problem.word == "rate-limited"
    feed.flush()
    feed.say("result", ref="1", id="m1", agent="desk-2", status="delivered")
    assert result(answers[0]).delivered
    answers.append(feed.presence.publish("desk-2", "x"))
    feed.drop()
    for answer in answers[1:]:
        failure(answer, Unreachable)


def test_no_more_bytes_are_undecided_than_there_is_room_for(feed: Stage) -> None:
    megabyte = bytes(1024 * 1024)
    answers = [feed.presence.publish("desk-2", megabyte) for _ in range(13)]
    refused = [answer for answer in answers if answer.called]
    assert 1 <= len(refused) <= 3
    for answer in refused:
        assert failure(answer, Refused).problem.word == "rate-limited"
    feed.drop()
    for answer in answers:
        answer.addErrback(lambda _: None)


# tokens


def hour(minutes: float) -> str:
    return f"2026-01-01T{10 + int(minutes) // 60:02d}:{int(minutes) % 60:02d}:00.000Z"


def renewing(make_stage: Maker, token: Any, minutes: float = 30) -> Stage:
    """An agent whose token lasts so long, by the relay's clock."""
    stage = make_stage(token=token).start()
    stage.register(expires_at=hour(minutes))
    tell_the_time(stage)
    return stage


def tell_the_time(stage: Stage) -> None:
    ping = only(stage.relay.take("ping"))
    stage.say("pong", ref=ping["ref"], time=hour(0))


def test_a_token_is_renewed_before_it_ends_by_the_relays_own_clock(make_stage: Maker) -> None:
    tokens = iter(["first", "second", "third"])
    stage = renewing(make_stage, lambda: next(tokens))
    stage.advance(29 * 60 - 1)
    assert stage.relay.take("auth") == []
    stage.advance(1)
    assert only(stage.relay.take("auth")) == {"type": "auth", "token": "second"}
    stage.say("authenticated", expires_at=hour(10))
    tell_the_time(stage)
    stage.advance(9 * 60)
    assert only(stage.relay.take("auth"))["token"] == "third"


def test_a_token_that_is_not_ready_yet_is_waited_for(make_stage: Maker) -> None:
    asked: list[Deferred[str]] = []

    def ask() -> Deferred[str]:
        asked.append(Deferred())
        return asked[-1]

    stage = make_stage(token=ask).start()
    assert not stage.connecting()
    asked[0].callback("late")
    request = stage.connect().request
    assert request is not None
    assert request.headers["authorization"] == "Bearer late"
    stage.drop()


def test_a_token_that_cannot_be_had_is_asked_for_again_later(make_stage: Maker) -> None:
    tokens: Iterator[str | Exception] = iter([OSError("the vault is closed"), "fresh"])

    def ask() -> str:
        token = next(tokens)
        if isinstance(token, Exception):
            raise token
        return token

    stage = make_stage(token=ask).start()
    assert "the vault is closed" in stage.parted().verdict.sentence
    stage.advance(1)
    assert stage.connect().request is not None


def test_a_token_that_is_always_the_same_is_not_renewed_without_end(make_stage: Maker) -> None:
    asked = 0

    def ask() -> str:
        nonlocal asked
        asked += 1
        return "same"

    stage = renewing(make_stage, ask, minutes=0)
    for _ in range(3):
        stage.advance(5)
        only(stage.relay.take("auth"))
        stage.say("authenticated", expires_at=hour(0))
        tell_the_time(stage)
    assert asked == 4


def test_a_renewal_that_fails_is_logged_and_the_session_goes_on(
    make_stage: Maker, logged_failures: LoggedFailures
) -> None:
    tokens = iter(["first"])
    stage = renewing(make_stage, lambda: next(tokens), minutes=1)
    stage.advance(30)
    assert len(logged_failures.flush()) == 1
    stage.push("m1")
    assert [frame["id"] for frame in stage.relay.take("ack")] == ["m1"]


def test_a_token_that_stands_fast_is_not_renewed(make_stage: Maker) -> None:
    stage = make_stage(token="fixed").start()
    stage.register(expires_at=hour(1))
    assert stage.relay.take("ping") == []


def test_a_token_that_would_break_out_of_its_header_is_no_token_and_is_not_shown(make_stage: Maker) -> None:
    stage = make_stage(token="secret\r\nEvil: 1").start()
    assert not stage.connecting()
    assert "a token is printable" in stage.parted().verdict.sentence
    assert "secret" not in json.dumps(stage.parted().verdict.sentence)
