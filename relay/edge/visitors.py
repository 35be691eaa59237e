"""Who is connected, by address, and how often each asks: the limits of connections and of rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper

from relay.core.addresses import visitor
from relay.core.bucket import Rates
from relay.core.counters import Counters
from relay.core.limits import Limits
from relay.core.problems import Problem

Leave = Callable[[], object]


class Visitors:
    """What the connections of all ports share.

    ``on_change`` is told the number of connections whenever it changes: who opens and closes the doors looks at it.
    """

    def __init__(self, limits: Limits, clock: IReactorTime, counters: Counters) -> None:
        self.connected = 0
        self.on_change: Callable[[int], object] = lambda connected: None
        self._limits = limits
        self._clock = clock
        self._counters = counters
        self._by_address: dict[str, int] = {}
        self._requests = Rates(limits.address_requests, limits.names)
        self._publishers = Rates(limits.publisher_requests, limits.names)
        self._registrations = Rates(limits.address_registrations, limits.names)

    # -- connections

    def visit(self, transport: Any) -> Visit:
        """A connection was made."""
        self._change(1)
        return Visit(self, transport)

    def admit(self, address: IAddress) -> Leave | None:
        """Count a connection of that address; what is returned uncounts it. None: it has as many as it may."""
        most, name = self._limits.address_connections, name_of_visitor(address)
        if not most or not name:
            return self.uncounted
        if self._by_address.get(name, 0) >= most:
            self._counters.reached("address_connections")
            return None
        self._by_address[name] = self._by_address.get(name, 0) + 1
        return partial(self._counted, name)

    def _counted(self, name: str) -> None:
        left = self._by_address.pop(name) - 1
        if left:
            self._by_address[name] = left
        self.uncounted()

    def uncounted(self) -> None:
        """A connection is gone that is counted for no address."""
        self._change(-1)

    def _change(self, by: int) -> None:
        self.connected += by
        self.on_change(self.connected)

    # -- rates

    def asks(self, address: IAddress) -> None:
        """One more request of that address. Raises Problem (``rate-limited``)."""
        if self._limits.address_requests:
            self._take(self._requests, name_of_visitor(address), "address_requests", "requests of your address")

    def publishes(self, publisher: str) -> None:
        """One more request of that publisher (the name of its token). Raises Problem (``rate-limited``)."""
        self._take(self._publishers, publisher, "publisher_requests", "requests of this publisher")

    def registers(self, address: IAddress) -> None:
        """One more agent of that address comes in. Raises Problem (``rate-limited``)."""
        if self._limits.address_registrations:
            name = name_of_visitor(address)
            self._take(self._registrations, name, "address_registrations", "registrations of your address")

    def _take(self, rates: Rates, name: str, limit: str, what: str) -> None:
        wait = rates.take(name, self._clock.seconds()) if name else 0.0
        if wait > 0:
            most = getattr(self._limits, limit)
            detail = f"there may be {most:g} {what} a second"
            raise Problem("rate-limited", detail, retry_after=math.ceil(wait), limit=limit)


class Visit:
    """One connection: ``leave`` must be called once when it is gone."""

    __slots__ = ("_transport", "_visitors", "is_strange", "leave", "welcome")

    def __init__(self, visitors: Visitors, transport: Any) -> None:
        self._visitors = visitors
        self._transport = transport
        self.leave: Leave = visitors.uncounted
        self.welcome = True  #: may it stay?
        #: What a proxy says of its client comes as the first bytes: until then it would be the proxy that is counted.
        self.is_strange = isinstance(transport, HAProxyProtocolWrapper)
        if not self.is_strange:
            self.introduce()

    def introduce(self) -> bool:
        """It is known now whose connection this is: may that one have one more?"""
        self.is_strange = False
        leave = self._visitors.admit(self._transport.getPeer())
        if leave is None:
            self.welcome = False
        else:
            self.leave = leave
        return self.welcome


def name_of_visitor(address: IAddress) -> str:
    """The visitor whose address that is; empty for a UNIX socket."""
    return visitor(str(getattr(address, "host", "")))
