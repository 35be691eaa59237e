"""A line is decoded once: the decoder and ``check_shape`` together refuse whatever ``check`` refuses."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import posting
from relay.core.json import NotJson, check
from relay.core.limits import Limits
from relay.core.model import Form, Submission
from relay.core.problems import Problem

ODD = [
    b"NaN",
    b"Infinity",
    b"-",
    b"01",
    b"1.",
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\xff"',
    b"\xef\xbb\xbf1",
    b"[" * 200 + b"]" * 200,
    b'{"a":1,}',
    b"tru",
    b'"\x01"',
    b"[1 2]",
    b'"',
    b"1" * 5000,
    b"-0.0",
    b"1e999",
    b'{"a":1,"a":2}',
    b'"\\u00e9"',
]


def read(line: bytes) -> Submission:
    return posting.read(line, Limits(), default_wait=5.0, publisher="", hosts=frozenset())


def is_json(data: bytes) -> bool:
    try:
        check(data)
    except NotJson:
        return False
    return True


@given(value=st.one_of(st.sampled_from(ODD), st.binary(max_size=20)), name=st.sampled_from([b"payload", b"other"]))
def test_a_line_with_something_in_it_that_is_not_json_is_refused(value: bytes, name: bytes) -> None:
    more = b"" if name == b"payload" else b',"payload":1'
    line = b'{"agent":"desk-1","' + name + b'":' + value + more + b"}"
    if is_json(line):
        read(line)
    else:
        with pytest.raises(Problem) as refused:
            read(line)
        assert refused.value.word == "invalid-json"


@pytest.mark.parametrize("line", [b'{"ref":"r-1"}', b'{"\\u0072ef":"r-1"}', b'{"r\\u0065f" : "r-1"}'])
def test_a_ref_is_found_however_its_name_is_written(line: bytes) -> None:
    assert posting.ref_of(line) == "r-1"


@pytest.mark.parametrize("content_type", ["", "nonsense", "text/", "a/b; c", "text/plain\x7f"])
def test_a_content_type_that_is_none_is_an_invalid_header_as_it_is_for_a_post(content_type: str) -> None:
    with pytest.raises(Problem) as refused:
        read(msgspec.json.encode({"agent": "desk-1", "payload": 1, "content_type": content_type}))
    assert refused.value.word == "invalid-header"


def test_a_content_type_does_not_make_json_anything_else() -> None:
    line = read(b'{"agent":"desk-1","payload":"hi","content_type":"text/plain; charset=koi8-r"}')
    assert (line.form, line.payload, line.content_type) == (Form.JSON, b'"hi"', "text/plain; charset=koi8-r")


def test_the_names_of_headers_have_no_case_and_are_given_in_lower_case() -> None:
    line = read(b'{"agent":"desk-1","payload":1,"headers":{"X-Room":"Kitchen","b":"2"}}')
    assert line.headers == (("x-room", "Kitchen"), ("b", "2"))
    with pytest.raises(Problem) as refused:
        read(b'{"agent":"desk-1","payload":1,"headers":{"Room":"1","room":"2"}}')
    assert refused.value.word == "invalid-header"


VALUES = st.one_of(st.sampled_from(ODD), st.binary(max_size=8), st.sampled_from([b"1", b"{}", b'"M\xc3\xbcller"']))
NAMES = st.sampled_from(
    [b"payload", b"other", b"ref", b"topic", b"ttl", b"agent", b"content_type", b"encoding", b"type"]
)
AGENTS_OF_LINES = st.sampled_from([b"desk-1", b"desk-1", b"desk-2", b"..", b"a b"])


@st.composite
def one_line(draw: st.DrawFn) -> bytes:
    name, value, agent = draw(NAMES), draw(VALUES), draw(AGENTS_OF_LINES)
    line = b'{"agent":"' + agent + b'","payload":1,"' + name + b'":' + value + b"}"
    return line.replace(b"\n", b"")


PLAIN = st.sampled_from(
    [b'{"agent":"desk-1","payload":[1],"ref":"r"}', b'{"type":"publish","agent":"desk-1","payload":[1]}']
    + [b'{"agent":"desk-1","payload":1,"content_type":"%b"}' % name for name in (b"application/json", b"text/plain")]
)


@given(st.lists(one_line() | PLAIN, min_size=1, max_size=3))
def test_lines_that_are_read_together_are_read_as_each_by_itself(lines: list[bytes]) -> None:
    together = posting.read_all(lines, Limits(), default_wait=5.0, publisher="", hosts=frozenset())
    try:
        alone = [(posting.ref_of(line), read(line)) for line in lines]
    except Problem:
        assert together is None
    else:
        assert together == alone
