"""The HTTP door: every documented answer, over raw bytes (protocol 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from relay.core.limits import Limits
from relay.core.model import Form, Outcome, Readiness, Reason
from relay.core.problems import PROBLEMS, Problem
from relay.edge.http import shielded
from tests.conftest import LoggedFailures
from tests.edge.support import House, get, post, queued, request, view

Build = Callable[..., House]


# -- what becomes of a message


def test_a_delivered_message_is_200(house: House) -> None:
    answer = house.ask(post("desk-1", b'"hello"'))
    assert answer.status == 200
    assert answer.json == {"id": "m1", "agent": "desk-1", "status": "delivered", "attempts": 1}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["location"] == "/v1/messages/m1"
    assert answer.headers["relay-status"] == "delivered"
    assert answer.headers["date"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert "preference-applied" not in answer.headers


@pytest.mark.parametrize("reason", list(Reason))
def test_a_queued_message_is_200_and_says_why(house: House, reason: Reason) -> None:
    house.floor.outcome = lambda submission: queued(submission.agent, reason)
    answer = house.ask(post("desk-1", b"1"))
    assert (answer.status, answer.headers["relay-status"]) == (200, "queued")
    assert answer.json == {"id": "m1", "agent": "desk-1", "status": "queued", "attempts": 0, "reason": reason.value}


def test_an_accepted_message_is_202(house: House) -> None:
    house.floor.outcome = lambda submission: Outcome("m1", submission.agent, "accepted", 1, Reason.SENT)
    answer = house.ask(post("desk-1", b"1", prefer="respond-async"))
    assert (answer.status, answer.headers["relay-status"], answer.json["reason"]) == (202, "accepted", "sent")
    assert answer.headers["preference-applied"] == "respond-async"


def test_what_is_only_in_memory_says_that_it_is_not_durable(house: House) -> None:
    house.floor.outcome = lambda submission: Outcome("m1", "a", "queued", 0, Reason.AWAY, durable=False)
    assert house.ask(post("a", b"1")).json["durable"] is False
    house.floor.outcome = lambda submission: Outcome("m1", "a", "delivered", 1, durable=False)
    assert "durable" not in house.ask(post("a", b"1")).json


@pytest.mark.parametrize("word", sorted(PROBLEMS))
def test_every_refusal_of_the_hub_is_told_as_a_problem(house: House, word: str) -> None:
    house.floor.refusal = Problem(word, "because", retry_after=7, id="m1", attempts=2, sent=True)
    answer = house.ask(post("desk-1", b"1"))
    assert (answer.status, answer.problem) == (PROBLEMS[word][0], word)
    members = answer.json
    assert (members["title"], members["detail"]) == (PROBLEMS[word][1], "because")
    assert (members["id"], members["attempts"], members["sent"]) == ("m1", 2, True)
    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("word", [word for word, (status, _) in PROBLEMS.items() if status in (429, 503)])
def test_429_and_503_always_say_when_to_come_again(house: House, word: str) -> None:
    house.floor.refusal = Problem(word, "because")
    assert house.ask(post("desk-1", b"1")).headers["retry-after"] == "1"


def test_a_failure_of_the_relay_is_500_without_a_trace(house: House, logged_failures: LoggedFailures) -> None:
    house.floor.refusal = RuntimeError("/secret/path")
    client = house.connect()
    answer = client.ask(post("desk-1", b"1"))
    assert (answer.status, answer.problem) == (500, "internal")
    assert b"secret" not in answer.body
    assert [failure.type for failure in logged_failures.flush()] == [RuntimeError]
    house.floor.refusal = None
    assert client.ask(post("desk-1", b"1")).status == 200


# -- what is handed in


@pytest.mark.parametrize(
    ("content_type", "body", "form"),
    [
        ("application/json", b' {"a": 1e999, "a": -0.0} ', Form.JSON),
        ("text/plain; charset=utf-8", "Grüße".encode(), Form.TEXT),
        ("text/plain; charset=iso-8859-1", b"gr\xfc\xdfe", Form.LATIN1),
        ("image/png", bytes(range(256)), Form.BINARY),
    ],
)
def test_a_payload_is_handed_in_byte_for_byte(house: House, content_type: str, body: bytes, form: Form) -> None:
    assert house.ask(post("desk-1", body, content_type=content_type)).status == 200
    (submission,) = house.floor.submissions
    assert (submission.agent, submission.payload) == ("desk-1", body)
    assert (submission.content_type, submission.form) == (content_type, form)


def test_a_body_without_a_type_is_json(house: House) -> None:
    assert house.ask(post("desk-1", b"[1]", content_type=None)).status == 200
    assert house.floor.submissions[0].content_type == "application/json"


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", b"{", (400, "invalid-json")),
        ("application/json", b"NaN", (400, "invalid-json")),
        ("application/json", b"[" * 2000, (400, "invalid-json")),
        ("application/json", b"", (400, "empty-body")),
        ("text/plain", b"\xff", (400, "invalid-text")),
        ("text/plain; charset=koi8-r", b"x", (415, "unsupported-media-type")),
        (None, b"text", (415, "unsupported-media-type")),
        ("nonsense", b"1", (400, "invalid-header")),
    ],
)
def test_a_body_that_is_not_what_it_says_is_refused(
    house: House, content_type: str | None, body: bytes, expected: tuple[int, str]
) -> None:
    answer = house.ask(post("desk-1", body, content_type=content_type))
    assert (answer.status, answer.problem) == expected
    assert house.floor.submissions == []


@pytest.mark.parametrize("coding", ["gzip", "identity", ""])
def test_a_body_with_a_content_encoding_is_refused(house: House, coding: str) -> None:
    answer = house.ask(post("desk-1", b"\x1f\x8b", content_encoding=coding))
    assert (answer.status, answer.problem) == (415, "unsupported-media-type")


def test_traces_are_let_through(house: House) -> None:
    assert house.ask(post("desk-1", b"1", traceparent="00-0af7-b7ad-01", tracestate="a=1")).status == 200


@pytest.mark.parametrize(
    ("prefer", "wait", "respond_async", "applied"),
    [
        ("wait=0", 0.0, False, "wait=0"),
        ("wait=9999", 30.0, False, "wait=30"),
        ("respond-async, wait=3", 3.0, True, "respond-async, wait=3"),
        ("wait=soon", 2.5, False, None),
        (None, 2.5, False, None),
    ],
)
def test_preferences_are_handed_in_and_what_applies_is_said(
    build: Build, prefer: str | None, wait: float, respond_async: bool, applied: str | None
) -> None:
    house = build(ack_timeout=2.5)
    answer = house.ask(post("desk-1", b"1", prefer=prefer))
    assert answer.headers.get("preference-applied") == applied
    (submission,) = house.floor.submissions
    assert (submission.wait, submission.respond_async) == (wait, respond_async)


# -- agent ids and paths


@pytest.mark.parametrize(
    ("segment", "agent"),
    [
        ("desk-1", "desk-1"),
        ("mail%3ame%40example.org", "mail:me@example.org"),
        ("mail:me@example.org", "mail:me@example.org"),
        ("...", "..."),
        (".a", ".a"),
        ("%41%2e", "A."),
        ("x" * 128, "x" * 128),
        ("%7E" * 128, "~" * 128),
    ],
)
def test_an_agent_id_is_decoded_once(house: House, segment: str, agent: str) -> None:
    assert house.ask(post(segment, b"1")).json["agent"] == agent


NO_IDS = [
    "",
    ".",
    "..",
    "%2e",
    "%2E%2e",
    ".%2E",
    "a%20b",
    "a%2Fb",
    "%2F",
    "a%2525b",
    "%252e",
    "%252F",
    "%C3%A4",
    "%00",
    "%0A",
    "a%0A",
    "%",
    "%4",
    "%zz",
    "%%41",
    "x" * 129,
    "a+b",
    "*",
    "a;b",
    "a\\b",
    "a%5Cb",
]


@pytest.mark.parametrize("segment", NO_IDS)
def test_what_is_no_agent_id_is_refused(house: House, segment: str) -> None:
    for data in (post(segment, b"1"), get(f"/v1/agents/{segment}")):
        answer = house.ask(data)
        assert (answer.status, answer.problem) == (400, "invalid-agent-id")
    assert house.floor.submissions == []


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v2/agents",
        "/V1/agents",
        "/v1/%61gents",
        "/v1/agents/x/",
        "/v1/agents/x/messages/",
        "/v1/agents/x//messages",
        "//v1/agents",
        "//healthz",
        "/healthz/",
        "/v1/agents/x/messages/y",
        "/v1/agents/../healthz",
        "/%2Fhealthz",
    ],
)
def test_an_unknown_path_is_404(house: House, path: str) -> None:
    answer = house.ask(get(path))
    assert (answer.status, answer.problem) == (404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/agents/x/messages", "DELETE, GET, HEAD, OPTIONS, POST"),
        ("GET", "/v1/agents/x/acks", "OPTIONS, POST"),
        ("PUT", "/v1/messages/x", "DELETE, GET, HEAD, OPTIONS"),
        ("DELETE", "/v1/agents", "GET, HEAD, OPTIONS"),
        ("POST", "/v1/agents/x", "GET, HEAD, OPTIONS"),
        ("POST", "/healthz", "GET, HEAD, OPTIONS"),
        ("BREW", "/readyz", "GET, HEAD, OPTIONS"),
        ("PUT", "/v1/connect", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_wrong_method_is_405_and_says_which_is_right(house: House, method: str, path: str, allow: str) -> None:
    answer = house.ask(request(method, path, b"1"))
    assert (answer.status, answer.problem, answer.headers["allow"]) == (405, "method-not-allowed", allow)


@pytest.mark.parametrize("path", ["/v1/agents/x/messages", "/v1/agents", "/healthz", "/v1/connect"])
def test_options_says_what_a_path_takes(house: House, path: str) -> None:
    answer = house.ask(get(path, method="OPTIONS"))
    assert (answer.status, answer.body) == (204, b"")
    assert "OPTIONS" in answer.headers["allow"]
    assert "content-length" not in answer.headers


@pytest.mark.parametrize(
    ("path", "status"), [("/healthz", 200), ("/v1/agents", 200), ("/nowhere", 404), ("/v1/connect", 426)]
)
def test_head_is_get_without_the_body(house: House, path: str, status: int) -> None:
    client = house.connect()
    client.send(get(path, method="HEAD") + get("/healthz", method="HEAD"))
    first, second = client.answers(to="HEAD")
    assert (first.status, second.status) == (status, 200)
    assert int(first.headers["content-length"]) == len(house.ask(get(path)).body)


@pytest.mark.parametrize("target", ["*", "localhost:8080", "x", "ftp://localhost/healthz", "/healthz#top", "http:/x"])
def test_a_target_that_is_no_path_is_refused(house: House, target: str) -> None:
    answer = house.ask(get(target))
    assert (answer.status, answer.problem) == (400, "invalid-request")


# -- hosts, origins and secrets


def test_a_whole_url_is_a_path_with_its_host(house: House) -> None:
    assert house.ask(get("http://localhost/healthz")).status == 200
    assert house.ask(get("HTTP://127.0.0.1:80/v1/agents?limit=1", host="127.0.0.1:80")).status == 200
    assert house.ask(get("http://localhost")).status == 404
    assert house.ask(get("http://localhost?limit=1")).status == 404


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://evil.example/healthz", "localhost", 400),
        ("http://localhost/healthz", "evil.example", 400),
        ("http://evil.example/healthz", "evil.example", 421),
        ("http://u@localhost/healthz", "u@localhost", 421),
        ("http:///healthz", "", 421),
    ],
)
def test_a_whole_url_does_not_get_round_the_rules_for_hosts(house: House, target: str, host: str, status: int) -> None:
    assert house.ask(get(target, host=host)).status == status


PLACES = ["/healthz", "/v1/agents", "/nowhere", "/v1/connect", "/v1/agents/x/messages"]


@pytest.mark.parametrize("path", PLACES)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_the_rules_for_pages_hold_for_every_path_and_method(house: House, path: str, method: str) -> None:
    rebound = house.ask(get(path, method=method, host="evil.example"))
    assert (rebound.status, rebound.problem) == (421, "misdirected")
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        foreign = house.ask(get(path, method=method, origin=origin))
        assert (foreign.status, foreign.problem) == (403, "forbidden-origin")


def test_a_page_may_not_post_text_without_a_preflight(house: House) -> None:
    answer = house.ask(post("desk-1", b"rm -rf", content_type="text/plain", origin="https://evil.example"))
    assert (answer.status, answer.problem) == (403, "forbidden-origin")
    assert house.floor.submissions == []


def test_the_relays_own_page_may_post(house: House) -> None:
    assert house.ask(post("desk-1", b"1", host="127.0.0.1:8080", origin="http://127.0.0.1:8080")).status == 200


def test_configured_names_and_origins_may_ask(build: Build) -> None:
    house = build(names=("relay.example",), origins=("https://app.example",))
    assert house.ask(get("/healthz", host="relay.example", origin="https://app.example")).status == 200
    assert house.ask(get("/healthz", host="other.example")).status == 421


def test_without_a_host_http_1_0_is_misdirected(house: House) -> None:
    assert house.ask(get("/healthz", version="1.0", host=None)).status == 421
    assert house.ask(get("/healthz", version="1.0")).status == 200


@pytest.mark.parametrize(
    "query", ["token=x", "a=b&access_token=x", "bearer=x", "token", "TOKEN=x", "%74oken=x", "a&Bearer=", "&&token=x&"]
)
@pytest.mark.parametrize("path", ["/v1/agents/x", "/healthz", "/v1/connect", "/nowhere"])
def test_a_token_in_the_query_is_refused_everywhere(house: House, path: str, query: str) -> None:
    answer = house.ask(get(f"{path}?{query}", authorization="Bearer good"))
    assert (answer.status, answer.problem) == (400, "invalid-request")
    assert "Authorization" in answer.json["detail"]


def test_other_words_in_a_query_are_ignored(house: House) -> None:
    assert house.ask(get("/healthz?tokens=1&x-token=2&a=token")).status == 200


# -- looking


def test_agents_are_listed_in_order_with_rfc_3339_times(house: House) -> None:
    house.floor.views = {
        "b": view("b", True, session="s", since=1_700_000_000.1239, last_seen=1_700_000_001.0, in_flight=2),
        "a": view("a", queued=3, queued_bytes=9, oldest_at=0.0),
    }
    answer = house.ask(get("/v1/agents"))
    assert answer.status == 200
    assert answer.json["next"] is None
    first, second = answer.json["items"]
    assert (first["agent"], first["queued"], first["oldest_at"]) == ("a", 3, "1970-01-01T00:00:00.000Z")
    assert (second["since"], second["last_seen"]) == ("2023-11-14T22:13:20.123Z", "2023-11-14T22:13:21.000Z")
    assert list(first) == [
        "agent",
        "connected",
        "session",
        "since",
        "last_seen",
        "remote",
        "client",
        "node",
        "queued",
        "queued_bytes",
        "oldest_at",
        "in_flight",
        "transport",
    ]
    assert first["session"] is None


def pages(house: House, query: str) -> list[list[str]]:
    found = []
    cursor: str | None = ""
    while cursor is not None:
        answer = house.ask(get(f"/v1/agents?{query}" + (f"&cursor={cursor}" if cursor else "")))
        assert answer.status == 200
        found.append([item["agent"] for item in answer.json["items"]])
        cursor = answer.json["next"]
    return found


def test_a_list_is_read_page_by_page(house: House) -> None:
    house.floor.views = {name: view(name, name in "bd") for name in "abcde"}
    assert pages(house, "limit=2") == [["a", "b"], ["c", "d"], ["e"]]
    assert pages(house, "limit=5") == [["a", "b", "c", "d", "e"]]
    assert pages(house, "limit=1&connected=true") == [["b"], ["d"]]
    assert pages(house, "connected=false") == [["a", "c", "e"]]
    assert pages(house, "prefix=c") == [["c"]]
    assert pages(house, "prefix=z&unknown=1") == [[]]


def test_a_page_has_a_hundred_by_default_and_a_thousand_at_most(house: House) -> None:
    house.floor.views = {f"a{number:04}": view("a") for number in range(1100)}
    assert len(house.ask(get("/v1/agents")).json["items"]) == 100
    assert len(house.ask(get("/v1/agents?limit=1000")).json["items"]) == 1000


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=" + "9" * 5000,
        "limit=%D9%A3",
        "limit=1&limit=2",
        "connected=yes",
        "connected=",
        "cursor=",
        "cursor=a%20b",
        "cursor=" + "x" * 129,
    ],
)
def test_a_bad_parameter_is_refused_and_named(house: House, query: str) -> None:
    answer = house.ask(get(f"/v1/agents?{query}"))
    assert (answer.status, answer.problem) == (400, "invalid-request")
    assert query.split("=")[0] in answer.json["detail"]


def test_one_agent_is_shown_and_an_unknown_one_is_404(house: House) -> None:
    house.floor.views = {"a:b": view("a:b", queued=1)}
    assert house.ask(get("/v1/agents/a%3Ab")).json["queued"] == 1
    answer = house.ask(get("/v1/agents/c"))
    assert (answer.status, answer.problem) == (404, "not-found")


def test_it_says_that_it_lives_and_whether_it_is_ready(house: House) -> None:
    assert house.ask(get("/healthz")).status == 200
    assert house.ask(get("/readyz")).json == {"status": "ready", "durable": True}
    house.floor.state = Readiness(True, False)
    assert house.ask(get("/readyz")).json["durable"] is False


@pytest.mark.parametrize("why", ["draining", "store-unavailable"])
def test_it_is_not_ready_while_it_can_accept_nothing(house: House, why: str) -> None:
    house.floor.state = Readiness(False, True, why)
    answer = house.ask(get("/readyz"))
    assert (answer.status, answer.problem, answer.json["durable"]) == (503, why, True)
    assert int(answer.headers["retry-after"]) >= 1
    assert house.ask(get("/healthz")).status == 200


# -- waiting, and hanging up


def test_a_post_is_answered_when_its_outcome_is_known(house: House) -> None:
    house.floor.patient = True
    client = house.connect()
    client.send(post("desk-1", b"1"))
    house.pass_time(29)
    assert client.answers() == []
    house.floor.undecided[0].callback(queued("desk-1", Reason.SILENT))
    client.socket.run()
    assert client.answer().json["reason"] == "silent"


def test_who_hangs_up_reads_the_answer_no_more_and_the_floor_is_told(house: House) -> None:
    house.floor.patient = True
    client = house.connect()
    client.send(post("desk-1", b"1"))
    (waiting,) = house.floor.undecided
    client.socket.hang_up()
    assert waiting.called
    assert house.ask(get("/healthz")).status == 200


@pytest.mark.parametrize(
    "end",
    [lambda waiting: waiting.callback([]), lambda waiting: waiting.errback(Problem("store-unavailable", "no"))],
    ids=["an answer", "a problem"],
)
def test_what_was_asked_is_done_though_the_client_hung_up(end: Callable[[Deferred[Any]], None]) -> None:
    work: Deferred[Any] = Deferred()
    shielded(work).addErrback(lambda failure: failure.trap(CancelledError)).cancel()
    assert not work.called
    end(work)


def test_a_failure_after_the_client_hung_up_is_logged(logged_failures: LoggedFailures) -> None:
    work: Deferred[Any] = Deferred()
    shielded(work).addErrback(lambda failure: failure.trap(CancelledError)).cancel()
    work.errback(Failure(RuntimeError("late")))
    assert [failure.type for failure in logged_failures.flush()] == [RuntimeError]


def test_a_hub_that_gives_up_is_500(house: House, logged_failures: LoggedFailures) -> None:
    house.floor.patient = True
    client = house.connect()
    client.send(post("desk-1", b"1"))
    house.floor.undecided[0].cancel()
    client.socket.run()
    assert client.answer().problem == "internal"
    assert [failure.type for failure in logged_failures.flush()] == [CancelledError]


def test_a_connection_is_kept_for_the_next_request(house: House) -> None:
    client = house.connect()
    for number in range(3):
        assert client.ask(post("desk-1", b"%d" % number)).status == 200
    assert not client.closed
    assert [submission.payload for submission in house.floor.submissions] == [b"0", b"1", b"2"]


def test_requests_in_one_segment_are_answered_in_order(house: House) -> None:
    house.floor.patient = True
    client = house.connect()
    client.send(post("a", b"1") + get("/healthz") + post("b", b"2") + post("c", b"{"))
    assert len(house.floor.submissions) == 1
    house.floor.undecided[0].callback(queued("a"))
    client.socket.run()
    first, second = client.answers()
    assert (first.json["agent"], second.json) == ("a", {"status": "alive"})
    house.floor.undecided[1].callback(queued("b"))
    client.socket.run()
    third, fourth = client.answers()
    assert (third.json["agent"], fourth.status) == ("b", 400)


def test_a_request_in_single_bytes_is_understood(house: House) -> None:
    client = house.connect()
    for byte in post("desk-1", b'"slow"') + get("/healthz"):
        client.send(bytes([byte]))
    first, second = client.answers()
    assert (first.json["agent"], second.status) == ("desk-1", 200)


def test_http_1_0_is_answered_and_closed(house: House) -> None:
    client = house.connect()
    assert client.ask(get("/healthz", version="1.0")).status == 200
    assert client.closed


def test_a_client_that_says_close_is_closed(house: House) -> None:
    client = house.connect()
    assert client.ask(get("/healthz", connection="close")).headers["connection"] == "close"
    assert client.closed


def test_the_largest_body_is_taken_and_one_byte_more_is_not(build: Build) -> None:
    house = build(limits=Limits(payload=1000))
    assert house.ask(post("desk-1", b"1" * 1000)).status == 200
    answer = house.ask(post("desk-1", b"1" * 1001))
    assert (answer.status, answer.problem) == (413, "payload-too-large")
    assert len(house.floor.submissions) == 1
