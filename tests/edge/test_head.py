"""Heads that every reader reads alike pass; all others are refused (RFC 9112)."""

from __future__ import annotations

import pytest

from relay.core.problems import Problem
from relay.edge.head import check


def verdict(head: bytes, count: int = 100) -> str:
    try:
        check(head, count)
    except Problem as problem:
        return problem.word
    return "pass"


LINE = b"POST /x HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"


@pytest.mark.parametrize(
    "head",
    [
        LINE + HOST + b"\r\n",
        b"GET /x?y=%20&z HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET http://localhost/x HTTP/1.1\r\nHOST:localhost\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        LINE + HOST + b"Content-Length: 0\r\n\r\n",
        LINE + HOST + b"content-length:\t12 \r\n\r\n",
        LINE + HOST + b"Transfer-Encoding: Chunked\r\n\r\n",
        LINE + HOST + b"X-Empty:\r\nX-Latin: gr\xfc\xdfe\r\nX-Tab: a\tb\r\n\r\n",
        LINE + HOST + b"X-Host: a\r\nX: Host: b\r\nX: Content-Length: x\r\n\r\n",
    ],
)
def test_a_sound_head_passes(head: bytes) -> None:
    assert verdict(head) == "pass"


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GeT / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /\r\n" + HOST + b"\r\n",
        b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
        b" GET / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n",
        b"GET / x HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n",
        b"G(T / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /\xc3\xa4 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /\x7f HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
        b"GET / http/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\n" + HOST + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        LINE + b"\r\n",
        LINE + HOST + HOST + b"\r\n",
        b"GET / HTTP/1.0\r\n" + HOST + HOST + b"\r\n",
        LINE + b" " + HOST + b"\r\n",
        LINE + HOST + b"X: a\r\n b\r\n\r\n",
        LINE + HOST + b"Content-Length: 1\r\n\t2\r\n\r\n",
        LINE + HOST + b"Transfer-Encoding:\r\n chunked\r\n\r\n",
        LINE + HOST + b"no colon\r\n\r\n",
        LINE + HOST + b": no name\r\n\r\n",
        LINE + HOST + b"X : blank before the colon\r\n\r\n",
        LINE + HOST + b"X-\xc3\xa4: 1\r\n\r\n",
        LINE + HOST + b"X: bare\nLF\r\n\r\n",
        LINE + HOST + b"X: bare\rCR\r\n\r\n",
        LINE + HOST + b"X: \x00\r\n\r\n",
        LINE + HOST + b"X: a\nTransfer-Encoding: chunked\r\n\r\n",
        LINE + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        LINE + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        LINE + HOST + b"Content-Length: 1, 1\r\n\r\n",
        LINE + HOST + b"Content-Length: -1\r\n\r\n",
        LINE + HOST + b"Content-Length: +1\r\n\r\n",
        LINE + HOST + b"Content-Length: 1.0\r\n\r\n",
        LINE + HOST + b"Content-Length: 0x10\r\n\r\n",
        LINE + HOST + b"Content-Length: 1_0\r\n\r\n",
        LINE + HOST + b"Content-Length: \xb2\r\n\r\n",
        LINE + HOST + b"Content-Length:\r\n\r\n",
        LINE + HOST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        LINE + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        LINE + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        LINE + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
        LINE + HOST + b"Transfer-Encoding: identity\r\n\r\n",
        LINE + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        LINE + HOST + b"Transfer-Encoding: xchunked\r\n\r\n",
        LINE + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n",
        LINE + HOST + b"Transfer-Encoding:\r\n\r\n",
        b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_head_that_may_be_read_in_two_ways_is_refused(head: bytes) -> None:
    assert verdict(head) == "invalid-request"


def test_so_many_headers_and_no_more() -> None:
    head = LINE + HOST + b"".join(b"X-%d: 1\r\n" % number for number in range(9)) + b"\r\n"
    assert verdict(head, 10) == "pass"
    assert verdict(head, 9) == "headers-too-large"


@pytest.mark.parametrize("piece", [b" ", b"\t", b":", b"a", b"a:\r\n", b"\r\n ", b"host: \r\n", b"X: \t \t\r\n"])
def test_a_head_as_large_as_may_be_is_judged_in_one_pass(piece: bytes) -> None:
    # A pattern that tries again in another way would not come back for minutes.
    verdict(LINE + HOST + piece * (16_000 // len(piece)) + b"\x00\r\n\r\n", 100_000)
    verdict(LINE + HOST + b"Content-Length: " + piece * (16_000 // len(piece)) + b"\r\n\r\n", 100_000)
