"""Addresses: which of them a request of the relay's own may go to, and which of them are one visitor."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address

_MAPPED: Final = IPv6Network("::ffff:0:0/96")  # RFC 4291 section 2.5.5.2
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052
#: Where translation within a network has its addresses. Each operator puts IPv4 at another place in them (RFC 6052
#: section 2.2), so that nobody else can tell which one is meant: all of them are private.
_NAT64_LOCAL: Final = IPv6Network("64:ff9b:1::/48")  # RFC 8215
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")  # RFC 3056
_TEREDO: Final = IPv6Network("2001::/32")  # RFC 4380
_COMPATIBLE: Final = IPv6Network("::/96")  # RFC 4291 section 2.5.5.1; ``::`` and ``::1`` are in it too
_TRANSLATED: Final = IPv6Network("::ffff:0:0:0/96")  # RFC 2765, SIIT
_ISATAP: Final = (0x00005EFE, 0x02005EFE)  # RFC 5214, the third 32 bits
_SITE_LOCAL: Final = IPv6Network("fec0::/10")  # RFC 3879: given up, and still routed in places


def refusal(text: str, *, private: bool) -> str:
    """Why nothing may be sent to that address, in a word; empty if it may.

    ``private``: what only this machine or this network can reach is allowed. ``text`` may carry a zone
    (``fe80::1%eth0``); what is no address is refused.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return "not an address"
    return next(filter(None, (_refused(each, private) for each in forms(address))), "")


def visitor(host: str) -> str:
    """The name under which what comes from that address is counted; empty where there is none (a UNIX socket).

    A subscriber of IPv6 has a network of /64 and as many addresses as it likes: all of them are one visitor.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


def forms(address: Address) -> Iterator[Address]:
    """The address, and every one that is wrapped in it: packets to the outer one may end at the inner.

    ``is_global`` looks at none of these: it is True for loopback behind NAT64, 6to4 and v4-compatible forms.
    """
    yield address
    if isinstance(address, IPv6Address):
        for inner in _wrapped(address):
            yield IPv4Address(inner)


def _wrapped(address: IPv6Address) -> Iterator[int]:
    number = int(address)
    last = number & 0xFFFFFFFF
    if any(address in network for network in (_MAPPED, _NAT64, _TRANSLATED)) or (address in _COMPATIBLE and last > 1):
        yield last
    elif address in _SIX_TO_FOUR:
        yield number >> 80 & 0xFFFFFFFF
    elif address in _TEREDO:
        yield number >> 64 & 0xFFFFFFFF  # the server
        yield last ^ 0xFFFFFFFF  # the client
    if (number >> 32 & 0xFFFFFFFF) in _ISATAP:
        yield last


def _refused(address: Address, private: bool) -> str:
    if address.is_unspecified:
        return "unspecified"
    if address.is_multicast:
        return "multicast"
    if private:
        return ""
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address in _SIX_TO_FOUR:
        return ""  # as what is wrapped in it: ``forms`` gives that too, and some Pythons call all of it private
    return "private" if not address.is_global or address.is_private or _is_local(address) else ""


def _is_local(address: Address) -> bool:
    """Private, though ``ipaddress`` (some versions of it) takes it for a public one."""
    return isinstance(address, IPv6Address) and (address in _SITE_LOCAL or address in _NAT64_LOCAL)
