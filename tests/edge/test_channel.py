"""One HTTP connection: its deadlines, its bounds, and how what is refused half-way is answered and closed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from relay.core.limits import Limits
from tests.conftest import LoggedFailures
from tests.edge.support import Client, House, get, post, queued, request, upgrade

Build = Callable[..., House]
HEAD = get("/healthz")
STALLED = request("POST", "/v1/agents/a/messages", b"", content_length="5000", content_type="text/plain")
CHUNKED = get("/v1/agents/a/messages", method="POST", transfer_encoding="chunked", content_type="text/plain")


def refused(client: Client) -> tuple[int, str]:
    """The one answer that came: a problem, after which the connection is closed."""
    answer = client.answer()
    assert answer.headers["connection"] == "close"
    assert answer.headers["date"]
    return answer.status, answer.problem


TIMED_OUT = (408, "request-timeout")
INVALID = (400, "invalid-request")
TOO_LARGE = (413, "payload-too-large")


# -- deadlines


def test_a_connection_without_a_request_is_closed_without_a_word(house: House) -> None:
    client = house.connect()
    house.pass_time(9.9)
    assert not client.closed
    house.pass_time(0.2)
    assert client.closed
    assert client.taken() == b""


def test_the_first_head_must_be_whole_in_time_from_accept(house: House) -> None:
    client = house.connect()
    house.pass_time(5)
    for byte in HEAD[:40]:
        client.send(bytes([byte]))
        house.pass_time(0.1)
    assert client.taken() == b""
    house.pass_time(1.2)
    assert refused(client) == TIMED_OUT


def test_a_later_head_must_be_whole_in_time_from_its_first_byte(house: House) -> None:
    client = house.connect()
    client.ask(HEAD)
    house.pass_time(50)
    client.send(HEAD[:1])
    for byte in HEAD[1:20]:
        house.pass_time(0.5)
        client.send(bytes([byte]))
    assert client.taken() == b""
    house.pass_time(0.7)
    assert refused(client) == TIMED_OUT


def test_a_head_that_becomes_whole_in_time_is_answered(house: House) -> None:
    client = house.connect()
    client.send(HEAD[:10])
    house.pass_time(9.8)
    assert client.ask(HEAD[10:]).status == 200
    house.pass_time(30)
    assert not client.closed


def test_blank_lines_without_end_are_no_request(house: House) -> None:
    client = house.connect()
    for _ in range(120):
        client.send(b"\r\n")
        house.pass_time(0.1)
    assert client.closed


def test_between_two_requests_a_connection_may_rest(house: House) -> None:
    client = house.connect()
    for _ in range(3):
        assert client.ask(HEAD).status == 200
        house.pass_time(59.8)
    house.pass_time(0.4)
    assert client.closed
    assert client.taken() == b""


def test_a_request_that_is_waited_for_has_no_deadline_here(house: House) -> None:
    house.floor.patient = True
    client = house.connect()
    client.send(post("a", b"1"))
    house.pass_time(100)
    assert not client.closed
    house.floor.undecided[0].callback(queued("a"))
    client.socket.run()
    assert client.answer().status == 200
    house.pass_time(59.8)
    assert not client.closed
    house.pass_time(0.4)
    assert client.closed


@pytest.mark.parametrize("head", [STALLED, CHUNKED], ids=["with a length", "in chunks"])
def test_a_body_that_stalls_is_timed_out(house: House, head: bytes) -> None:
    client = house.connect()
    client.send(head)
    house.pass_time(9.8)
    assert client.taken() == b""
    house.pass_time(0.3)
    assert refused(client) == TIMED_OUT
    assert house.floor.submissions == []


def test_a_body_that_drips_is_timed_out(house: House) -> None:
    client = house.connect()
    client.send(STALLED)
    for _ in range(110):
        client.send(b"x")
        house.pass_time(0.1)
    assert refused(client) == TIMED_OUT


def test_a_body_that_brings_its_rate_is_taken_however_long_it_is(build: Build) -> None:
    house = build(limits=Limits(body_grace=10.0, body_rate=100))
    client = house.connect()
    client.send(STALLED)
    house.pass_time(9.5)
    for _ in range(100):
        client.send(b"x" * 50)
        house.pass_time(0.49)
    assert client.answer().status == 200
    assert house.floor.submissions[0].payload == b"x" * 5000


def test_what_came_early_counts_for_the_rate(build: Build) -> None:
    house = build(limits=Limits(body_grace=10.0, body_rate=100))
    client = house.connect()
    client.send(STALLED + b"x" * 1000)
    house.pass_time(19.8)
    assert client.taken() == b""
    house.pass_time(0.4)
    assert refused(client) == TIMED_OUT


def test_the_limits_are_those_that_were_configured(build: Build) -> None:
    house = build(limits=Limits(head_seconds=1.0, idle_seconds=2.0, body_grace=3.0))
    fresh, idle, stalled = house.connect(), house.connect(), house.connect()
    idle.ask(HEAD)
    stalled.send(STALLED)
    house.pass_time(1.2)
    assert (fresh.closed, idle.closed, len(stalled.socket.sent)) == (True, False, 0)
    house.pass_time(1)
    assert (idle.closed, len(stalled.socket.sent)) == (True, 0)
    house.pass_time(1)
    assert refused(stalled) == TIMED_OUT


def test_one_that_does_not_take_its_last_answer_is_dropped(house: House) -> None:
    client = house.connect()
    client.socket.room = 0
    client.send(get("/healthz", connection="close"))
    house.pass_time(4.8)
    assert not client.closed
    house.pass_time(0.4)
    assert client.closed


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_one_that_takes_a_large_answer_slowly_gets_it_whole(house: House, connection: str) -> None:
    whole = house.ask(get("/openapi.json")).body
    client = house.connect()
    client.socket.room = 0
    client.send(get("/openapi.json", connection=connection))
    while not client.socket.sent.endswith(whole):
        house.pass_time(4.9)
        assert not client.closed
        client.socket.room = len(whole) // 30
        house.pass_time(0.1)
    house.pass_time(66)
    assert client.closed


def test_one_that_takes_some_of_its_last_answer_and_then_nothing_is_dropped(house: House) -> None:
    client = house.connect()
    client.socket.room = 0
    client.send(get("/openapi.json", connection="close"))
    client.socket.room = 1000
    house.pass_time(5)
    house.pass_time(29)
    assert not client.closed
    house.pass_time(2)
    assert client.closed


def test_one_that_rests_and_does_not_take_its_answer_is_dropped(house: House) -> None:
    client = house.connect()
    client.socket.room = 0
    client.send(HEAD)
    house.pass_time(64.8)
    assert not client.closed
    house.pass_time(0.4)
    assert client.closed


# -- bounds


def test_a_head_that_is_too_large_is_refused_before_it_is_whole(house: House) -> None:
    client = house.connect()
    client.send(HEAD[:-2] + b"X-Big: " + b"y" * 16_384)
    assert refused(client) == (431, "headers-too-large")


def test_a_whole_head_that_is_too_large_is_refused(build: Build) -> None:
    house = build(limits=Limits(head_bytes=1000))
    fits = get("/healthz", x="y" * (1000 - len(get("/healthz", x=""))))
    assert len(fits) == 1000
    assert house.ask(fits).status == 200
    client = house.connect()
    client.send(fits.replace(b"yy", b"yyy", 1))
    assert refused(client) == (431, "headers-too-large")


def test_a_larger_head_may_be_configured(build: Build) -> None:
    house = build(limits=Limits(head_bytes=100_000, header_count=600))
    assert house.ask(get("/healthz", x="y" * 60_000)).status == 200
    assert house.ask(get("/healthz", **{f"x-{number}": "1" for number in range(599)})).status == 200


def test_a_head_with_too_many_headers_is_refused(house: House) -> None:
    assert house.ask(get("/healthz", **{f"x-{number}": "1" for number in range(99)})).status == 200
    client = house.connect()
    client.send(get("/healthz", **{f"x-{number}": "1" for number in range(100)}))
    assert refused(client) == (431, "headers-too-large")


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(house: House) -> None:
    client = house.connect()
    client.send(request("POST", "/v1/agents/a/messages", b"", content_length=str(50 * 1024 * 1024)))
    assert refused(client) == TOO_LARGE


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def test_a_body_in_chunks_is_taken(house: House) -> None:
    client = house.connect()
    client.send(CHUNKED + chunk(b"a") + chunk(b"b" * 100_000))
    client.send(b"0\r\nTrailer: x\r\n\r\n" + HEAD)
    first, second = client.answers()
    assert (first.status, second.status) == (200, 200)
    assert house.floor.submissions[0].payload == b"a" + b"b" * 100_000


def test_a_body_in_chunks_is_refused_when_it_passes_the_limit(house: House) -> None:
    client = house.connect()
    client.send(CHUNKED)
    for _ in range(16):
        client.send(chunk(b"x" * 65536))
    assert client.taken() == b""
    client.send(chunk(b"x"))
    assert refused(client) == TOO_LARGE
    client.send(b"0\r\n\r\n" + HEAD)
    assert client.taken() == b""
    assert house.floor.submissions == []


@pytest.mark.parametrize(
    "bad", [b"x\r\n", b"-1\r\n", b"5\r\nhello!", b"1;\x00\r\n", b"1" * 2000, b"0x1\r\na\r\n", b"1\na\n0\n\n"]
)
def test_chunks_that_are_malformed_are_refused(house: House, bad: bytes) -> None:
    client = house.connect()
    client.send(CHUNKED + bad + b"\r\n" * 2 + b"0" * 1200)
    assert refused(client) == INVALID
    assert house.floor.submissions == []


def test_nothing_is_written_to_a_file(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    assert house.ask(post("a", b"1" * 500_000)).status == 200
    assert house.ask(CHUNKED + chunk(b"x" * 500_000) + b"0\r\n\r\n").status == 200


# -- soundness


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + b"\x00" * 64 + b"\r\n\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"\r\n" * 3,
        get("/healthz", host=None),
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX : 1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /healthz HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: %b\r\n\r\n" % (b"9" * 5000),
    ],
)
def test_an_unsound_head_is_refused_and_what_follows_is_not_read(house: House, data: bytes) -> None:
    client = house.connect()
    client.send(data + HEAD + post("a", b"1"))
    assert refused(client) == INVALID
    client.send(HEAD)
    assert client.taken() == b""
    assert house.floor.submissions == []


def test_the_second_head_is_judged_like_the_first(house: House) -> None:
    client = house.connect()
    client.send(post("a", b"1") + b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + HEAD)
    first, second = client.answers()
    assert (first.status, second.status) == (200, 400)
    assert len(house.floor.submissions) == 1


def test_the_second_head_is_judged_when_the_first_request_took_its_time(house: House) -> None:
    house.floor.patient = True
    client = house.connect()
    client.send(post("a", b"1") + b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + HEAD)
    house.floor.undecided[0].callback(queued("a"))
    client.socket.run()
    assert [answer.status for answer in client.answers()] == [200, 400]


def test_one_blank_line_before_a_request_is_skipped(house: House) -> None:
    client = house.connect()
    client.send(post("a", b"1") + b"\r\n" + HEAD)
    assert [answer.status for answer in client.answers()] == [200, 200]


def test_who_asks_before_sending_a_body_is_told_to_go_on(house: House) -> None:
    client = house.connect()
    client.send(post("a", b"", content_length="1", expect="100-Continue"))
    assert client.taken() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert client.ask(b"1").status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_length": "2000000"}, 413),
        ({"content_length": "1", "origin": "https://evil.example"}, 403),
        ({"content_length": "1", "host": "evil.example"}, 421),
        ({"content_length": "1", "content_encoding": "gzip"}, 415),
    ],
)
def test_who_asks_before_sending_what_is_refused_anyhow_is_told_so(
    house: House, headers: dict[str, str], status: int
) -> None:
    client = house.connect()
    client.send(post("a", b"", expect="100-continue", **headers))
    assert refused(client)[0] == status


def test_another_expectation_is_ignored(house: House) -> None:
    assert house.ask(post("a", b"1", expect="miracles")).status == 200


def test_pipelined_requests_are_not_read_without_end_while_one_waits(house: House) -> None:
    house.floor.patient = True
    client = house.connect()
    client.send(post("a", b"1") + HEAD * 4_000)
    assert client.socket.unread > 20_000
    assert not client.socket.reading
    house.floor.undecided[0].callback(queued("a"))
    client.socket.run()
    assert len(client.answers()) == 4_001
    assert client.socket.reading


def test_who_does_not_read_its_answers_is_not_read(house: House) -> None:
    client = house.connect()
    client.socket.room = 0
    client.send(HEAD * 4_000)
    assert not client.socket.reading
    assert client.socket.unread > 20_000
    client.socket.room = None
    client.socket.startWriting()
    client.socket.run()
    assert len(client.answers()) == 4_000


# -- refused half-way


def test_who_is_refused_half_way_sees_the_answer_and_its_end(house: House) -> None:
    client = house.connect()
    client.send(STALLED.replace(b"5000", b"5000000"))
    assert refused(client) == TOO_LARGE
    assert client.socket.half_closed
    assert not client.closed
    client.send(b"x" * 1_000_000)
    assert client.socket.unread == 0
    house.pass_time(Limits().linger_seconds + 0.2)
    assert client.closed
    assert client.taken() == b""


def test_of_50_mb_that_are_refused_only_a_bounded_part_is_read(house: House) -> None:
    client = house.connect()
    client.send(STALLED.replace(b"5000", b"50000000") + b"x" * 50_000_000)
    assert refused(client) == TOO_LARGE
    assert client.socket.unread > 50_000_000 - Limits().linger_bytes - 200_000
    house.pass_time(Limits().linger_seconds + 0.2)
    assert client.closed


def test_who_is_refused_and_does_not_read_is_dropped(house: House) -> None:
    client = house.connect()
    client.socket.room = 0
    client.send(STALLED.replace(b"5000", b"5000000"))
    house.pass_time(Limits().linger_seconds + 5.2)
    assert client.closed


def test_who_goes_away_after_a_refusal_leaves_nothing(house: House) -> None:
    client = house.connect()
    client.send(STALLED.replace(b"5000", b"5000000"))
    client.socket.hang_up()
    assert house.reactor.getDelayedCalls() == []


def test_a_whole_request_that_is_refused_keeps_its_connection(house: House) -> None:
    client = house.connect()
    for data in (get("/healthz", host="evil.example"), get("/v1/agents?token=x"), post(".", b"1"), get("/nowhere")):
        assert "connection" not in client.ask(data).headers
    assert client.ask(HEAD).status == 200


def test_a_failure_in_the_door_itself_is_a_plain_500(house: House, logged_failures: LoggedFailures) -> None:
    def fail() -> None:
        raise RuntimeError("/secret/path")

    house.floor.readiness = fail  # type: ignore[assignment,method-assign]  # a floor that breaks its contract
    house.floor.admit = fail  # type: ignore[method-assign]  # the same
    for data in (get("/readyz"), upgrade()):
        answer = house.ask(data)
        assert (answer.status, answer.problem) == (500, "internal")
        assert b"secret" not in answer.body
    assert len(logged_failures.flush(RuntimeError)) == 2


def test_only_http_1_1_is_offered_in_tls(house: House) -> None:
    assert house.site.acceptableProtocols() == [b"http/1.1"]
