"""However the bytes of a connection are cut, and whatever they are: the same answers, and never a trace."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from relay.core.limits import Limits
from tests.edge.support import CONTINUATION, PING, House, frame, frames, get, post, upgrade

CHUNKED = get("/v1/agents/c/messages", method="POST", transfer_encoding="chunked")
TALK = b"".join(
    [
        get("/healthz"),
        post("a", b'"one"'),
        b"\r\n",
        CHUNKED + b'4;x=y\r\n"two\r\n1\r\n"\r\n0\r\nTrailer: 1\r\n\r\n',
        post("..", b"3"),
        get("/v1/agents?limit=0"),
        post("a", b"", content_length="0"),
        get("/v1/agents/b", host="evil.example"),
        upgrade(),
        frame(b"first"),
        frame(b"se", fin=False) + frame(b"ping", PING) + frame(b"cond", CONTINUATION),
        frame(b"x" * 300),
    ]
)
STATUSES = [b"200", b"200", b"200", b"400", b"400", b"400", b"421", b"101"]
LIMITS = Limits(payload=1000, head_bytes=2000, frame=1000)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *cuts})
    return [data[begin:end] for begin, end in pairwise(places)]


@given(st.lists(st.integers(0, len(TALK)), max_size=60))
def test_however_a_talk_is_cut_it_is_the_same(cuts: list[int]) -> None:
    house = House(limits=LIMITS)
    client = house.connect()
    for piece in pieces(TALK, cuts):
        client.send(piece)
    said = client.taken()
    *answers, last = said.split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in (*answers, last)] == STATUSES
    assert frames(last.partition(b"\r\n\r\n")[2]) == [(10, b"ping")]
    assert [submission.payload for submission in house.floor.submissions] == [b'"one"', b'"two"']
    assert house.floor.conversations[0].frames == [b"first", b"second", b"x" * 300]
    house.close()


PARTS = st.sampled_from(
    [
        b"GET /healthz HTTP/1.1\r\n",
        b"POST /v1/agents/a/messages HTTP/1.1\r\n",
        b"Host: localhost\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Type: text/plain\r\n",
        b"Expect: 100-continue\r\n",
        b"Prefer: wait=1\r\n",
        b"Origin: http://localhost\r\n",
        b"\r\n",
        b"\n",
        b" ",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"hello",
        b"0",
        upgrade(),
        post("a", b"1"),
        frame(b"text"),
        frame(b"", 8),
    ]
)


@given(st.lists(PARTS | st.binary(max_size=20), max_size=12))
def test_whatever_comes_is_answered_or_waited_for(parts: list[bytes]) -> None:
    house = House(limits=LIMITS)
    client = house.connect()
    for part in parts:
        client.send(part)
    said = client.taken()
    assert b"Traceback" not in said
    assert b" 500 " not in said
    assert not said or said.startswith(b"HTTP/1.1 ")
    house.close()


@given(
    st.lists(st.builds(frame, st.binary(max_size=200), st.integers(0, 15), fin=st.booleans()) | st.binary(max_size=30))
)
def test_whatever_an_agent_sends_its_end_is_told_once(parts: list[bytes]) -> None:
    house = House(limits=LIMITS)
    client = house.connect()
    client.send(upgrade())
    for part in parts:
        client.send(part)
    (conversation,) = house.floor.conversations
    for text in conversation.frames:
        text.decode("utf-8")
    house.close()
    assert len(conversation.ends) == 1
