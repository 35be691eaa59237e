"""What has not left: bytes that wait, agents that do not read, and the brakes (protocol 2.3 'Slow agents')."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress

from relay.edge.transport import name_of, waiting_in
from tests.edge.support import BINARY, CLOSE, PING, PONG, TEXT, Agent, House, frame, get, join, upgrade

KIB = 1024


@pytest.fixture
def agent(house: House) -> Agent:
    return join(house)


def go_on_reading(agent: Agent, room: int | None = None) -> None:
    agent.socket.room = room
    agent.socket.startWriting()
    agent.socket.run()


def test_what_was_sent_waits_until_the_socket_takes_it(agent: Agent) -> None:
    wire = agent.conversation.transport
    agent.socket.room = 0
    wire.send(b"x" * 1000)
    assert (wire.unsent(), wire.taken()) == (1004, 0)
    agent.socket.run()
    assert (wire.unsent(), wire.taken()) == (1004, 0)
    wire.send(b"y" * 100)
    assert wire.unsent() == 1004 + 102
    go_on_reading(agent, room=500)
    assert (wire.unsent(), wire.taken()) == (606, 500)
    go_on_reading(agent)
    assert (wire.unsent(), wire.taken()) == (0, 1106)


# -- what leaves at the end of the turn


def test_what_may_leave_soon_leaves_in_one_write_at_the_end_of_the_turn(house: House, agent: Agent) -> None:
    wire = agent.conversation.transport
    wire.send_soon(b"one")
    wire.send_soon(b"two")
    assert agent.frames() == []
    assert (wire.unsent(), wire.taken()) == (2 * 5, 0)
    house.reactor.advance(0)
    assert agent.frames() == [(TEXT, b"one"), (TEXT, b"two")]
    assert (wire.unsent(), wire.taken()) == (0, 2 * 5)


def test_what_is_sent_after_it_leaves_after_it(house: House, agent: Agent) -> None:
    wire = agent.conversation.transport
    wire.send_soon(b"one")
    wire.send(b"two")
    wire.send_soon(b"three")
    house.reactor.advance(0)
    assert agent.frames() == [(TEXT, b"one"), (TEXT, b"two"), (TEXT, b"three")]


def test_much_of_it_does_not_wait_for_the_end_of_the_turn(agent: Agent) -> None:
    wire = agent.conversation.transport
    for _ in range(5):
        wire.send_soon(b"x" * 32 * KIB)
    assert agent.frames() == [(TEXT, b"x" * 32 * KIB)] * 4
    assert wire.unsent() == 32 * KIB + 4


def test_it_leaves_before_the_session_ends_whoever_ends_it(house: House) -> None:
    closed, left, wrong = [join(house) for _ in range(3)]
    for agent in (closed, left, wrong):
        agent.conversation.transport.send_soon(b"one")
    closed.conversation.transport.close(1001, "shutting-down")
    left.send(frame(b"\x03\xe8", CLOSE))
    wrong.send(frame(b"\xff", BINARY))
    house.reactor.advance(0)
    for agent in (closed, left, wrong):
        (first, (opcode, _)) = agent.frames()
        assert (first, opcode) == ((TEXT, b"one"), CLOSE)


def test_a_connection_that_is_lost_leaves_no_timer_for_it(house: House, agent: Agent) -> None:
    timers = len(house.reactor.getDelayedCalls())
    agent.conversation.transport.send_soon(b"one")
    agent.socket.hang_up()
    assert len(house.reactor.getDelayedCalls()) <= timers
    agent.conversation.transport.send_soon(b"two")
    house.reactor.advance(0)
    assert agent.frames() == []


def test_what_the_socket_took_never_falls(agent: Agent) -> None:
    wire = agent.conversation.transport
    wire.send(b"x" * 1000)
    agent.socket.run()
    assert wire.taken() == 1004
    agent.socket.hang_up()
    wire.send(b"x" * 1000)
    assert wire.taken() == 1004


def test_an_answer_to_the_upgrade_that_still_waits_is_no_negative_progress(house: House) -> None:
    client = house.connect()
    client.socket.room = 0
    client.send(upgrade())
    wire = house.floor.conversations[0].transport
    assert wire.unsent() > 0
    assert wire.taken() == 0


def test_the_hub_is_told_when_a_full_socket_has_taken_all(agent: Agent) -> None:
    agent.socket.room = 0
    agent.conversation.transport.send(b"x" * 100 * KIB)
    agent.socket.run()
    assert agent.conversation.drained_count == 0
    go_on_reading(agent, room=50 * KIB)
    assert agent.conversation.drained_count == 0
    go_on_reading(agent)
    assert agent.conversation.drained_count == 1


def test_a_little_that_waits_chokes_nobody(agent: Agent) -> None:
    agent.socket.room = 0
    agent.conversation.transport.send(b"x" * KIB)
    agent.send(frame(b"", PING))
    assert agent.socket.reading
    assert agent.conversation.heard_count == 1


def test_an_agent_that_does_not_read_is_not_read(agent: Agent) -> None:
    agent.socket.room = 0
    agent.conversation.transport.send(b"x" * 100 * KIB)
    assert not agent.socket.reading
    agent.send(frame(b"ack"))
    assert agent.conversation.frames == []
    go_on_reading(agent)
    assert agent.socket.reading
    assert agent.conversation.frames == [b"ack"]


def test_pings_without_end_by_one_that_never_reads_fill_no_memory(agent: Agent) -> None:
    agent.socket.room = 0
    pings = frame(b"p" * 125, PING) * 1000
    for _ in range(20):
        agent.send(pings)
    assert agent.conversation.transport.unsent() < 256 * KIB
    assert agent.socket.unread > 2_000_000
    go_on_reading(agent)
    assert agent.frames() == [(PONG, b"p" * 125)] * 20_000


def test_the_hub_holds_an_agent_and_lets_it_go_on(agent: Agent) -> None:
    wire = agent.conversation.transport
    wire.hold(True)
    wire.hold(True)
    agent.send(frame(b"one"))
    assert agent.conversation.frames == []
    wire.hold(False)
    agent.socket.run()
    assert agent.conversation.frames == [b"one"]


def test_two_brakes_are_released_one_by_one(agent: Agent) -> None:
    wire = agent.conversation.transport
    wire.hold(True)
    agent.socket.room = 0
    wire.send(b"x" * 100 * KIB)
    wire.hold(False)
    assert not agent.socket.reading
    wire.hold(True)
    go_on_reading(agent)
    assert not agent.socket.reading
    wire.hold(False)
    assert agent.socket.reading


def test_a_held_agent_that_is_closed_can_answer(house: House, agent: Agent) -> None:
    wire = agent.conversation.transport
    wire.hold(True)
    wire.close(1001, "draining")
    agent.send(frame(b"\x03\xe9", 8))
    assert agent.client.closed
    assert agent.conversation.ends == [(1001, True)]


def test_frames_leave_in_order(agent: Agent) -> None:
    wire = agent.conversation.transport
    sent = [b"%d" % number * 1000 for number in range(100)]
    agent.socket.room = 7
    for each in sent:
        wire.send(each)
    for _ in range(20):
        go_on_reading(agent, room=1001)
    go_on_reading(agent)
    assert agent.frames() == [(TEXT, each) for each in sent]


class Layer:
    """A transport over a transport, as TLS is."""

    def __init__(self, transport: object, *waiting: bytes) -> None:
        self.transport = transport
        self._appSendBuffer = list(waiting)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


def test_what_waits_in_each_layer_is_counted_once(agent: Agent) -> None:
    agent.socket.room = 0
    agent.socket.write(b"x" * 1000)
    assert waiting_in(Layer(Layer(agent.socket, b"ab", b"c"))) == 1003


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (IPv4Address("TCP", "127.0.0.1", 5000), "127.0.0.1:5000"),
        (IPv6Address("TCP", "::1", 5000), "[::1]:5000"),
        (UNIXAddress(None), "unix"),
        (UNIXAddress(b"/run/x"), "unix"),
    ],
)
def test_an_address_has_a_name_for_people(address: IAddress, name: str) -> None:
    assert name_of(address) == name


# -- what is gone


def test_a_connection_that_is_gone_leaves_nothing_for_the_collector(house: House) -> None:
    gc.disable()
    try:
        plain, agent = house.connect(), join(house)
        assert plain.ask(get("/healthz")).status == 200
        gone = [weakref.ref(plain.socket.protocol), weakref.ref(agent.socket.protocol)]
        for client in (plain, agent.client):
            client.socket.hang_up(ConnectionLost())
            client.socket.protocol = None
        house.reactor.advance(0)
        assert [each() for each in gone] == [None, None]
    finally:
        gc.enable()


def test_a_wire_that_is_gone_takes_nothing_and_keeps_nothing(house: House) -> None:
    agent = join(house)
    agent.socket.hang_up(ConnectionLost())
    wire = agent.conversation.transport
    wire.send(b"late")
    wire.ping()
    wire.hold(True)
    wire.hold(False)
    wire.close(1000, "late")
    wire.abort()
    assert wire.unsent() == 0
    assert agent.frames() == []
    assert house.reactor.getDelayedCalls() == []
