"""What browsers are told: which pages may read an answer, and that no answer is anything but data (Fetch, RFC 6797)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.edge.support import House, get, post, request, upgrade

Build = Callable[..., House]
APP = "https://app.example"
OWN = "http://localhost"
CORS = "access-control-allow-origin"


@pytest.fixture
def shared(build: Build) -> House:
    return build(origins=(APP,))


def test_without_a_configured_origin_no_answer_speaks_of_origins(house: House) -> None:
    for data in (get("/healthz"), get("/healthz", origin=OWN), get("/healthz", origin=APP)):
        answer = house.ask(data)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "vary" not in answer.headers


@pytest.mark.parametrize("data", [get("/healthz", origin=APP), post("a", b"1", origin=APP), get("/no", origin=APP)])
def test_a_page_of_a_configured_origin_may_read_every_answer(shared: House, data: bytes) -> None:
    answer = shared.ask(data)
    assert answer.headers[CORS] == APP
    assert answer.headers["vary"] == "Origin"
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"Location", "Relay-Status", "Retry-After", "Preference-Applied", "TTL", "Idempotent-Replay"} == set(exposed)
    assert "access-control-allow-credentials" not in answer.headers


def test_the_origin_is_answered_as_it_was_written_and_never_a_star(shared: House) -> None:
    assert shared.ask(get("/healthz", origin="HTTPS://App.example:443")).headers[CORS] == "HTTPS://App.example:443"


def test_an_answer_to_nobodys_page_may_not_be_kept_for_a_page(shared: House) -> None:
    answer = shared.ask(get("/healthz"))
    assert CORS not in answer.headers
    assert answer.headers["vary"] == "Origin"


def test_a_page_of_another_origin_is_refused_and_reads_nothing(shared: House) -> None:
    for data in (get("/healthz", origin="https://evil.example"), preflight("https://evil.example")):
        answer = shared.ask(data)
        assert answer.status == 403
        assert CORS not in answer.headers


def preflight(origin: str, **headers: str) -> bytes:
    return get(
        "/v1/agents/a/messages",
        method="OPTIONS",
        origin=origin,
        access_control_request_method="POST",
        **headers,
    )


def test_a_browser_that_asks_before_it_sends_is_answered(shared: House) -> None:
    answer = shared.ask(preflight(APP, access_control_request_headers="ttl, relay-meta-kind, x-other"))
    assert (answer.status, answer.body, answer.headers[CORS]) == (204, b"", APP)
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD, POST, DELETE"
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"Authorization", "Content-Type", "Idempotency-Key", "relay-meta-kind"} <= set(allowed)
    assert "x-other" not in allowed
    assert int(answer.headers["access-control-max-age"]) > 0
    assert shared.floor.submissions == []


def test_what_a_browser_wants_to_send_is_not_repeated_without_end(shared: House) -> None:
    many = ", ".join(f"relay-meta-{number}" for number in range(1000))
    answer = shared.ask(preflight(APP, access_control_request_headers=many))
    assert len(answer.headers["access-control-allow-headers"]) < 2000


def test_a_plain_options_is_told_what_a_path_takes(shared: House) -> None:
    answer = shared.ask(get("/v1/agents/a/messages", method="OPTIONS", origin=APP))
    assert (answer.status, answer.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, POST")


ANSWERS = {
    "data": get("/healthz"),
    "a message": post("a", b"1"),
    "a problem": get("/nowhere"),
    "a head that is refused": b"GET / HTTP/1.1\r\n\r\n",
    "a body that is refused": request("POST", "/v1/agents/a/messages", b"", content_length="90000000"),
    "an upgrade that is refused": upgrade(sec_websocket_version="9"),
    "the description": get("/openapi.json"),
}


@pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS)
def test_every_answer_is_data_and_nothing_else(house: House, data: bytes) -> None:
    headers = house.ask(data).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "set-cookie" not in headers
    assert "server" not in headers
    assert "strict-transport-security" not in headers
