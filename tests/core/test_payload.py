"""What a body is, by its content type (protocol 1.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.model import Form
from relay.core.payload import read
from relay.core.problems import Problem


def refusal(content_type: str | None, body: bytes) -> str:
    with pytest.raises(Problem) as caught:
        read([] if content_type is None else [content_type], body)
    assert caught.value.detail
    return caught.value.word


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json ;charset="UTF-8"; v=1;',
        "application/problem+json",
        "application/vnd.example.v2+json; profile=x",
        "text/x+json",
    ],
)
def test_json_is_checked_and_passed_on_with_its_type(content_type: str) -> None:
    assert read([content_type], b'{"a": 1e999}') == (Form.JSON, content_type)
    assert refusal(content_type, b"{") == "invalid-json"


@pytest.mark.parametrize("body", [b"{", b"NaN", b'"\\ud800"', b'"\xff"', b"\xef\xbb\xbf1", b"[" * 2000, b" "])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    assert refusal("application/json", body) == "invalid-json"


@pytest.mark.parametrize(
    ("content_type", "body", "form"),
    [
        ("text/plain", "Grüße".encode(), Form.TEXT),
        ("text/plain; charset=utf-8", "你好".encode(), Form.TEXT),
        ('text/html; x=1; charset="UTF-8"', b"<p>", Form.TEXT),
        ('text/html; charset="\\U\\T\\F-8"', b"<p>", Form.TEXT),
        ("text/plain; charset=US-ASCII", b"plain", Form.TEXT),
        ("text/csv; charset=iso-8859-1", b"gr\xfc\xdfe \x80\x00", Form.LATIN1),
        ("text/json", b"{", Form.TEXT),
    ],
)
def test_text_is_known_by_its_charset(content_type: str, body: bytes, form: Form) -> None:
    assert read([content_type], body) == (form, content_type)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", b"\xff\xfe"),
        ("text/plain; charset=utf-8", b"\xed\xa0\x80"),
        ("text/plain; charset=us-ascii", "é".encode()),
    ],
)
def test_text_that_is_not_in_its_charset_is_invalid(content_type: str, body: bytes) -> None:
    assert refusal(content_type, body) == "invalid-text"


@pytest.mark.parametrize("charset", ["utf-16", "koi8-r", "windows-1252", '""', "utf-8x"])
def test_text_in_another_charset_is_not_supported(charset: str) -> None:
    assert refusal(f"text/plain; charset={charset}", b"text") == "unsupported-media-type"


@pytest.mark.parametrize(
    "content_type",
    ["application/octet-stream", "image/png", "application/x-www-form-urlencoded", "application/jsonl", "x/y; a=b"],
)
def test_anything_else_is_bytes(content_type: str) -> None:
    assert read([content_type], b"\x00\xff") == (Form.BINARY, content_type)


def test_without_a_type_json_is_known_and_all_else_is_refused() -> None:
    assert read([], b" [1] ") == (Form.JSON, "application/json")
    assert refusal(None, b"just text") == "unsupported-media-type"


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "image/png", None])
def test_an_empty_body_is_refused(content_type: str | None) -> None:
    assert refusal(content_type, b"") == "empty-body"


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "json",
        "/",
        "text/",
        "/plain",
        "text/plain/x",
        "text plain",
        "text/plain x",
        "text/plain; charset",
        "text/plain; =x",
        'text/plain; a="open',
        "text/plain, text/html",
        "täxt/plain",
        "text/plain\x00",
        "a/" + "b" * 255,
        "text/plain" + "; " * 8000 + "(",
    ],
)
def test_a_malformed_type_is_an_invalid_header(content_type: str) -> None:
    assert refusal(content_type, b"text") == "invalid-header"


def test_two_types_are_an_invalid_header() -> None:
    with pytest.raises(Problem, match="invalid-header"):
        read(["text/plain", "text/plain"], b"text")


@given(st.text(alphabet='textapplic/json+;= "\\charsetuf-8\t', max_size=60), st.binary(min_size=1, max_size=20))
def test_any_type_and_any_body_have_an_answer(content_type: str, body: bytes) -> None:
    try:
        _, told = read([content_type], body)
    except Problem as problem:
        assert problem.status in (400, 415)
    else:
        assert told == content_type
