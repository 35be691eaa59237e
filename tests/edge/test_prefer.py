"""``Prefer`` as RFC 7240 and the contract have it: what is known applies, all else is ignored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.edge.prefer import Preference, read


def prefer(*headers: str) -> Preference:
    return read(headers, default=5.0, most=30.0)


def test_without_the_header_the_default_applies_and_nothing_is_said() -> None:
    assert prefer() == Preference(5.0, False, "")


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("wait=0", 0),
        ("wait=7", 7),
        ("wait=30", 30),
        ("wait=31", 30),
        ("wait=007", 7),
        ("wait=99999999999999999999", 30),
        ("wait=" + "9" * 5000, 30),
        ("wait=" + "0" * 5000 + "1", 1),
        ('wait="7"', 7),
        ('wait="\\7"', 7),
        ("WAIT=7", 7),
        ("  wait = 7  ", 7),
        ("wait=7; foo=bar", 7),
        ('wait=7;;foo="a,b;c"; ', 7),
        ("return=minimal, wait=7", 7),
        (",, ,wait=7,", 7),
        ('foo="a, wait=9", wait=7', 7),
        ("wait=7, wait=9", 7),
        ("wait=soon, wait=7", 7),
    ],
)
def test_a_wait_is_read_and_clamped_and_the_answer_says_what_applies(header: str, wait: int) -> None:
    assert prefer(header) == Preference(float(wait), False, f"wait={wait}")


@pytest.mark.parametrize(
    "header",
    [
        "",
        ",",
        "wait",
        "wait=",
        'wait=""',
        "wait=-1",
        "wait=+1",
        "wait=1.5",
        "wait=1e1",
        "wait=soon",
        "wait=٣",
        "wait=7 respond-async",
        "wait:7",
        "wait==7",
        'wait="7',
        'wait=7"',
        '"wait"=7',
        "wait=7; =",
        "waiting=7",
        "respond-async=yes",
        "respond-later",
        "handling=lenient",
        "=",
        ";wait=7",
    ],
)
def test_what_is_malformed_or_unknown_is_ignored(header: str) -> None:
    assert prefer(header) == Preference(5.0, False, "")


def test_several_headers_are_one_list() -> None:
    assert prefer("return=minimal", "wait=7", "wait=9") == Preference(7.0, False, "wait=7")


def test_respond_async_alone_does_not_wait() -> None:
    assert prefer("respond-async") == Preference(0.0, True, "respond-async")


@pytest.mark.parametrize("header", ["respond-async, wait=7", "wait=7,respond-async", 'Respond-Async="", wait=7'])
def test_respond_async_with_a_wait_waits(header: str) -> None:
    assert prefer(header) == Preference(7.0, True, "respond-async, wait=7")


@pytest.mark.parametrize("piece", [" ", '"', '\\"', ";", "; ", ";a=", ",", "a", "=", 'a="b";', "wait=1 "])
def test_a_header_as_long_as_a_head_is_read_in_one_pass(piece: str) -> None:
    # A pattern that tries again in another way would not come back for minutes.
    prefer("wait" + piece * 16_000 + "(", '"' + piece * 16_000)


@given(st.lists(st.text(alphabet='wait=respond-async0123",;\\ \t', max_size=40), max_size=3))
def test_no_header_breaks_it(headers: list[str]) -> None:
    preference = prefer(*headers)
    assert 0 <= preference.wait <= 30
    assert "," not in preference.applied.replace("respond-async, wait=", "")
