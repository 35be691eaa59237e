"""What a publisher may ask of a message: here the URL of a callback, wherever it stands."""

from __future__ import annotations

import pytest

from relay.core.asking import callback
from relay.core.problems import Problem

ALLOWED = {"hooks.example"}


@pytest.mark.parametrize("url", ["https://hooks.example/x?y=z", "https://hooks.example:8443", "https://HOOKS.example/"])
def test_an_https_url_at_an_allowed_host_is_taken(url: str) -> None:
    assert callback(url, ALLOWED) == url


@pytest.mark.parametrize(
    "url",
    [
        *("http://hooks.example/", "https://evil.example/", "https:///x", "hooks.example", "", "https://[::1", "//x"),
        *("https://hooks.example@evil.example/", "https://evil.example\\@hooks.example/", "https://hooks.example:0/"),
        *("https://hooks.example./", "https://hooks%2eexample/", "https://hooks.example/#x", "https://hooks.example/é"),
        *(
            "https://hooks.example/\r\nX: y",
            "https://hooks\n.example/",
            "https://hooks.example/ x",
            "\thttps://hooks.example",
        ),
        *("https://hooks.example/\0", "https://hooks.example/\x7f", "https://hooks.example/" + "x" * 2048),
    ],
)
def test_any_other_is_refused(url: str) -> None:
    with pytest.raises(Problem) as refused:
        callback(url, ALLOWED)
    assert refused.value.word == "invalid-header"
