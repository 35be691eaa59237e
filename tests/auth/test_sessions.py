"""Tokens while something lasts: sessions, streams, batches and long polls; and those who guess."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from relay.core.access import GRACE, Grant, TokenRefused, TokensUnavailable, TokenUnknown
from relay.core.wire import stamp
from tests.auth.support import Guarded
from tests.edge.support import UPGRADE, whole
from tests.edge.whole import unchunked

Head = dict[str, str | None]
DESKS: dict[str, Any] = {"agent": ("desk-*",), "publish": ("desk-*",)}


class Slow:
    """A provider that has to ask somebody else."""

    source = "slow"

    def __init__(self) -> None:
        self.asked: list[tuple[str, Deferred[Grant]]] = []

    def known(self, token: str) -> Grant | None:
        return None

    def check(self, token: str) -> Deferred[Grant]:
        if not token.startswith("slow"):
            raise TokenUnknown("not mine")
        self.asked.append((token, Deferred()))
        return self.asked[-1][1]

    def still(self, grant: Grant) -> Grant | None:
        return grant

    def on_change(self, call: Callable[[], object]) -> None:
        pass

    def grant(self, **scopes: Any) -> None:
        """The oldest question is answered with this."""
        token, answer = self.asked.pop(0)
        answer.callback(Grant(token, source="slow", **scopes))

    def refuse(self, error: Exception) -> None:
        self.asked.pop(0)[1].errback(error)


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def asking(guard: Callable[..., Guarded], slow: Slow) -> Guarded:
    return guard(more=[slow])


# -- the end of a token


def test_a_session_is_told_when_its_token_ends_and_is_closed_a_while_after(house: Guarded) -> None:
    end = house.wall() + 10
    session = house.agent(token=house.add("desk", expires=end, **DESKS)).say("register", agent="desk-1")
    assert session.heard()[0]["expires_at"] == stamp(end)
    house.pass_time(10 + GRACE - 1)
    assert session.end() is None
    house.pass_time(2)
    assert session.end() == (4010, "token-expired")


def test_a_fresh_token_prolongs_a_session(house: Guarded) -> None:
    session = house.agent(token=house.add("desk", expires=house.wall() + 10, **DESKS)).say("register", agent="desk-1")
    later = house.wall() + 1000
    session.heard()
    session.say("auth", token=house.add("desk-2", expires=later, **DESKS))
    assert session.heard() == [{"type": "authenticated", "expires_at": stamp(later)}]
    house.pass_time(40)
    assert session.end() is None
    session.say("auth", token=house.add("desk-3", **DESKS))
    assert session.heard()[-1] == {"type": "authenticated"}
    assert session.end() is None


@pytest.mark.parametrize(
    ("scopes", "code"), [({}, "forbidden"), ({"agent": ("phone-*",)}, "forbidden"), (None, "unauthenticated")]
)
def test_a_token_that_is_not_good_for_the_session_changes_nothing(
    house: Guarded, scopes: dict[str, Any] | None, code: str
) -> None:
    session = house.agent(token=house.add("desk", **DESKS)).say("register", agent="desk-1")
    session.heard()
    session.say("auth", token="wrong" if scopes is None else house.add("other", **scopes))
    (error,) = session.heard()
    assert (error["type"], error["code"]) == ("error", code)
    session.say("publish", ref="r", agent="desk-2", payload=1, wait=0)
    assert session.heard()[-1]["status"] == "queued"


def test_a_revoked_token_ends_its_session_and_no_other(house: Guarded) -> None:
    one = house.agent(token=house.add("desk", **DESKS)).say("register", agent="desk-1")
    two = house.agent(token=house.add("desk-b", **DESKS)).say("register", agent="desk-2")
    house.revoke("desk")
    assert one.end() == (4003, "revoked")
    assert two.end() is None
    assert house.agent(token="desk.secret").status == 401


def test_a_token_with_less_scope_ends_the_session_that_needs_more(house: Guarded) -> None:
    house.add("desk", **DESKS)
    one = house.agent(token="desk.secret").say("register", agent="desk-1")
    two = house.agent(token="desk.secret").say("register", agent="desk-2")
    house.keys.text = house.keys.text.replace('agent = ["desk-*"]', 'agent = ["desk-2"]').replace("publish =", "#")
    house.keys.write()
    house.file.reload()
    assert one.end() == (4003, "revoked")
    assert two.end() is None
    two.say("publish", ref="r", agent="desk-1", payload=1, wait=0)
    assert two.heard()[-1]["problem"]["type"] == "/problems/forbidden"


def test_a_changed_file_is_seen_within_a_second_without_being_told(house: Guarded) -> None:
    session = house.agent(token=house.add("desk", **DESKS)).say("register", agent="desk-1")
    house.keys.remove("desk")
    for _ in range(3):
        house.file.look()
    assert session.end() == (4003, "revoked")


# -- what lasts over HTTP


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_an_event_stream_ends_with_its_token(house: Guarded, end: str) -> None:
    client = house.begin("GET", "/v1/events", house.add("boss", admin=True, expires=house.wall() + 10))
    assert b"event: hello" in client.taken()
    if end == "revoked":
        house.revoke("boss")
    else:
        house.pass_time(10 + GRACE + 1)
    house.relay.settle()
    assert client.taken().endswith(b"0\r\n\r\n")
    assert house.relay.hub.notices.subscribers == 0


def test_an_open_long_poll_and_its_session_end_with_the_token(house: Guarded) -> None:
    client = house.begin("GET", "/v1/agents/desk-1/next", house.add("desk", **DESKS))
    assert client.taken() == b""
    house.revoke("desk")
    house.relay.settle()
    assert client.answer().problem == "unauthenticated"
    assert house.status("GET", "/v1/agents/desk-1/next", "desk.secret") == 401


def test_a_poll_goes_by_the_token_of_its_latest_call(house: Guarded) -> None:
    answer = house.begin("GET", "/v1/agents/desk-1/next?wait=0", house.add("desk", **DESKS))
    house.pass_time(0.1)
    session = answer.answer().json["session"]
    path = "/v1/agents/desk-1/next?wait=0"
    house.add("fresh", **DESKS)
    house.begin("GET", path, "fresh.secret", relay_session=session)
    house.revoke("desk")
    house.pass_time(0.2)
    assert house.status("POST", "/v1/agents/desk-1/acks", "fresh.secret", b"{}", relay_session=session) == 200
    house.revoke("fresh")
    house.relay.settle()
    assert (
        house.status("POST", "/v1/agents/desk-1/acks", house.add("third", **DESKS), b"{}", relay_session=session) == 410
    )


def begin_batch(house: Guarded, token: str) -> Any:
    client = house.house.connect()
    head: Head = {
        "content_type": "application/x-ndjson",
        "content_length": "100000",
        "authorization": f"Bearer {token}",
    }
    client.send(whole("POST", "/v1/messages", "1.1", head, b""))
    return client


def line(agent: str) -> bytes:
    return json.dumps({"agent": agent, "payload": 1, "wait": 0}).encode() + b"\n"


def test_a_batch_is_cut_off_when_its_token_is_revoked(house: Guarded) -> None:
    client = begin_batch(house, house.add("phone", **DESKS))
    client.send(line("desk-1") + b'{"agent": "desk-1", "payl')
    house.relay.settle()
    assert b'"queued"' in client.taken()
    house.revoke("phone")
    house.relay.settle()
    assert client.closed
    house.relay.settle()
    assert house.relay.get("/readyz").status == 200


def test_a_batch_goes_by_what_its_token_may_do_now(house: Guarded) -> None:
    client = begin_batch(house, house.add("phone", **DESKS))
    client.send(line("desk-1"))
    house.relay.settle()
    house.keys.text = house.keys.text.replace('publish = ["desk-*"]', 'publish = ["desk-2"]')
    house.keys.write()
    house.file.reload()
    client.send(line("desk-1") + line("desk-2"))
    house.relay.settle()
    _, body = unchunked(client.taken())
    told = {result["line"]: result.get("status", "refused") for result in map(json.loads, body.splitlines())}
    assert told == {1: "queued", 2: "refused", 3: "queued"}


# -- tokens that take their time


def test_what_a_session_says_is_kept_in_order_while_its_token_is_looked_at(asking: Guarded, slow: Slow) -> None:
    session = asking.agent().say("register", agent="desk-1", token="slow")
    session.say("ping", ref="1").say("publish", ref="2", agent="desk-9", payload=1, wait=0).say("ping", ref="3")
    assert session.heard() == []
    slow.grant(**DESKS)
    asking.relay.settle()
    assert [(each["type"], each.get("ref")) for each in session.heard()] == [
        ("registered", None),
        ("pong", "1"),
        ("result", "2"),
        ("pong", "3"),
    ]


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (TokenRefused("no"), (4003, "unauthenticated")),
        (TokensUnavailable("down"), (4013, "overloaded; retry_after=10")),
    ],
)
def test_a_session_whose_token_cannot_be_found_good_is_closed(
    asking: Guarded, slow: Slow, error: Exception, end: tuple[int, str]
) -> None:
    session = asking.agent().say("register", agent="desk-1", token="slow")
    slow.refuse(error)
    assert session.end() == end


def test_a_session_that_leaves_meanwhile_is_forgotten(asking: Guarded, slow: Slow) -> None:
    session = asking.agent().say("register", agent="desk-1", token="slow")
    session.client.socket.hang_up()
    slow.grant(**DESKS)
    assert asking.relay.hub.disconnect("desk-1") is False


def test_a_provider_that_never_answers_is_not_waited_for(asking: Guarded) -> None:
    client = asking.begin("GET", "/v1/agents", "slow")
    session = asking.agent().say("register", agent="desk-1", token="slow")
    asking.pass_time(asking.limits.auth_seconds + 0.2)
    answer = client.answer()
    assert (answer.status, answer.problem, answer.headers["retry-after"]) == (503, "overloaded", "10")
    assert session.end() == (4013, "overloaded; retry_after=10")


def test_a_session_goes_on_with_its_token_while_another_is_looked_at(asking: Guarded, slow: Slow) -> None:
    session = asking.agent(token=asking.add("desk", **DESKS)).say("register", agent="desk-1")
    session.heard()
    session.say("auth", token="slow-1").say("auth", token="slow-2").say("ping", ref="1")
    assert [each["type"] for each in session.heard()] == ["pong"]
    slow.grant(**DESKS)
    assert session.heard() == [], "of two the last counts"
    slow.grant(expires_at=asking.wall() + 1000, **DESKS)
    assert [each["type"] for each in session.heard()] == ["authenticated"]


def test_a_request_waits_for_its_token_and_its_body_is_not_read_meanwhile(asking: Guarded, slow: Slow) -> None:
    client = asking.house.connect()
    head: Head = {
        "authorization": "Bearer slow",
        "content_type": "application/json",
        "content_length": "300000",
    }
    client.send(whole("POST", "/v1/agents/desk-1/messages", "1.1", head, b'"'))
    client.send(b"x" * 200_000)
    assert client.socket.unread == 200_000
    slow.grant(**DESKS)
    client.socket.run()
    client.send(b"x" * 99_998 + b'"')
    asking.relay.settle()
    assert client.answer("POST").json["status"] == "queued"


@pytest.mark.parametrize("split", [False, True])
def test_a_request_whose_token_turns_out_wrong_is_refused(asking: Guarded, slow: Slow, split: bool) -> None:
    client = asking.house.connect()
    head: Head = {
        "authorization": "Bearer slow",
        "content_type": "application/json",
        "content_length": "3",
    }
    client.send(whole("POST", "/v1/agents/desk-1/messages", "1.1", head, b'"' if split else b'"a"'))
    slow.refuse(TokenRefused("no"))
    asking.relay.settle()
    assert client.answer("POST").problem == "unauthenticated"


@pytest.mark.parametrize("cut", [1, 20, 10_000])
def test_a_batch_waits_for_its_token(asking: Guarded, slow: Slow, cut: int) -> None:
    lines = line("desk-1") + line("phone-1") + line("desk-2")
    head: Head = {
        "authorization": "Bearer slow",
        "content_type": "application/x-ndjson",
        "content_length": str(len(lines)),
    }
    client = asking.house.connect()
    client.send(whole("POST", "/v1/messages", "1.1", head, lines[:cut]))
    assert client.taken() == b""
    slow.grant(**DESKS)
    client.send(lines[cut:])
    asking.relay.settle()
    _, body = unchunked(client.taken())
    told = {result["line"]: result.get("status", "refused") for result in map(json.loads, body.splitlines())}
    assert told == {1: "queued", 2: "refused", 3: "queued"}


def test_an_upgrade_waits_for_its_token_and_loses_no_frame(asking: Guarded, slow: Slow) -> None:
    client = asking.house.connect()
    client.send(whole("GET", "/v1/connect", "1.1", {**UPGRADE, "authorization": "Bearer slow"}, b""))
    assert client.taken() == b""
    slow.grant(**DESKS)
    asking.relay.settle()
    assert client.taken().startswith(b"HTTP/1.1 101 ")


def test_a_client_that_hangs_up_while_its_token_is_looked_at_leaves_nothing(asking: Guarded, slow: Slow) -> None:
    for path in ("/v1/agents/desk-1/messages", "/v1/messages"):
        client = asking.begin("POST", path, "slow", b"1", content_length="5")
        client.socket.hang_up()
        slow.grant(**DESKS)
    asking.relay.settle()


# -- those who guess


def guess(house: Guarded, token: str | None = "wrong") -> Any:
    return house.begin("GET", "/v1/agents", token)


def test_from_the_tenth_failure_of_an_address_the_answer_is_late(house: Guarded) -> None:
    assert [guess(house).answer().status for _ in range(9)] == [401] * 9
    client = guess(house)
    assert client.taken() == b""
    house.pass_time(0.9)
    assert client.taken() == b""
    house.pass_time(0.2)
    assert client.answer().status == 401


def test_a_right_token_is_never_late(house: Guarded) -> None:
    house.add("boss", admin=True)
    for _ in range(20):
        guess(house)
    assert house.status("GET", "/v1/agents", "boss.secret") == 200


def test_a_session_that_guesses_is_late_too(house: Guarded) -> None:
    for _ in range(9):
        guess(house)
    session = house.agent().say("register", agent="desk-1", token="wrong")
    assert session.heard() == []
    house.pass_time(1.1)
    assert session.end() == (4003, "unauthenticated")


def test_after_a_quiet_minute_nobody_is_late(house: Guarded) -> None:
    for _ in range(12):
        guess(house)
    house.pass_time(60)
    assert guess(house).answer().status == 401


def test_no_right_token_is_ever_refused_for_others_failures(house: Guarded) -> None:
    house.add("boss", admin=True)
    for _ in range(200):
        guess(house)
    house.pass_time(2)
    assert house.status("GET", "/v1/agents", "boss.secret") == 200


@pytest.mark.parametrize(
    "value", ["Basic YTpi", "Bearer", "Bearer ", "Bearer a b", "boss.secret", "Bearer boss.secret, Bearer boss.secret"]
)
def test_a_malformed_carrier_is_a_failure(house: Guarded, value: str) -> None:
    house.add("boss", admin=True)
    assert house.status("GET", "/v1/agents", None, authorization=value) == 401
    assert len(house.audit.of("authentication-failed")) == 1


def test_two_carriers_are_none(house: Guarded) -> None:
    house.add("boss", admin=True)
    client = house.house.connect()
    header = b"Authorization: Bearer boss.secret\r\n"
    client.send(b"GET /v1/agents HTTP/1.1\r\nHost: x\r\n" + header * 2 + b"\r\n")
    assert client.answer().status == 401


def test_a_token_in_the_url_is_refused_even_beside_a_good_one(house: Guarded) -> None:
    token = house.add("boss", admin=True)
    for name in ("token", "access_token", "bearer", "TOKEN", "to%6ben"):
        assert house.status("GET", f"/v1/agents?{name}={token}", token) == 400
    assert not any(token in str(line) for line in house.audit.lines)


# -- the audit log


def test_everything_that_somebody_may_have_to_answer_for_is_noted(house: Guarded) -> None:
    guess(house, "some-secret")
    session = house.agent(token=house.add("desk", **DESKS)).say("register", agent="desk-1", client="test/1")
    (registered,) = session.heard()
    house.add("boss", admin=True)
    house.status("DELETE", "/v1/agents/desk-1/session", "boss.secret")
    events = [event for event, _ in house.audit.lines]
    assert events == [
        "authentication-failed",
        "token-added",
        "session-began",
        "token-added",
        "session-ended",
        "disconnected",
    ]
    began = house.audit.of("session-began")[0]
    assert (began["by"], began["agent"], began["client"]) == ("desk", "desk-1", "test/1")
    assert house.audit.of("disconnected")[0]["by"] == "boss"
    text = str(house.audit.lines)
    assert "secret" not in text and registered["session"] not in text


def test_the_rate_of_a_publisher_is_counted_by_the_name_of_its_token(guard: Callable[..., Guarded]) -> None:
    house = guard(publisher_requests=2.0)
    for name in ("one", "two"):
        house.add(name, admin=True)
    assert [house.status("GET", "/v1/agents", "one.secret") for _ in range(3)] == [200, 200, 429]
    assert house.status("GET", "/v1/agents", "two.secret") == 200


# -- tokens that change at a bad moment


def test_a_token_that_is_revoked_while_the_holder_is_asked_for_a_sign_of_life_registers_nobody(house: Guarded) -> None:
    house.agent(token=house.add("desk", **DESKS)).say("register", agent="desk-1")
    newcomer = house.agent(token=house.add("late", **DESKS)).say("register", agent="desk-1")
    assert newcomer.end() is None
    house.revoke("late")
    house.pass_time(3)
    assert newcomer.end() == (4003, "revoked")
    assert house.relay.hub.disconnect("desk-1") is False


def test_a_newcomer_that_may_do_less_meanwhile_comes_in_with_that(house: Guarded) -> None:
    house.agent(token=house.add("desk", **DESKS)).say("register", agent="desk-1")
    newcomer = house.agent(token=house.add("late", **DESKS)).say("register", agent="desk-1")
    house.keys.remove("late")
    house.add("late", agent=("desk-*",))
    house.pass_time(3)
    assert [each["type"] for each in newcomer.heard()] == ["registered"]
    newcomer.say("publish", ref="r", agent="desk-2", payload=1, wait=0)
    assert newcomer.heard()[-1]["problem"]["type"] == "/problems/forbidden"


@pytest.mark.parametrize(("change", "status"), [("revoked", 401), ("narrowed", 403), ("kept", 200)])
def test_a_token_is_looked_at_again_when_a_body_that_took_its_time_is_whole(
    house: Guarded, change: str, status: int
) -> None:
    token = house.add("phone", **DESKS)
    client = house.house.connect()
    head: Head = {"authorization": f"Bearer {token}", "content_type": "application/json", "content_length": "2"}
    client.send(whole("POST", "/v1/agents/desk-1/messages", "1.1", {**head, "prefer": "wait=0"}, b"1"))
    if change != "kept":
        house.revoke("phone")
    if change == "narrowed":
        house.add("phone", publish=("desk-2",))
    client.send(b"2")
    house.relay.settle()
    assert client.answer("POST").status == status
    assert house.relay.hub.readiness().ready


def set_end(house: Guarded, name: str, end: float) -> None:
    """The same token as before, with another end."""
    house.keys.remove(name)
    house.add(name, expires=end, admin=True, **DESKS)


def test_a_stream_ends_when_its_token_is_given_an_end_that_has_passed(house: Guarded) -> None:
    client = house.begin("GET", "/v1/events", house.add("boss", admin=True, **DESKS))
    set_end(house, "boss", house.wall() - GRACE - 1)
    house.pass_time(0.2)
    house.relay.settle()
    assert client.taken().endswith(b"0\r\n\r\n")


def test_a_stream_goes_by_the_end_that_its_token_has_now(house: Guarded) -> None:
    client = house.begin("GET", "/v1/events", house.add("boss", admin=True, expires=house.wall() + 10, **DESKS))
    set_end(house, "boss", house.wall() + 100)
    house.pass_time(10 + GRACE + 1)
    house.relay.settle()
    assert not client.taken().endswith(b"0\r\n\r\n")
    house.pass_time(90)
    house.relay.settle()
    assert client.taken().endswith(b"0\r\n\r\n")


def test_a_session_has_one_token_at_a_time_looked_at(asking: Guarded, slow: Slow) -> None:
    session = asking.agent(token=asking.add("desk", **DESKS)).say("register", agent="desk-1")
    for number in range(500):
        session.say("auth", token=f"slow-{number}")
    assert len(slow.asked) == 1
    slow.refuse(TokenRefused("no"))
    asking.relay.settle()
    assert [token for token, _ in slow.asked] == ["slow-499"]
    slow.grant(**DESKS)
    asking.relay.settle()
    assert [each["type"] for each in session.heard()] == ["registered", "authenticated"]
    session.client.socket.hang_up()


def test_who_shows_wrong_tokens_over_and_over_is_noted_once_a_delay(house: Guarded) -> None:
    for _ in range(10):
        guess(house)
    house.pass_time(1.1)
    session = house.agent(token=house.add("desk", **DESKS)).say("register", agent="desk-1")
    before = len(house.audit.of("authentication-failed"))
    for number in range(200):
        session.say("auth", token=f"wrong-{number}")
    assert len(house.audit.of("authentication-failed")) - before == 1
    house.pass_time(3)


def test_the_end_of_a_token_that_lies_beyond_every_calendar_is_told_as_the_last_day(
    asking: Guarded, slow: Slow
) -> None:
    # Many a server of tokens writes milliseconds where seconds are due.
    session = asking.agent().say("register", agent="desk-1", token="slow")
    slow.grant(expires_at=asking.wall() * 1000, **DESKS)
    asking.relay.settle()
    (registered,) = session.heard()
    assert registered["expires_at"].startswith("9999-12-31")
