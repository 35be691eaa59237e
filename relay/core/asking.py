"""What a publisher may ask of a message, checked: one set of rules for headers, batch lines and ``publish`` frames."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from relay.core.limits import Limits
from relay.core.problems import Problem

TOPIC: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
SECONDS: Final = re.compile(r"[0-9]{1,12}")
NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
LONGEST_URL: Final = 2048
#: Python's parser of URLs drops line ends and tabs before it looks; who is called would be asked with them.
URL: Final = re.compile(rf"[!-~]{{1,{LONGEST_URL}}}")


def ttl(text: str) -> float:
    """``TTL`` in seconds (RFC 8030). Raises Problem (``invalid-header``)."""
    if not SECONDS.fullmatch(text):
        raise Problem("invalid-header", "TTL must be a whole number of seconds")
    return float(text)


def check_now_or_never(ttl: float | None, respond_async: bool) -> None:
    """What goes now or never has no other time to be answered later. Raises Problem (``invalid-header``)."""
    if ttl == 0 and respond_async:
        raise Problem("invalid-header", "TTL: 0 is now or never, and cannot go with respond-async")


def topic(text: str) -> str:
    """A topic (RFC 8030). Raises Problem (``invalid-header``)."""
    if not TOPIC.fullmatch(text):
        raise Problem("invalid-header", "Topic must be 1 to 32 characters of A-Z a-z 0-9 - _")
    return text


def key(text: str) -> str:
    """An idempotency key. Raises Problem (``invalid-header``)."""
    if not KEY.fullmatch(text):
        raise Problem("invalid-header", "Idempotency-Key must be 1 to 255 visible characters")
    return text


def callback(url: str, allowed: Iterable[str]) -> str:
    """A callback's URL: https, at a host that is ``allowed``. Raises Problem (``invalid-header``)."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Problem("invalid-header", "Callback-URL is not a URL") from None
    if parts.scheme != "https" or not host or not URL.fullmatch(url) or port == 0:
        raise Problem(
            "invalid-header", f"Callback-URL must be an https URL of at most {LONGEST_URL} visible characters"
        )
    if parts.username is not None or parts.fragment:
        raise Problem("invalid-header", "Callback-URL must have no user and no fragment")
    if host not in allowed:
        raise Problem("invalid-header", f"Callback-URL: the host {host[:100]} is not allowed by the configuration")
    return url


def headers(given: Iterable[tuple[str, str]], limits: Limits) -> tuple[tuple[str, str], ...]:
    """Headers for the agent: names in lower case, each once. Raises Problem (``invalid-header``)."""
    found: dict[str, str] = {}
    size = 0
    for name, value in given:
        if not NAME.fullmatch(name):
            raise Problem("invalid-header", f"{name[:40]!r} is not the name of a header")
        if name in found:
            raise Problem("invalid-header", f"the header {name} was given twice")
        if not value.isprintable():
            raise Problem("invalid-header", f"the header {name} has characters that are not printable")
        found[name] = value
        size += len(name) + len(value.encode())
    if len(found) > limits.headers_given or size > limits.headers_bytes:
        allowed = f"{limits.headers_given} headers and {limits.headers_bytes} bytes"
        detail = f"{len(found)} headers of {size} bytes for the agent; allowed are {allowed}"
        limit = "headers_given" if len(found) > limits.headers_given else "headers_bytes"
        raise Problem("invalid-header", detail, limit=limit)
    return tuple(found.items())
