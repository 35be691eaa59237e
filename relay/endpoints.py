"""What an endpoint string says: where it listens, who could reach it, how many connections may wait there."""

from __future__ import annotations

import enum
import ipaddress
import re
from typing import Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

#: Connections that the kernel keeps until we accept them. Twisted's 50 drops SYNs when thousands come back at once.
BACKLOG: Final = 4096
TAKES_BACKLOG: Final = {"tcp", "tcp6", "ssl", "unix"}
HAS_INTERFACE: Final = {"tcp", "tcp6", "ssl"}


class Reach(enum.Enum):
    """Who could connect."""

    LOCAL = "this machine only"
    OPEN = "others too, or it cannot be said"
    LATER = "only the listening socket can tell"


def split(endpoint: str) -> tuple[str, list[str], dict[str, str]]:
    """The kind of an endpoint string, its positional and its named arguments, with the escapes taken out."""
    parts = re.findall(r"(?:^|:)((?:\\.|[^:\\])*)", endpoint, re.DOTALL)
    positional: list[str] = []
    named: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if equals and not name.endswith("\\"):
            named[_plain(name)] = _plain(value)
        else:
            positional.append(_plain(part))
    return positional[0] if positional else "", positional[1:], named


def _plain(part: str) -> str:
    return re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL)


def kind_of(endpoint: str) -> str:
    """The kind of an endpoint string: ``tcp``, ``ssl`` …"""
    return split(endpoint)[0]


def reach(endpoint: str) -> Reach:
    """Who could connect, as far as the string tells. A kind that is not known here is open."""
    kind, positional, named = split(endpoint)
    if kind == "unix":
        return Reach.LOCAL
    if kind == "systemd":
        return Reach.LATER
    if kind not in HAS_INTERFACE:
        # haproxy: among them: its whole purpose is to pass on what came from elsewhere.
        return Reach.OPEN
    interface = named.get("interface") or (positional[1] if kind != "ssl" and len(positional) > 1 else "")
    if not interface:
        return Reach.OPEN
    try:
        return Reach.LOCAL if ipaddress.ip_address(interface).is_loopback else Reach.OPEN
    except ValueError:
        return Reach.LATER


def is_local(address: object) -> bool:
    """Does a socket that listens at this address take connections of this machine only?"""
    if isinstance(address, UNIXAddress):
        return True
    return isinstance(address, IPv4Address | IPv6Address) and ipaddress.ip_address(address.host).is_loopback


def with_backlog(endpoint: str) -> str:
    """The same endpoint with our backlog, unless it names one or knows none."""
    if endpoint.startswith("haproxy:"):
        return "haproxy:" + with_backlog(endpoint.removeprefix("haproxy:"))
    kind, positional, named = split(endpoint)
    by_place = {"tcp": 2, "tcp6": 2, "unix": 2}.get(kind, len(positional))
    if kind not in TAKES_BACKLOG or "backlog" in named or len(positional) > by_place:
        return endpoint
    return f"{endpoint}:backlog={BACKLOG}"


def url(endpoint: str, address: object) -> str:
    """Where clients find what listens at ``address``."""
    scheme = "https" if split(endpoint)[0] in ("ssl", "tls") else "http"
    if isinstance(address, IPv6Address):
        return f"{scheme}://[{address.host}]:{address.port}"
    if isinstance(address, IPv4Address):
        return f"{scheme}://{address.host}:{address.port}"
    return endpoint
