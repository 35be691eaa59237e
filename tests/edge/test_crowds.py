"""Many connections begin or end at once: the doors serve some in each turn, and everybody in the end."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost

from relay.edge.channel import BEGIN_AT_ONCE
from relay.edge.websocket import END_AT_ONCE
from tests.edge.support import Client, House, get, join

HALF = get("/healthz")[:20]


def speak(clients: list[Client], data: bytes) -> None:
    """All of them say this within one turn."""
    for client in clients:
        client.socket.protocol.dataReceived(data)


def test_every_agent_of_a_crowd_is_said_to_be_gone_and_a_gone_wire_says_so_before(house: House) -> None:
    agents = [join(house) for _ in range(2 * END_AT_ONCE + 3)]
    for agent in agents:
        agent.socket.hang_up(ConnectionLost())
    assert sum(len(agent.conversation.ends) for agent in agents) == END_AT_ONCE
    assert [agent.conversation.transport.alive() for agent in agents] == [False] * len(agents)
    agents[-1].conversation.transport.send(b"too late")
    house.reactor.advance(0)
    assert [agent.conversation.ends for agent in agents] == [[(None, False)]] * len(agents)


def test_newcomers_past_some_are_read_in_a_later_turn_and_have_their_whole_time(house: House) -> None:
    clients = [house.connect(run=False) for _ in range(3 * BEGIN_AT_ONCE)]
    house.reactor.rightNow += 9  # they said nothing for long, and speak all together
    speak(clients, HALF)
    assert [client.socket.reading for client in clients].count(True) == BEGIN_AT_ONCE
    house.reactor.rightNow += 60
    late = clients[BEGIN_AT_ONCE:]  #: the clock of the others began when they came
    house.reactor.advance(0)
    house.pass_time(9)
    assert all(client.closed for client in clients[:BEGIN_AT_ONCE])
    assert all(client.ask(get("/healthz")[len(HALF) :]).status == 200 for client in late)


def test_who_hangs_up_before_it_was_read_is_not_read_any_more(house: House) -> None:
    clients = [house.connect(run=False) for _ in range(2 * BEGIN_AT_ONCE)]
    speak(clients, get("/healthz"))
    clients[-1].socket.hang_up()
    house.reactor.advance(0)
    assert not clients[-1].socket.reading
    assert house.site.visitors.connected == len(clients) - 1
