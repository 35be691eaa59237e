"""What has happened, counted: how the generator knows that what it measured is what it meant to measure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counts of one generator."""

    registered: int = 0  #: agents that hold a session now
    publishers: int = 0  #: connections of publishers that are ready
    acked: int = 0  #: messages that were acknowledged
    pongs: int = 0  #: answers to our own pings
    posted: int = 0  #: messages that were handed over
    settled: int = 0  #: … and answered as they should be
    other: dict[str, int] = field(default_factory=dict)  #: answers that were not, by what was said
    retries: dict[str, int] = field(default_factory=dict)  #: connections that had to be tried again, by the reason

    def retry(self, why: str) -> None:
        self.retries[why] = self.retries.get(why, 0) + 1

    def odd(self, what: str) -> None:
        self.other[what] = self.other.get(what, 0) + 1


@dataclass
class Budget:
    """How many messages may still be sent, and how many are under way: shared by the publishers of a measurement."""

    left: int = 0
    under_way: int = 0

    def take(self, most: int = 1) -> int:
        """How many of these may go now: they are under way from here on."""
        taken = min(most, self.left)
        self.left -= taken
        self.under_way += taken
        return taken

    def decided(self, count: int = 1) -> None:
        self.under_way -= count

    @property
    def spent(self) -> bool:
        """Is nothing to be sent, and nothing under way?"""
        return not self.left and not self.under_way
