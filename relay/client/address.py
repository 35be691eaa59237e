"""Where a relay is: one base URL, from which both doors follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS

_SECURE: Final = {"http": False, "ws": False, "https": True, "wss": True}


@dataclass(frozen=True, slots=True)
class Address:
    """The base URL of a relay, taken apart."""

    secure: bool
    host: str  #: without the brackets of an IPv6 address
    port: int
    path: str  #: what stands before ``/v1``: usually nothing

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read ``http://host:port``; also ``https``, ``ws``, ``wss``. Raises ValueError that names what is wrong."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"not a URL: {url[:200]!r} ({error})") from None
        if parts.scheme not in _SECURE:
            raise ValueError(f"the URL of a relay begins with http, https, ws or wss: {url[:200]!r}")
        if not parts.hostname:
            raise ValueError(f"the URL of a relay names a host: {url[:200]!r}")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("the URL of a relay carries no user, query or fragment: a token is given by itself")
        secure = _SECURE[parts.scheme]
        # ``/v1/connect`` is what a person finds in the documentation, and pastes.
        path = parts.path.removesuffix("/v1/connect").rstrip("/")
        return cls(secure, parts.hostname, port if port is not None else 443 if secure else 80, path)

    @property
    def authority(self) -> str:
        """``host:port`` as it stands in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def http(self) -> str:
        """The base URL of the HTTP calls, without a slash at its end."""
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.path}"

    @property
    def websocket(self) -> str:
        """The URL that agents connect to."""
        return f"{'wss' if self.secure else 'ws'}://{self.authority}{self.path}/v1/connect"

    def endpoint(self, reactor: Any, timeout: float) -> IStreamClientEndpoint:
        """How to get there. ``timeout`` is in seconds, for each of the host's addresses."""
        plain = HostnameEndpoint(reactor, self.host, self.port, timeout=timeout)
        return wrapClientTLS(optionsForClientTLS(self.host), plain, reactor) if self.secure else plain
