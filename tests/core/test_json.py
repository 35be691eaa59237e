"""The judge of JSON, against a list of known troublemakers and against the standard library.

The standard library is the oracle where it is as strict as the contract: it is told to refuse ``NaN``, and what it is
given is decoded and searched for surrogates first.
"""

from __future__ import annotations

import inspect
import json
import sys
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.json import MAX_DEPTH, NotJson, check


def passes(data: bytes) -> bool:
    try:
        check(data)
    except NotJson as error:
        assert str(error)
        return False
    return True


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b" \t\r\n true \t\r\n ",
        b"[]",
        b"{}",
        b'""',
        b'"\\u0000"',
        b'"\\ud83d\\ude00"',
        b'"\\uD83D\\uDE00"',
        b'"\x7f"',
        '"Grüße, 你好, مرحبا, 😀"'.encode(),
        b"-0.0",
        b"0e1",
        b"1E5",
        b"1e999",
        b"-1e-999",
        b"9007199254740993",
        b"1" * 5000,
        b"0." + b"3" * 5000,
        b'{"a":1,"a":2}',
        b'{"":{"":[]}}',
    ],
)
def test_json_passes(data: bytes) -> None:
    check(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"  ",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"[NaN]",
        b"\xef\xbb\xbf1",
        '"text"'.encode("utf-16"),
        '"text"'.encode("utf-16-le"),
        '"text"'.encode("utf-32"),
        b'"\\ud800"',
        b'"\\udc00"',
        b'"\\ud800\\u0041"',
        b'"\\ud83d\\ud83d\\ude00"',
        b'"\\ud83dx"',
        b'"\\ud83d\\n"',
        b'{"\\udc00":1}',
        b'"\xff"',
        b'"\xc0\x80"',
        b'"\xed\xa0\x80"',
        b'"\xf4\x90\x80\x80"',
        b'"\x00"',
        b'"\t"',
        b'"\\x"',
        b'"\\u12"',
        b'"open',
        b'"open\\',
        b"'single'",
        b"01",
        b"-01",
        b"+1",
        b"-",
        b"1.",
        b".5",
        b"1e",
        b"1e+",
        b"0x10",
        b"1_000",
        b"[1,]",
        b'{"a":1,}',
        b"{a:1}",
        b'{"a" 1}',
        b'{"a"}',
        b"[1 2]",
        b"[1}",
        b"1 2",
        b"{} garbage",
        b"1\x00",
        b"\x0c1",
        b"\xc2\xa01",
        b"// comment\n1",
        b"tru",
        b"True",
        b"None",
    ],
)
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(NotJson):
        check(data)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"[":', b"}]")])
def test_depth_is_allowed_up_to_the_limit_and_no_further(opening: bytes, closing: bytes) -> None:
    levels = opening.translate(None, b'"[":a').count(b"{") + opening.count(b"[") - opening.count(b'"["')
    depth = MAX_DEPTH // levels
    check(opening * depth + b"1" + closing * depth)
    with pytest.raises(NotJson, match="128 deep"):
        check(opening * (depth + 1) + b"1" + closing * (depth + 1))


@pytest.mark.parametrize("depth", [2_000, 500_000])
def test_great_depth_is_a_clear_refusal(depth: int) -> None:
    with pytest.raises(NotJson, match="128 deep"):
        check(b"[" * depth + b"]" * depth)
    with pytest.raises(NotJson, match="128 deep"):
        check(b'{"a":' * depth)


def test_brackets_inside_strings_are_not_depth() -> None:
    check(b'["' + b"[{" * 2_000 + b'","\\"' + b"[" * 2_000 + b'"]')


def test_many_siblings_are_not_depth() -> None:
    check(b"[" + b",".join([b'{"a":[]}'] * 1_000) + b"]")


def test_a_closed_bracket_does_not_hide_the_depth_that_follows() -> None:
    with pytest.raises(NotJson):
        check(b"[" + b"]," * 500 + b"[" * 500)


def test_a_megabyte_of_quotes_is_judged_in_one_pass() -> None:
    # A pattern that starts anew at each of these quotes would not come back for hours.
    with pytest.raises(NotJson):
        check(b"[" * 200 + b'"' + b'\\"' * 500_000)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xef\xbb\xbf1", "byte order mark"),
        (b'"ab\xff"', "not UTF-8 .byte 3."),
        (b'"\\ud800"', "surrogate"),
        (b"[1,]", "trailing comma"),
        (b"1 2", "trailing characters"),
    ],
)
def test_the_refusal_says_what_is_wrong(data: bytes, said: str) -> None:
    with pytest.raises(NotJson, match=said):
        check(data)


def oracle(data: bytes) -> bool:
    """What the standard library says, with the contract's extra rules."""

    def refuse(name: str) -> NoReturn:
        raise ValueError(name)

    try:
        # Numbers stay text: their length is no reason to refuse.
        value = json.loads(data.decode("utf-8"), parse_constant=refuse, parse_int=str, parse_float=str)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails on a lone surrogate
    except ValueError:
        return False
    return True


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
)


@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_whatever_the_standard_library_writes_passes(value: object, ascii_only: bool, indent: int | None) -> None:
    check(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode())


@given(values, st.data())
def test_a_damaged_text_is_judged_as_the_oracle_does(value: object, data: st.DataObject) -> None:
    text = bytearray(json.dumps(value).encode())
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 3))
    text[at : at + cut] = data.draw(
        st.sampled_from([b"", b"\\", b'"', b"\\ud800", b"[", b"}", b",", b"0", b"e", b"\xff"])
    )
    assert passes(bytes(text)) == oracle(bytes(text))


@given(st.text(alphabet='[]{}",:\\u0dD8c1e.-+ \ntrfalsn', max_size=12).map(str.encode))
def test_pieces_of_json_are_judged_as_the_oracle_does(data: bytes) -> None:
    assert passes(data) == oracle(data)


@given(st.binary(max_size=64))
def test_no_bytes_make_it_raise_anything_else(data: bytes) -> None:
    assert passes(data) == oracle(data)


def test_a_caller_deep_in_the_stack_gets_a_refusal_and_no_recursion_error() -> None:
    def down(levels: int) -> bool:
        return down(levels - 1) if levels else passes(b"[" * 100 + b"]" * 100)

    room = sys.getrecursionlimit() - len(inspect.stack())
    assert isinstance(down(room - 90), bool)
