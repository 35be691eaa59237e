"""Whose lines nobody waits for any more, by what was said on the wires alone (protocol 1.2)."""

from __future__ import annotations

from collections.abc import Sequence

from tests.simulation.peers import Parcel

SECONDS = 1.0  #: for which an agent with so many lines undecided may acknowledge nothing
NEVER = float("inf")


class Silences:
    """An agent with ``count`` lines undecided that acknowledges nothing is mute, until it acknowledges something.

    ``lines`` are the agent's that are undecided, ``now`` is on the clock.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._mute_from: dict[str, float] = {}

    def accepted(self, agent: str, lines: Sequence[Parcel], now: float) -> None:
        """One more line."""
        if len(lines) >= self._count:
            self._mute_from.setdefault(agent, now + SECONDS)

    def decided(self, agent: str, lines: Sequence[Parcel], now: float) -> None:
        """A line has its result."""
        if len(lines) < self._count and now < self._mute_from.get(agent, NEVER):
            self._mute_from.pop(agent, None)

    def broken(self, agent: str, lines: Sequence[Parcel], now: float) -> None:
        """The agent acknowledged something. What was not waited for any more is not waited for again."""
        mute_from = self._mute_from.pop(agent, NEVER)
        for parcel in lines if mute_from <= now else ():
            parcel.watched_until = min(parcel.watched_until, mute_from)
        self.accepted(agent, lines, now)

    def is_mute(self, agent: str, now: float) -> bool:
        return now >= self._mute_from.get(agent, NEVER)
