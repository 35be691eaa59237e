"""Limits of connections and of rates: whose they are, what is answered, and that one visitor does not cost another."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from relay.core.limits import Limits
from tests.edge.support import Client, House, get, join, post, upgrade

Build = Callable[..., House]
HEAD = get("/healthz")


def proxy(client: str, server: str = "198.51.100.1") -> bytes:
    """The line by which a proxy says for whom it connects (version 1)."""
    family = "TCP6" if ":" in client else "TCP4"
    return f"PROXY {family} {client} {server} 5000 80\r\n".encode()


# -- connections


def test_without_a_limit_one_address_may_have_any_number(house: House) -> None:
    clients = [house.connect() for _ in range(50)]
    assert house.site.visitors.connected == 50
    assert all(client.ask(HEAD).status == 200 for client in clients)


def test_one_connection_more_than_an_address_may_have_is_closed_without_a_word(build: Build) -> None:
    house = build(limits=Limits(address_connections=2))
    first, second, third = house.connect(), house.connect(), house.connect()
    assert [first.closed, second.closed, third.closed] == [False, False, True]
    assert third.taken() == b""
    assert not house.connect("192.0.2.8").closed
    assert house.site.counters.table()["address_connections"] == 1
    first.socket.hang_up()
    assert not house.connect().closed
    assert house.connect().closed


def test_an_agents_connection_counts_until_it_is_gone(build: Build) -> None:
    house = build(limits=Limits(address_connections=1))
    agent = join(house)
    assert house.connect().closed
    agent.socket.hang_up()
    assert house.site.visitors.connected == 0
    assert not house.connect().closed


def test_a_network_of_ipv6_is_one_visitor(build: Build) -> None:
    house = build(limits=Limits(address_connections=1))
    assert not house.connect("2001:db8:0:1::1").closed
    assert house.connect("2001:db8:0:1::2").closed
    assert not house.connect("2001:db8:0:2::1").closed


def test_behind_a_proxy_the_address_is_the_clients(build: Build) -> None:
    house = build(limits=Limits(address_connections=1))
    first, second, other = (house.connect("127.0.0.1", proxied=True) for _ in range(3))
    assert first.ask(proxy("192.0.2.1") + HEAD).status == 200
    second.send(proxy("192.0.2.1") + HEAD)
    answer = second.answer()
    assert (answer.status, answer.problem) == (429, "rate-limited")
    assert answer.headers["connection"] == "close"
    assert other.ask(proxy("2001:db8::1") + HEAD).status == 200
    first.socket.hang_up()
    assert house.connect("127.0.0.1", proxied=True).ask(proxy("192.0.2.1") + HEAD).status == 200


def test_an_agent_behind_a_proxy_has_its_own_address(house: House) -> None:
    client = house.connect("127.0.0.1", proxied=True)
    client.send(proxy("192.0.2.1") + upgrade())
    assert house.floor.conversations[0].transport.peer == "192.0.2.1:5000"
    client.socket.hang_up()
    assert house.site.visitors.connected == 0


@pytest.mark.parametrize("noise", [HEAD, b"PROXY NONSENSE\r\n" + HEAD, b"\r\n" * 60])
def test_who_speaks_no_proxy_protocol_where_it_is_asked_for_is_closed(house: House, noise: bytes) -> None:
    client = house.connect("127.0.0.1", proxied=True)
    client.send(noise)
    house.pass_time(6)
    assert client.closed
    assert b"200" not in client.taken()


def test_a_proxy_that_says_nothing_is_not_waited_for_without_end(house: House) -> None:
    client = house.connect("127.0.0.1", proxied=True)
    client.send(b"PROXY TCP4 ")
    house.pass_time(16)
    assert client.closed


# -- rates


def refused(client: Client, data: bytes) -> str:
    client.send(data)
    answer = client.answers()[-1]
    return f"{answer.status} {answer.problem} {answer.headers['retry-after']}"


def test_an_address_asks_so_often_and_no_more(build: Build) -> None:
    house = build(limits=Limits(address_requests=2))
    client = house.connect()
    assert [client.ask(HEAD).status for _ in range(2)] == [200, 200]
    assert refused(client, HEAD) == "429 rate-limited 1"
    assert refused(house.connect(), post("a", b"1")) == "429 rate-limited 1"
    assert refused(house.connect(), upgrade()) == "429 rate-limited 1"
    assert house.floor.submissions == []
    assert house.floor.conversations == []
    assert house.connect("192.0.2.8").ask(HEAD).status == 200
    assert house.site.counters.table()["address_requests"] == 3
    house.pass_time(1.1)
    assert client.ask(HEAD).status == 200


def test_a_slow_rate_says_when_to_come_again(build: Build) -> None:
    house = build(limits=Limits(address_requests=0.1))
    client = house.connect()
    assert client.ask(HEAD).status == 200
    assert refused(client, HEAD) == "429 rate-limited 10"


def test_behind_a_proxy_the_rate_is_the_clients(build: Build) -> None:
    house = build(limits=Limits(address_requests=1))
    assert house.connect("127.0.0.1", proxied=True).ask(proxy("192.0.2.1") + HEAD).status == 200
    assert house.connect("127.0.0.1", proxied=True).ask(proxy("192.0.2.2") + HEAD).status == 200
    again = house.connect("127.0.0.1", proxied=True)
    assert refused(again, proxy("192.0.2.1") + HEAD) == "429 rate-limited 1"


def test_agents_of_an_address_come_in_so_often_and_no_more(build: Build) -> None:
    house = build(limits=Limits(address_registrations=1))
    join(house)
    assert refused(house.connect(), upgrade()) == "429 rate-limited 1"
    assert house.connect().ask(HEAD).status == 200
    assert house.site.counters.table()["address_registrations"] == 1
    house.pass_time(1.1)
    join(house)


def test_a_publisher_has_a_rate_of_its_own(build: Build) -> None:
    visitors = build(limits=Limits(publisher_requests=1)).site.visitors
    visitors.publishes("ci")
    visitors.publishes("phone")
    with pytest.raises(Exception, match="requests of this publisher"):
        visitors.publishes("ci")
