"""How often each limit was reached: one small table, kept by who enforces them, read by who shows figures."""

from __future__ import annotations

from dataclasses import fields

from relay.core.limits import Limits


class Counters:
    """One number for each field of ``Limits``: how often that one refused, closed, dropped or put off something.

    What is only clamped (``wait_max``, ``ttl_max``), and what is a default, stays at 0.
    """

    def __init__(self) -> None:
        self._reached = {each.name: 0 for each in fields(Limits)}

    def reached(self, limit: str | None) -> None:
        """Count it; None: it was no limit. Raises KeyError if there is no limit of that name."""
        if limit is not None:
            self._reached[limit] += 1

    def table(self) -> dict[str, int]:
        """Limit -> how often, all of them."""
        return dict(self._reached)
