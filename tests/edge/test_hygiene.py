"""Requests that two readers in a row may understand differently: 400, a close, and nothing of it is done (RFC 9112).

Each is followed by a sound request in the same segment and another one later: were the relay to go on reading, one of
them would be answered.
"""

from __future__ import annotations

import json

import pytest

from tests.edge.support import House, get, post, upgrade

HEAD = get("/healthz")
PATH = "/v1/agents/a/messages"
LINE = f"POST {PATH} HTTP/1.1\r\n".encode()
HOST = b"Host: localhost\r\n"
CHUNKED = LINE + HOST + b"Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"

AMBIGUOUS = {
    "two lengths that differ": LINE + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n11",
    "two lengths that are alike": LINE + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n1",
    "a list of lengths": LINE + HOST + b"Content-Length: 1, 1\r\n\r\n1",
    "a folded length": LINE + HOST + b"Content-Length:\r\n 1\r\n\r\n1",
    "a length that is continued": LINE + HOST + b"Content-Length: 1\r\n 0\r\n\r\n1234567890",
    "a length with a sign": LINE + HOST + b"Content-Length: +1\r\n\r\n1",
    "a length in hexadecimal": LINE + HOST + b"Content-Length: 0x1\r\n\r\n1",
    "a length that is no number": LINE + HOST + b"Content-Length: one\r\n\r\n1",
    "a length that no number holds": LINE + HOST + b"Content-Length: 18446744073709551617\r\n\r\n1",
    "a length and chunks": LINE + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": LINE + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
    "chunks twice": LINE + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks that are compressed": LINE + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks that are not last": LINE + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunks in other words": LINE + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks with a tab before": LINE + HOST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "chunks by HTTP/1.0": LINE.replace(b"1.1", b"1.0") + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded header": LINE + HOST + b"X: a\r\n b\r\n\r\n",
    "a header folded with a tab": LINE + HOST + b"X: a\r\n\tb\r\n\r\n",
    "a first header that is folded": LINE + b" Host: localhost\r\n\r\n",
    "a bare LF between headers": LINE + HOST + b"X: a\nTransfer-Encoding: chunked\r\n\r\n",
    "a bare LF after the first line": LINE.replace(b"\r\n", b"\n") + HOST + b"\r\n",
    "a bare CR in a header": LINE + HOST + b"X: a\rTransfer-Encoding: chunked\r\n\r\n",
    "a head ended by two LF": LINE + HOST + b"X: a\n\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a NUL in a header": LINE + HOST + b"X: a\x00b\r\n\r\n",
    "a NUL in a name": LINE + HOST + b"X\x00: a\r\n\r\n",
    "a NUL in the target": LINE.replace(b"/v1", b"/\x00v1") + HOST + b"\r\n",
    "two hosts": LINE + HOST + HOST + b"Content-Length: 1\r\n\r\n1",
    "two hosts that differ": LINE + HOST + b"Host: 127.0.0.1\r\nContent-Length: 1\r\n\r\n1",
    "no host": LINE + b"Content-Length: 1\r\n\r\n1",
    "a blank before a colon": LINE + HOST + b"Content-Length : 1\r\n\r\n1",
    "a header without a name": LINE + HOST + b": 1\r\n\r\n",
    "a header without a colon": LINE + HOST + b"Content-Length 1\r\n\r\n1",
    "a URL of another host": b"GET http://evil.example/healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a URL of another host with a body": LINE.replace(b"/v1", b"http://evil.example/v1")
    + HOST
    + b"Content-Length: 1\r\n\r\n1",
    "a URL of another port": b"GET http://localhost:1/healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a URL with a user": b"GET http://localhost@evil.example/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "a URL of another kind": b"GET ftp://localhost/healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "an authority as target": b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "an asterisk as target": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "a method in small letters": b"get /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method with one small letter": LINE.replace(b"POST", b"POSt") + HOST + b"Content-Length: 1\r\n\r\n1",
    "two blanks in the first line": b"GET  /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a version of another length": b"GET /healthz HTTP/1.10\r\n" + HOST + b"\r\n",
    "an upgrade with a body": upgrade(content_length="1") + b"1",
    "an upgrade in chunks": upgrade(transfer_encoding="chunked") + b"0\r\n\r\n",
    "a chunk whose size no number holds": CHUNKED + b"10000000000000001\r\nx\r\n0\r\n\r\n",
    "a chunk whose size is minus one": CHUNKED + b"-1\r\nx\r\n0\r\n\r\n",
    "a chunk whose size is prefixed": CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n",
    "a chunk whose size has blanks": CHUNKED + b" 1 \r\nx\r\n0\r\n\r\n",
    "a chunk without a size": CHUNKED + b"\r\nx\r\n0\r\n\r\n",
    "a chunk that is longer than it says": CHUNKED + b"1\r\nxy\r\n0\r\n\r\n",
    "a chunk ended by a bare LF": CHUNKED + b"1\nx\n0\n\n",
    "a chunk extension of 2,000 bytes": CHUNKED + b"1;" + b"a" * 2000 + b"\r\nx\r\n0\r\n\r\n",
    "a chunk extension with a NUL": CHUNKED + b"1;a=\x00\r\nx\r\n0\r\n\r\n",
    "a chunk extension with a bare LF": CHUNKED + b"1;a\nb\r\nx\r\n0\r\n\r\n",
    "a trailer without a colon": CHUNKED + b"1\r\nx\r\n0\r\nnothing\r\n\r\n",
    "a trailer that is folded": CHUNKED + b"1\r\nx\r\n0\r\nA: b\r\n c\r\n\r\n",
    "a trailer with a bare LF": CHUNKED + b"1\r\nx\r\n0\r\nA: b\nC: d\r\n\r\n",
    "trailers without end": CHUNKED + b"1\r\nx\r\n0\r\n" + b"A: b\r\n" * 4000 + b"\r\n",
    "one trailer without end": CHUNKED + b"1\r\nx\r\n0\r\nA: " + b"b" * 20_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("data", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_an_ambiguous_request_is_refused_and_nothing_more_is_read(house: House, data: bytes) -> None:
    client = house.connect()
    client.send(data + HEAD + post("a", b"1"))
    (answer,) = client.answers()
    assert (answer.status, answer.problem) == (400, "invalid-request")
    assert "close" in answer.headers["connection"]
    client.send(HEAD + post("a", b"1"))
    assert client.taken() == b""
    assert house.floor.submissions == []
    assert house.floor.conversations == []
    house.pass_time(8)
    assert client.closed


@pytest.mark.parametrize("data", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_it_is_refused_also_when_it_comes_byte_by_byte(house: House, data: bytes) -> None:
    client = house.connect()
    for byte in data[:3000]:
        client.send(bytes([byte]))
    for piece in (data[at : at + 100] for at in range(3000, len(data), 100)):
        client.send(piece)
    (answer,) = client.answers()
    assert (answer.status, answer.problem) == (400, "invalid-request")
    assert house.floor.submissions == []


SOUND = {
    "a chunk with an extension": CHUNKED + b"1;a=b\r\nx\r\n0;c\r\n\r\n",
    "a trailer": CHUNKED + b"1\r\nx\r\n0\r\nA: b\r\nC:\r\n\r\n",
    "a size with zeros before it": CHUNKED + b"0001\r\nx\r\n000\r\n\r\n",
    "its own URL": b"POST http://localhost" + PATH.encode() + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\n1",
}


@pytest.mark.parametrize("data", SOUND.values(), ids=SOUND)
def test_what_every_reader_reads_alike_is_taken(house: House, data: bytes) -> None:
    client = house.connect()
    client.send(data + HEAD)
    assert [answer.status for answer in client.answers()] == [200, 200]
    assert len(house.floor.submissions) == 1


def test_after_a_request_that_closes_its_connection_nothing_is_read(house: House) -> None:
    client = house.connect()
    client.send(get("/healthz", connection="close") + post("a", b"1"))
    (answer,) = client.answers()
    assert answer.headers["connection"] == "close"
    assert house.floor.submissions == []


@pytest.mark.parametrize("data", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_no_refusal_shows_a_path_or_a_trace(house: House, data: bytes) -> None:
    client = house.connect()
    client.send(data)
    (answer,) = client.answers()
    told = json.dumps(answer.json)
    assert not [word for word in ("Traceback", "site-packages", ".py", "/home", "twisted", "\\u0000") if word in told]
