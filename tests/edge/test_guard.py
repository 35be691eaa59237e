"""``Host`` and ``Origin``: what a browser says of the page that makes it ask (protocol 1)."""

from __future__ import annotations

import pytest

from relay.core.problems import Problem
from relay.edge.guard import Guard


def verdict(host: str, *origins: str, secure: bool = False, guard: Guard | None = None) -> str:
    try:
        (guard or Guard(names=(), origins=())).check(host, origins, secure)
    except Problem as problem:
        return problem.word
    return "pass"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8080",
        "127.0.0.1:",
        "192.168.1.7:80",
        "[::1]",
        "[::1]:8080",
        "[FE80::1]:8080",
        "[::ffff:127.0.0.1]",
        "localhost",
        "LocalHost:8080",
        "localhost.",
        "localhost.:8080",
        "127.0.0.1.:8080",
    ],
)
def test_an_address_and_localhost_are_answered_to(host: str) -> None:
    assert verdict(host) == "pass"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1.nip.io",
        "evil-localhost",
        "localhost..",
        ".localhost",
        "foo.localhost",
        "user@localhost",
        "localhost@evil.example",
        "user:pw@127.0.0.1",
        "127.0.0.1:8080@evil.example",
        "127.0.0.1/",
        "127.0.0.1 ",
        " localhost",
        "localhost,evil.example",
        "localhost\tevil.example",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "2130706433",
        "127.1",
        "127.0.0.256",
        "127.0.0.1:x",
        "127.0.0.1:123456",
        "127.0.0.1:80:80",
        "::1",
        "[::1",
        "[::1]x",
        "[::1%eth0]",
        "[::1%25eth0]",
        "[127.0.0.1]",
        "[evil.example]",
        "lоcalhost",  # its first o is Cyrillic
        "localhost\x00",
        "*",
    ],
)
def test_any_other_host_is_misdirected_whatever_the_origin(host: str) -> None:
    assert verdict(host) == "misdirected"
    assert verdict(host, f"http://{host}") == "misdirected"


def test_a_configured_name_is_answered_to() -> None:
    guard = Guard(names=("Relay.Example.",), origins=())
    assert verdict("relay.example:8080", guard=guard) == "pass"
    assert verdict("RELAY.example.", guard=guard) == "pass"
    assert verdict("www.relay.example", guard=guard) == "misdirected"
    assert verdict("relay.example", "http://relay.example", guard=guard) == "pass"


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("localhost", "http://localhost:80"),
        ("localhost:8080", "HTTP://LOCALHOST:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_the_relays_own_page_may_ask(host: str, origin: str) -> None:
    assert verdict(host, origin) == "pass"


def test_by_tls_the_own_origin_is_https() -> None:
    assert verdict("localhost", "https://localhost:443", secure=True) == "pass"
    assert verdict("localhost", "http://localhost", secure=True) == "forbidden-origin"
    assert verdict("localhost", "https://localhost") == "forbidden-origin"


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "http://evil.example",
        "https://evil.example",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://localhost:8080",
        "http://127.0.0.1:8080.evil.example",
        "http://127.0.0.1.evil.example:8080",
        "http://evil.example@127.0.0.1:8080",
        "http://127.0.0.1:8080@evil.example",
        "http://127.0.0.1:8080/",
        "http://127.0.0.1:8080/path",
        "http://127.0.0.1:8080?",
        "http://127.0.0.1:8080 http://evil.example",
        "http:127.0.0.1:8080",
        "//127.0.0.1:8080",
        "127.0.0.1:8080",
        "ws://127.0.0.1:8080",
        "file://",
        "moz-extension://0123",
    ],
)
def test_any_other_origin_is_forbidden(origin: str) -> None:
    assert verdict("127.0.0.1:8080", origin) == "forbidden-origin"


def test_two_origins_are_forbidden_even_if_each_may() -> None:
    own = "http://127.0.0.1:8080"
    assert verdict("127.0.0.1:8080", own, own) == "forbidden-origin"


@pytest.mark.parametrize("origin", ["https://app.example", "HTTPS://App.Example:443", "moz-extension://0123", "null"])
def test_a_configured_origin_may_ask(origin: str) -> None:
    guard = Guard(names=(), origins=("https://APP.example", "moz-extension://0123", "null"))
    assert verdict("127.0.0.1:8080", origin, guard=guard) == "pass"
    assert verdict("evil.example", origin, guard=guard) == "misdirected"


def test_null_may_ask_only_if_it_is_named() -> None:
    assert verdict("localhost", "null", guard=Guard(names=(), origins=("https://app.example",))) == "forbidden-origin"
