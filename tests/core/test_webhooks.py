"""A callback's words: its body, its signature, its next try."""

from __future__ import annotations

import base64
import json
from email.utils import formatdate

import pytest

from relay.core import webhooks
from relay.core.model import Status
from relay.core.webhooks import Answer, Verdict, judge, make_callback, pause, read_secret, signatures

NOW = 1_800_000_000.0
FAILED = Verdict.FAILED


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def test_the_body_says_how_it_ended() -> None:
    callback = make_callback(
        "https://h/", "m1", "desk", Status.DELIVERED, attempts=2, reply=b'{"a": 1.0}', reason="", at=NOW
    )
    assert callback.body == b'{"id":"m1","agent":"desk","status":"delivered","attempts":2,"reply":{"a": 1.0}}'
    assert (callback.id, callback.url, callback.tries, callback.due_at) == ("m1", "https://h/", 0, NOW)


def test_the_body_says_why_it_did_not_end_well() -> None:
    callback = make_callback("https://h/", "m1", "d", Status.DEAD, attempts=16, reply=None, reason="attempts", at=NOW)
    assert json.loads(callback.body) == {
        "id": "m1", "agent": "d", "status": "dead", "attempts": 16, "reason": "attempts"
    }  # fmt: skip


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # The example of the specification's own libraries.
    secret = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signatures([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == expected


def test_each_secret_signs() -> None:
    old, new = b"o" * 24, b"n" * 24
    both = signatures([new, old], "m", 1, b"{}").split(" ")
    assert both == [signatures([new], "m", 1, b"{}"), signatures([old], "m", 1, b"{}")]
    assert both[0] != both[1]


@pytest.mark.parametrize("length", [24, 64])
def test_a_secret_is_base64_with_its_prefix(length: int) -> None:
    secret = bytes(range(length))
    assert read_secret("whsec_" + base64.b64encode(secret).decode()) == secret


@pytest.mark.parametrize("length", [0, 23, 65])
def test_a_secret_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="24 to 64 bytes"):
        read_secret("whsec_" + base64.b64encode(bytes(length)).decode())


@pytest.mark.parametrize(
    "text", ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa", "whsec_ů"]
)
def test_a_malformed_secret_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="base64") as raised:
        read_secret(text)
    assert text not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(200, Verdict.TAKEN), (204, Verdict.TAKEN), (299, Verdict.TAKEN), (410, Verdict.GONE)]
    + [(status, FAILED) for status in (101, 301, 302, 304, 307, 308, 400, 404, 429, 500, 503, 599)],
)
def test_only_2xx_is_taken_and_only_410_stops(status: int, verdict: Verdict) -> None:
    assert judge(status, [], NOW).verdict is verdict


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (["120"], 120.0),
        ([formatdate(NOW + 90, usegmt=True)], 90.0),
        ([formatdate(NOW - 90, usegmt=True)], 0.0),
        (["9" * 400], 999_999_999_999.0),
        (["-1"], None),
        (["soon"], None),
        (["1", "2"], None),
        ([], None),
    ],
)
def test_retry_after_is_seconds_or_a_date(given: list[str], seconds: float | None) -> None:
    assert judge(503, given, NOW) == Answer(FAILED, "503", seconds)


def test_there_are_ten_tries_over_three_days() -> None:
    pauses = [pause(tries, None, middle) for tries in range(1, 11)]
    assert pauses.pop() is None
    assert pauses == list(webhooks.PAUSES)
    assert 75 * 3600 <= sum(webhooks.PAUSES) < 76 * 3600


def test_tries_are_spread() -> None:
    assert pause(2, None, min) == pytest.approx(270)
    assert pause(2, None, max) == pytest.approx(330)


def test_a_receiver_may_put_a_try_off_but_not_for_ever() -> None:
    assert pause(1, 60.0, middle) == 60.0
    assert pause(1, 1.0, middle) == 5.0
    assert pause(1, 1e12, middle) == 86400.0
    assert pause(10, 1.0, middle) is None
