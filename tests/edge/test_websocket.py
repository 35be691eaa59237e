"""Frames and close codes through the real Autobahn, on a clock that stands still (protocol 2, RFC 6455)."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from twisted.internet.error import ConnectionLost

from relay.core.limits import MIB, Limits
from tests.edge.support import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Agent,
    House,
    frame,
    join,
)

Build = Callable[..., House]


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(struct.pack("!H", code) + reason, CLOSE)


@pytest.fixture
def agent(house: House) -> Agent:
    return join(house)


# -- text, both ways


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 2 * MIB])
def test_a_text_message_is_handed_over_whole(agent: Agent, size: int) -> None:
    agent.send(frame(b"x" * size))
    assert agent.conversation.frames == [b"x" * size]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 8 * MIB])
def test_a_frame_is_sent_whole_however_large(agent: Agent, size: int) -> None:
    agent.conversation.transport.send(b"y" * size)
    agent.socket.run()
    assert agent.frames() == [(TEXT, b"y" * size)]


def test_text_of_many_scripts_is_handed_over_as_it_came(agent: Agent) -> None:
    text = "Grüße, 你好, مرحبا, 😀\u0000".encode()
    for cut in range(len(text)):
        agent.send(frame(text[:cut], fin=False), frame(text[cut:], CONTINUATION))
    assert agent.conversation.frames == [text] * len(text)


def test_a_message_may_come_in_fragments_with_pings_between(agent: Agent) -> None:
    agent.send(frame(b"a", fin=False), frame(b"p", PING), frame(b"", CONTINUATION, fin=False))
    assert agent.frames() == [(PONG, b"p")]
    agent.send(frame(b"b", CONTINUATION))
    assert agent.conversation.frames == [b"ab"]


# -- signs of life


def test_a_ping_is_answered_and_heard(agent: Agent) -> None:
    agent.send(frame(b"are you there", PING))
    assert agent.frames() == [(PONG, b"are you there")]
    assert agent.conversation.heard_count == 1


def test_a_pong_and_a_fragment_are_heard(agent: Agent) -> None:
    agent.send(frame(b"", PONG))
    assert agent.conversation.heard_count == 1
    agent.send(frame(b"a", fin=False))
    assert agent.conversation.heard_count == 2
    agent.send(frame(b"b", CONTINUATION))
    assert agent.conversation.heard_count == 2
    assert agent.conversation.frames == [b"ab"]


def test_half_a_frame_is_not_heard(agent: Agent) -> None:
    agent.send(frame(b"ping", PING)[:-1])
    assert agent.conversation.heard_count == 0


def test_the_hub_pings(agent: Agent) -> None:
    agent.conversation.transport.ping()
    agent.socket.run()
    assert agent.frames() == [(PING, b"")]


def test_nobody_pings_by_himself(house: House, agent: Agent) -> None:
    house.pass_time(120)
    assert agent.frames() == []
    assert not agent.client.closed


# -- closing


def test_the_hub_closes_and_the_agent_answers(house: House, agent: Agent) -> None:
    agent.conversation.transport.close(1001, "draining; retry_after=3")
    agent.socket.run()
    assert agent.frames() == [(CLOSE, struct.pack("!H", 1001) + b"draining; retry_after=3")]
    assert not agent.client.closed
    agent.send(frame(b"last words"), closing(1001))
    assert agent.client.closed
    assert agent.conversation.frames == [b"last words"]
    assert agent.conversation.ends == [(1001, True)]
    assert house.reactor.getDelayedCalls() == []


def test_an_agent_that_does_not_answer_a_close_is_dropped_in_time(house: House, agent: Agent) -> None:
    agent.conversation.transport.close(4000, "duplicate")
    house.pass_time(4.8)
    assert not agent.client.closed
    house.pass_time(0.4)
    assert agent.client.closed
    assert agent.conversation.ends == [(4000, True)]


def test_an_agent_that_does_not_read_is_dropped_in_time(house: House, agent: Agent) -> None:
    agent.socket.room = 0
    agent.conversation.transport.send(b"x" * MIB)
    agent.socket.run()
    agent.conversation.transport.close(4008, "slow")
    house.pass_time(5.2)
    assert agent.client.closed
    assert agent.conversation.ends == [(4008, True)]


def test_an_agent_that_answers_a_close_and_takes_nothing_is_dropped_in_time(house: House, agent: Agent) -> None:
    agent.socket.room = 0
    agent.conversation.transport.close(4005, "operator")
    house.pass_time(4)
    agent.send(closing(4005))
    assert not agent.client.closed
    house.pass_time(1.2)
    assert agent.client.closed
    assert agent.conversation.ends == [(4005, True)]


def test_the_second_close_is_ignored(agent: Agent) -> None:
    agent.conversation.transport.close(4000, "duplicate")
    agent.conversation.transport.close(4001, "replaced")
    agent.socket.run()
    assert agent.close_code() == 4000
    agent.send(closing(4000))
    assert agent.conversation.ends == [(4000, True)]


def test_a_reason_that_is_too_long_is_cut(agent: Agent) -> None:
    agent.conversation.transport.close(4000, "x" * 500)
    agent.socket.run()
    assert agent.frames() == [(CLOSE, struct.pack("!H", 4000) + b"x" * 123)]


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4000, 4999])
def test_the_agent_closes_and_its_code_is_told(house: House, agent: Agent, code: int) -> None:
    agent.send(frame(b"bye"), closing(code, b"bye"))
    assert agent.frames()[-1][0] == CLOSE
    assert agent.client.closed
    assert agent.conversation.frames == [b"bye"]
    assert agent.conversation.ends == [(code, False)]
    assert house.reactor.getDelayedCalls() == []


def test_an_agent_that_closes_without_a_code_is_1005(agent: Agent) -> None:
    agent.send(frame(b"", CLOSE))
    assert agent.conversation.ends == [(1005, False)]


def test_an_agent_that_closes_and_takes_nothing_is_dropped_in_time(house: House, agent: Agent) -> None:
    agent.socket.room = 0
    agent.conversation.transport.send(b"x" * 1000)
    agent.send(closing(1000))
    house.pass_time(4.8)
    assert not agent.client.closed
    house.pass_time(0.4)
    assert agent.conversation.ends == [(1000, False)]


def test_a_broken_connection_has_no_code(agent: Agent) -> None:
    agent.send(frame(b"half")[:-1])
    agent.socket.hang_up(ConnectionLost())
    assert agent.conversation.ends == [(None, False)]
    assert agent.conversation.frames == []


def test_the_hub_drops_a_connection_without_a_word(agent: Agent) -> None:
    agent.conversation.transport.abort()
    agent.socket.run()
    assert agent.client.closed
    assert agent.frames() == []
    assert agent.conversation.ends == [(None, False)]


def test_after_the_end_every_call_is_allowed_and_does_nothing(agent: Agent) -> None:
    wire = agent.conversation.transport
    agent.socket.hang_up()
    wire.send(b"x")
    wire.ping()
    wire.close(4000, "duplicate")
    wire.hold(True)
    wire.hold(False)
    wire.abort()
    wire.abort()
    assert wire.unsent() == 0
    assert wire.taken() == 0
    assert agent.conversation.ends == [(None, False)]


def test_a_close_from_within_a_frame_is_allowed(agent: Agent) -> None:
    agent.conversation.on_frame = lambda _: agent.conversation.transport.close(4002, "register-first")
    agent.send(frame(b"one"), frame(b"two"))
    assert agent.close_code() == 4002
    assert agent.conversation.frames == [b"one", b"two"]


def test_a_drop_from_within_a_frame_is_allowed(agent: Agent) -> None:
    agent.conversation.on_frame = lambda _: agent.conversation.transport.abort()
    agent.send(frame(b"one"))
    assert agent.client.closed
    assert agent.conversation.ends == [(None, False)]


# -- what breaks the protocol

BREACHES = {
    "a binary frame": (frame(b"\x00\x01", BINARY), 1003),
    "an empty binary frame": (frame(b"", BINARY), 1003),
    "a binary frame in pieces": (frame(b"\x00", BINARY, fin=False) + frame(b"", CONTINUATION), 1003),
    "invalid UTF-8": (frame(b'{"type": "p\xffng"}'), 1007),
    "invalid UTF-8 in pieces": (frame(b'"\xe2', fin=False) + frame(b'\x28"', CONTINUATION), 1007),
    "UTF-8 that is cut off": (frame(b'"\xe2\x82'), 1007),
    "a surrogate in UTF-8": (frame(b'"\xed\xa0\x80"'), 1007),
    "a frame over the limit": (frame(b"x" * (2 * MIB + 1)), 1009),
    "the head of a frame over the limit": (struct.pack("!BBQ", 0x81, 0xFF, 2 * MIB + 1), 1009),
    "a frame that claims 2^62 bytes": (struct.pack("!BBQ", 0x81, 0xFF, 1 << 62) + b"\0\0\0\0abc", 1009),
    "a message over the limit in pieces": (frame(b"x" * 2 * MIB, fin=False) + frame(b"x", CONTINUATION), 1009),
    "too many fragments": (frame(b"x", fin=False) + frame(b"", CONTINUATION, fin=False) * 1000, 4004),
    "no mask": (frame(b"{}", key=None), 1002),
    "a reserved bit": (b"\xc1" + frame(b"{}")[1:], 1002),
    "a reserved opcode": (frame(b"{}", 0x3), 1002),
    "a reserved control opcode": (frame(b"", 0xB), 1002),
    "a continuation of nothing": (frame(b"{}", CONTINUATION), 1002),
    "a message within a message": (frame(b"{", fin=False) + frame(b"{}"), 1002),
    "a ping in pieces": (frame(b"a", PING, fin=False), 1002),
    "a ping of 126 bytes": (frame(b"a" * 126, PING), 1002),
    "a length that is not the shortest": (b"\x81\xfe\x00\x01" + frame(b"x")[2:], 1002),
    "a close of one byte": (frame(b"a", CLOSE), 1002),
    "a close with a code nobody may send": (closing(1006), 1002),
    "a close with a bad reason": (closing(1000, b"\xff"), 1007),
}


@pytest.mark.parametrize(("sent", "code"), BREACHES.values(), ids=BREACHES)
def test_a_breach_closes_with_its_code_and_a_word(house: House, sent: bytes, code: int) -> None:
    agent = join(house)
    if len(sent) == 10:
        sent += b"\0\0\0\0"
    agent.send(sent, frame(b"afterwards"))
    assert agent.close_code() == code
    assert agent.conversation.frames == []
    agent.send(closing(code))
    house.pass_time(5.2)
    assert agent.client.closed
    assert agent.conversation.ends == [(code, True)]


def test_one_breach_after_another_is_told_once(house: House, agent: Agent) -> None:
    agent.send(frame(b"\xff"), frame(b"", BINARY), frame(b"", 0x3), frame(b"\xff"))
    assert [opcode for opcode, _ in agent.frames()] == [CLOSE]
    house.pass_time(4.8)
    assert not agent.client.closed
    agent.send(closing(1007))
    assert agent.client.closed
    assert agent.conversation.ends == [(1007, True)]


def test_a_thousand_fragments_are_allowed(agent: Agent) -> None:
    agent.send(frame(b"a", fin=False) + frame(b"", CONTINUATION, fin=False) * 998 + frame(b"b", CONTINUATION))
    assert agent.conversation.frames == [b"ab"]
    agent.send(frame(b"a", fin=False) + frame(b"", CONTINUATION, fin=False) * 998 + frame(b"b", CONTINUATION))
    assert agent.conversation.frames == [b"ab"] * 2


def test_empty_continuations_without_end_are_ended(house: House, agent: Agent) -> None:
    agent.send(frame(b"", fin=False))
    for _ in range(20):
        agent.send(frame(b"", CONTINUATION, fin=False) * 1000)
    assert agent.close_code() == 4004
    house.pass_time(5.2)
    assert agent.client.closed


def test_the_limits_are_those_that_were_configured(build: Build) -> None:
    house = build(limits=Limits(frame=10, fragments=2, close_seconds=1.0))
    agent = join(house)
    agent.send(frame(b"x" * 10), frame(b"x" * 5, fin=False), frame(b"x" * 5, CONTINUATION))
    assert agent.conversation.frames == [b"x" * 10] * 2
    agent.conversation.transport.send(b"y" * 1000)
    agent.send(frame(b"x" * 11))
    assert agent.close_code() == 1009
    house.pass_time(1.2)
    assert agent.client.closed


# -- a message that is under way


@pytest.mark.parametrize(
    "start", [frame(b"a", fin=False), frame(b"abc")[:-1], frame(b"abc")[:6]], ids=["fragments", "a frame", "its head"]
)
def test_a_message_that_never_ends_is_4004(house: House, agent: Agent, start: bytes) -> None:
    agent.send(start)
    house.pass_time(29.8)
    assert agent.client.taken() == b""
    house.pass_time(0.4)
    assert agent.close_code() == 4004


def test_pings_do_not_make_a_message_younger(house: House, agent: Agent) -> None:
    agent.send(frame(b"a", fin=False))
    for _ in range(31):
        house.pass_time(1)
        agent.send(frame(b"", PING), frame(b"b", CONTINUATION, fin=False))
    assert (CLOSE, struct.pack("!H", 4004) + b"unfinished-message") in agent.frames()


def test_each_message_has_its_own_time(house: House, agent: Agent) -> None:
    agent.send(frame(b"a", fin=False))
    for _ in range(5):
        house.pass_time(25)
        agent.send(frame(b"b", CONTINUATION), frame(b"a", fin=False))
    assert agent.conversation.frames == [b"ab"] * 5
    agent.send(frame(b"", CONTINUATION))
    house.pass_time(60)
    assert agent.frames() == []


def test_a_message_of_which_nothing_is_read_does_not_age(house: House, agent: Agent) -> None:
    agent.send(frame(b"a", fin=False))
    agent.conversation.transport.hold(True)
    agent.send(frame(b"b", CONTINUATION))
    house.pass_time(100)
    assert agent.frames() == []
    agent.conversation.transport.hold(False)
    agent.socket.run()
    assert agent.conversation.frames == [b"ab"]
