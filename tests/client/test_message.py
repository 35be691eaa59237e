"""Payloads as the library gives them: nothing is lost on the way."""

from __future__ import annotations

import base64
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.client import Message, Nack
from relay.client.frames import BadFrame, Delivery, parse
from relay.core.model import Form
from relay.core.model import Message as Kept
from relay.core.wire import message as framed


def received(payload: bytes, content_type: str, form: Form) -> Message:
    """What arrives when the relay sends that payload: through its own writer of frames."""
    frame = parse(framed(Kept("m1", "desk-1", payload, content_type, form, 0.0, 60.0), queued=True, attempt=2))
    assert isinstance(frame, Delivery)
    return Message.of(frame, "desk-1")


@pytest.mark.parametrize(
    "payload",
    [
        b"-0.0",
        b"1e400",
        b"7" * 5000,
        b'{"a" : 1.10,\n "b":[ ]}',
        b'"a string"',
        b'"\\u00e9 \\/"',
        b"null",
        b"  [1]".strip(),
    ],
)
def test_json_stands_in_raw_and_in_body_byte_for_byte(payload: bytes) -> None:
    message = received(payload, "application/json", Form.JSON)
    assert message.raw == payload
    assert message.body == payload
    assert message.text == payload.decode()


def test_json_is_decoded_when_it_is_asked_for() -> None:
    assert received(b'{"a": [1, 2.5, null]}', "application/json", Form.JSON).payload == {"a": [1, 2.5, None]}


def test_a_number_that_no_int_can_hold_is_given_exactly() -> None:
    assert received(b"7" * 5000, "application/json", Form.JSON).payload == Decimal("7" * 5000)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_is_given_as_it_was_posted(text: str) -> None:
    message = received(text.encode(), "text/plain; charset=utf-8", Form.TEXT)
    assert message.text == message.payload == text
    assert message.body == text.encode()


@pytest.mark.parametrize("charset", ["iso-8859-1", '"ISO-8859-1"'])
def test_the_bytes_of_a_text_are_in_its_own_charset(charset: str) -> None:
    message = received(b"caf\xe9", f"text/plain; charset={charset}", Form.LATIN1)
    assert message.text == "café"
    assert message.body == b"caf\xe9"


@given(st.binary())
def test_bytes_are_given_as_they_were_posted(payload: bytes) -> None:
    message = received(payload, "application/octet-stream", Form.BINARY)
    assert message.body == message.payload == payload
    assert base64.b64decode(json.loads(message.raw)) == payload


def test_a_text_that_comes_as_base64_is_a_text_all_the_same() -> None:
    message = Message("m1", "a", b'"aGVsbG8="', "text/plain", encoding="base64")
    assert (message.text, message.body) == ("hello", b"hello")


def test_bytes_that_are_no_text_have_none() -> None:
    with pytest.raises(UnicodeDecodeError):
        _ = received(b"\xff", "image/png", Form.BINARY).text


def test_what_the_relay_says_about_a_message_is_kept() -> None:
    message = received(b"1", "application/json", Form.JSON)
    assert (message.id, message.agent, message.queued, message.attempt) == ("m1", "desk-1", True, 2)
    assert (message.created_at, message.expires_at) == ("1970-01-01T00:00:00.000Z", "1970-01-01T00:01:00.000Z")
    assert message.life == 60.0


@pytest.mark.parametrize("times", [("", ""), ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00"), ("soon", "later")])
def test_a_life_that_is_not_told_is_the_contracts(times: tuple[str, str]) -> None:
    assert Message("m1", "a", b"1", "application/json", created_at=times[0], expires_at=times[1]).life == 7 * 86400


def test_a_raw_payload_does_not_keep_its_frame() -> None:
    assert type(received(b"1", "application/json", Form.JSON).raw) is bytes


@pytest.mark.parametrize("delay", [-1, 86401, float("nan")])
def test_a_delay_out_of_bounds_is_refused(delay: float) -> None:
    with pytest.raises(ValueError, match="86400"):
        Nack(delay=delay)


@pytest.mark.parametrize(
    "frame", [b"", b"{", b"[1]", b'{"type":7}', b'{"type":"message","id":1}', b'\xff{"type":"x"}', b"[" * 5000]
)
def test_what_is_no_frame_is_named_so(frame: bytes) -> None:
    with pytest.raises(BadFrame):
        parse(frame)


def test_a_type_that_is_not_known_is_no_mistake() -> None:
    assert parse(b'{"type": "fanfare", "volume": 11}') is None
