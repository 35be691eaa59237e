"""Who failed to say who they are, and how often: from the tenth failure in a minute the answer comes late."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque

from relay.core.limits import Limits


class Failures:
    """The failures of each address, of as many addresses as the limits say: the one unheard of longest is forgotten."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._of: OrderedDict[str, deque[float]] = OrderedDict()

    def count(self, peer: str, now: float) -> float:
        """One more failure of ``peer`` at ``now`` (seconds, monotonic): how much later it is told, in seconds."""
        limits, place = self._limits, neighbourhood(peer)
        times = self._of.pop(place, None)
        if times is None:
            # No more than these are ever asked for.
            times = deque(maxlen=limits.auth_failures)
            while len(self._of) >= limits.auth_addresses:
                self._of.popitem(last=False)
        times.append(now)
        self._of[place] = times
        often = len(times) == limits.auth_failures and now - times[0] < limits.auth_failure_seconds
        return limits.auth_delay if often else 0.0


def neighbourhood(peer: str) -> str:
    """What one party may have many of: the /64 of an IPv6 address (``[2001:db8::1]:5000``), else the address itself.

    ``peer`` is an address for people, with its port or without.
    """
    host = peer.rpartition("]")[0].removeprefix("[") if peer.startswith("[") else peer
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return peer  # unix
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
