"""Endpoint strings, read as Twisted reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.testing import MemoryReactorClock

from relay.endpoints import BACKLOG, is_local, split, url, with_backlog


@pytest.mark.parametrize(
    ("endpoint", "parts"),
    [
        ("tcp:80", ("tcp", ["80"], {})),
        ("tcp:80:127.0.0.1:50", ("tcp", ["80", "127.0.0.1", "50"], {})),
        (r"tcp6:80:interface=\:\:1", ("tcp6", ["80"], {"interface": "::1"})),
        (r"unix:/run/a\:b=c", ("unix", [], {"/run/a:b": "c"})),
        (r"unix:/run/a\=b", ("unix", ["/run/a=b"], {})),
        (r"unix:a\\:mode=600", ("unix", ["a\\"], {"mode": "600"})),
        ("", ("", [], {})),
    ],
)
def test_a_string_is_split_at_its_colons_and_escapes_are_taken_out(
    endpoint: str, parts: tuple[str, list[str], dict[str, str]]
) -> None:
    assert split(endpoint) == parts


@given(st.text(min_size=1))
def test_what_twisted_quotes_comes_back_unchanged(argument: str) -> None:
    quoted = quoteStringArgument(argument)
    assert split(f"unix:address={quoted}:mode=600") == ("unix", [], {"address": argument, "mode": "600"})


@pytest.mark.parametrize(
    "endpoint", ["haproxy:tcp:80", "tcp:80", "tcp:80:interface=127.0.0.1", r"tcp6:80:interface=\:\:1", "unix:/a"]
)
def test_our_backlog_is_what_the_kernel_is_asked_for(endpoint: str) -> None:
    reactor = MemoryReactorClock()
    serverFromString(reactor, with_backlog(endpoint)).listen(None)
    asked: list[tuple[object, ...]] = [*reactor.tcpServers, *reactor.unixServers]
    assert len(asked) == 1
    assert BACKLOG in asked[0]


@pytest.mark.parametrize(
    "endpoint",
    ["tcp:80:backlog=7", "tcp:80:127.0.0.1:7", "unix:/a:600:7", "systemd:domain=INET:name=relay", r"haproxy:tcp\:80"],
)
def test_a_backlog_that_is_named_or_unknown_to_the_kind_stays_as_it_is(endpoint: str) -> None:
    assert with_backlog(endpoint) == endpoint


@pytest.mark.parametrize(
    ("address", "local"),
    [
        (IPv4Address("TCP", "127.0.0.1", 1), True),
        (IPv4Address("TCP", "127.255.0.1", 1), True),
        (IPv4Address("TCP", "0.0.0.0", 1), False),
        (IPv4Address("TCP", "192.0.2.1", 1), False),
        (IPv6Address("TCP", "::1", 1), True),
        (IPv6Address("TCP", "::", 1), False),
        (IPv6Address("TCP", "::ffff:192.0.2.1", 1), False),
        (UNIXAddress(b"/run/relay"), True),
        (object(), False),
    ],
)
def test_only_loopback_and_unix_sockets_are_this_machine_alone(address: object, local: bool) -> None:
    assert is_local(address) is local


@pytest.mark.parametrize(
    ("endpoint", "address", "found_at"),
    [
        ("tcp:0", IPv4Address("TCP", "127.0.0.1", 8080), "http://127.0.0.1:8080"),
        (r"tcp6:0:interface=\:\:1", IPv6Address("TCP", "::1", 8080), "http://[::1]:8080"),
        ("ssl:0", IPv4Address("TCP", "127.0.0.1", 8443), "https://127.0.0.1:8443"),
        ("unix:/run/relay", UNIXAddress(b"/run/relay"), "unix:/run/relay"),
    ],
)
def test_the_log_says_where_clients_find_a_door(endpoint: str, address: object, found_at: str) -> None:
    assert url(endpoint, address) == found_at
