"""Where a relay is, told by one URL."""

from __future__ import annotations

import pytest

from relay.client.address import Address


@pytest.mark.parametrize(
    ("url", "http", "websocket"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "ws://127.0.0.1:8080/v1/connect"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080", "ws://127.0.0.1:8080/v1/connect"),
        ("https://relay.example", "https://relay.example:443", "wss://relay.example:443/v1/connect"),
        ("wss://relay.example:444/v1/connect", "https://relay.example:444", "wss://relay.example:444/v1/connect"),
        ("ws://relay.example/a/b/", "http://relay.example:80/a/b", "ws://relay.example:80/a/b/v1/connect"),
        ("http://[::1]:8080", "http://[::1]:8080", "ws://[::1]:8080/v1/connect"),
    ],
)
def test_both_doors_follow_from_one_url(url: str, http: str, websocket: str) -> None:
    address = Address.parse(url)
    assert (address.http, address.websocket) == (http, websocket)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080",
        "ftp://relay.example",
        "http://",
        "http://relay.example:port",
        "http://relay.example:99999",
        "http://[::1",
        "http://user:secret@relay.example",
        "http://relay.example/?token=secret",
        "http://relay.example/#here",
    ],
)
def test_what_is_no_url_of_a_relay_is_refused_without_telling_a_secret(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as caught:
        Address.parse(url)
    assert "secret" not in str(caught.value)
