"""The sender of callbacks: one POST, to exactly the addresses that were resolved and checked (protocol 1.6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import optionsForClientTLS
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from relay.core.addresses import refusal
from relay.core.model import Callback
from relay.core.webhooks import Answer
from relay.outward.post import Body, failed, headers, read, too_late

Resolve = Callable[[str], Awaitable[Sequence[str]]]
Secure = Callable[[str, IStreamClientEndpoint], IStreamClientEndpoint]

TRY_SECONDS: Final = 15.0  #: for all of it: name, connection, TLS, answer
CONNECT_SECONDS: Final = 5.0  #: for one address
MOST_ADDRESSES: Final = 4
ALL_BYTES: Final = 65536  #: with head and handshake: twisted.web bounds a line of a head, not their number


class Refused(Exception):
    """Nothing was sent: it may not go there."""


def under_tls(host: str, endpoint: IStreamClientEndpoint) -> IStreamClientEndpoint:
    """TLS with a certificate for ``host``, whatever the address: the name stays in SNI and is what is verified."""
    return wrapClientTLS(optionsForClientTLS(host), endpoint)


class WebhookSender:
    """Implements ``relay.core.webhooks.Sender``.

    ``resolve`` gives the addresses of a host name; ``hosts`` are those that callbacks may go to, ``private`` allows
    addresses that only this machine or this network can reach. Each of ``secrets`` signs. ``wall`` is Unix time.
    ``secure`` puts TLS over an endpoint.
    """

    def __init__(
        self,
        *,
        reactor: Any,
        resolve: Resolve,
        secrets: Sequence[bytes],
        hosts: Collection[str],
        private: bool,
        wall: Callable[[], float],
        user_agent: str,
        secure: Secure = under_tls,
    ) -> None:
        self._reactor = reactor
        self._resolve = resolve
        self._secrets = secrets
        self._hosts = frozenset(hosts)
        self._private = private
        self._wall = wall
        self._user_agent = user_agent
        self._secure = secure

    def tell(self, callback: Callback) -> Deferred[Answer]:
        """Try once, 15 s at most. Never fails; cancelling it ends the try, and what it then says means nothing."""
        attempt = Deferred.fromCoroutine(self._tell(callback))
        attempt.addTimeout(TRY_SECONDS, self._reactor, onTimeoutCancel=too_late)
        return attempt.addErrback(failed)

    async def _tell(self, callback: Callback) -> Answer:
        parts = urlsplit(callback.url)
        host = parts.hostname or ""
        if host not in self._hosts or parts.scheme != "https":
            raise Refused("the configuration does not allow this host any more")
        addresses = await self._checked(host)
        endpoint = CheckedEndpoint(self._reactor, addresses, parts.port or 443)
        # An Agent for one request: it must connect to these addresses and to no others.
        agent = Agent.usingEndpointFactory(self._reactor, Always(self._secure(host, endpoint)))
        told = headers(callback.id, callback.body, secrets=self._secrets, now=self._wall(), user_agent=self._user_agent)
        response = await agent.request(b"POST", callback.url.encode(), told, Body(callback.body))
        return await read(response, self._wall())

    async def _checked(self, host: str) -> Sequence[str]:
        """The addresses of the host. One bad address spoils them all: nobody honest mixes them."""
        addresses = await self._resolve(host)
        if not addresses:
            raise Refused("the name has no address")
        for address in addresses:
            if why := refusal(address, private=self._private):
                raise Refused(f"{address} is {why}")
        return addresses[:MOST_ADDRESSES]


@implementer(IAgentEndpointFactory)
class Always:
    """Gives the same endpoint for any URI."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802 - Twisted's name
        return self._endpoint


@implementer(IStreamClientEndpoint)
class CheckedEndpoint:
    """Connects to the first of these addresses that answers. There is no name here, so that none can be rebound."""

    def __init__(self, reactor: Any, addresses: Sequence[str], port: int) -> None:
        self._reactor = reactor
        self._addresses = addresses
        self._port = port

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(factory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        error: ConnectError | None = None
        for address in self._addresses:
            kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            endpoint = kind(self._reactor, address, self._port, timeout=CONNECT_SECONDS)
            try:
                bounded: Any = await endpoint.connect(Bounding(factory))
            except ConnectError as refused:
                error = refused
            else:
                protocol: IProtocol = bounded.wrappedProtocol
                return protocol
        raise error or ConnectError()


class Bounded(ProtocolWrapper):
    """Drops a connection that brings more than any answer needs."""

    transport: Any
    left = ALL_BYTES

    def dataReceived(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left >= 0:
            super().dataReceived(data)
        else:
            self.transport.abortConnection()


class Bounding(WrappingFactory):
    noisy = False
    protocol = Bounded


def resolving(resolver: IHostnameResolver) -> Resolve:
    """Every address that ``resolver`` knows of a name. A name that is not known has none."""

    def resolve(host: str) -> Deferred[Sequence[str]]:
        found = Found()
        resolver.resolveHostName(found, host, 0)
        return found.all

    return resolve


@implementer(IResolutionReceiver)
class Found:
    """Gathers the addresses of one name."""

    def __init__(self) -> None:
        self.all: Deferred[Sequence[str]] = Deferred()
        self._addresses: list[str] = []

    def resolutionBegan(self, resolution: IHostResolution) -> None:  # noqa: N802 - Twisted's name
        pass

    def addressResolved(self, address: IAddress) -> None:  # noqa: N802 - Twisted's name
        if isinstance(address, IPv4Address | IPv6Address):
            self._addresses.append(address.host)

    def resolutionComplete(self) -> None:  # noqa: N802 - Twisted's name
        if not self.all.called:
            self.all.callback(self._addresses)
