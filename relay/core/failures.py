"""Who failed to say who they are, and how often: from the tenth failure in a minute the answer comes late."""

from __future__ import annotations

from collections import OrderedDict, deque

from relay.core.addresses import visitor
from relay.core.limits import Limits


class Failures:
    """The failures of each address, of as many addresses as the limits say: the one unheard of longest is forgotten."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._of: OrderedDict[str, deque[float]] = OrderedDict()

    def count(self, peer: str, now: float) -> float:
        """One more failure of ``peer`` at ``now`` (seconds, monotonic): how much later it is told, in seconds."""
        limits, place = self._limits, visitor(host_of(peer))
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


def host_of(peer: str) -> str:
    """The host of an address for people: ``192.0.2.7:5000``, ``[2001:db8::1]:5000``, ``unix``."""
    if peer.startswith("["):
        return peer.partition("]")[0].removeprefix("[")
    return peer.rpartition(":")[0] or peer
