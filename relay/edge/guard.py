"""Who may speak to the relay from a web page: the rules for ``Host`` and ``Origin`` (protocol 1).

A page on the internet can make its visitor's browser send requests to a relay on the visitor's own machine. Two things
give it away. The browser says where the page is from (``Origin``); and where the page's own name was made to point to
the relay's address, so that both look like one origin, the browser still says the name (``Host``).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from relay.core.problems import Problem

#: What a browser sends: a bare host, an IPv6 address in brackets; never a user, a path or a blank.
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z_.-]{1,253})(?::([0-9]{0,5}))?", re.ASCII)
_ORIGIN: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.+)", re.ASCII)
_PORTS: Final = {"http": "80", "https": "443"}

Place = tuple[str, str]  #: host and port, in the one form in which they are compared


class Guard:
    """The rules of one relay. ``names`` are host names that it answers to beside addresses and ``localhost``;
    ``origins`` are those of pages that may use it, ``null`` among them if pages without an origin may. ``any_name``: it
    answers to every name.
    """

    def __init__(self, *, names: Sequence[str], origins: Sequence[str], any_name: bool = False) -> None:
        self._any_name = any_name
        self._names = {"localhost", *(name.lower().removesuffix(".") for name in names)}
        #: With no origin configured no answer speaks of origins at all.
        self.is_open = bool(origins)
        self._origins = {place for origin in origins if (place := _origin(origin)) is not None}

    def check(self, host: str, origins: Sequence[str], secure: bool) -> None:
        """Let a request pass, or raise Problem (``misdirected``, ``forbidden-origin``).

        ``host`` is the value of its ``Host``, ``origins`` the values of its ``Origin`` headers; ``secure`` says whether
        it came by TLS.
        """
        scheme = "https" if secure else "http"
        place = _place(host, scheme)
        if place is None or not (self._any_name or place[0] in self._names or _is_address(place[0])):
            raise Problem("misdirected", "Host must be an address, localhost or a configured name (server_name)")
        if not origins:
            return
        origin = _origin(origins[0]) if len(origins) == 1 else None
        if origin is None or (origin != (scheme, *place) and origin not in self._origins):
            raise Problem("forbidden-origin", "pages from this Origin may not use the relay (setting: origin)")


def _place(authority: str, scheme: str) -> Place | None:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return None
    port = (match[2] or "").lstrip("0") or _PORTS.get(scheme, "")
    # "localhost." is localhost, to the resolver as well as to us.
    return match[1].lower().removesuffix("."), port


def _origin(text: str) -> tuple[str, ...] | None:
    if text == "null":
        return ("null",)
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme = match[1].lower()
    place = _place(match[2], scheme)
    return (scheme, *place) if place else None


def _is_address(host: str) -> bool:
    try:
        # Other ways to write an address (0177.1, 2130706433) are names here: whoever means an address, writes one.
        ipaddress.IPv6Address(host[1:-1]) if host.startswith("[") else ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
