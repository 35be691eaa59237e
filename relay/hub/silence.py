"""Many lines for an agent that acknowledges nothing must not hold up the others (protocol 1.2)."""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from relay.core.limits import Limits
from relay.core.model import Reason
from relay.hub.acks import AckTable


class Silence:
    """Is an agent ``mute``? Then no line is waited for, until it acknowledges something."""

    __slots__ = ("_acks", "_broken_at", "_clock", "_limits", "_timer", "mute")

    def __init__(self, clock: IReactorTime, limits: Limits, acks: AckTable) -> None:
        self.mute = False
        self._clock = clock
        self._limits = limits
        self._acks = acks
        self._broken_at = clock.seconds()
        self._timer: IDelayedCall | None = None

    @property
    def watched(self) -> bool:
        """Is it being looked whether the agent acknowledges something?"""
        return self._timer is not None

    def broken(self, now: float) -> None:
        """The agent acknowledged something, ``now`` in seconds of the clock."""
        self._broken_at, self.mute = now, False

    def watch(self) -> None:
        """A line was accepted: are there so many undecided that the agent's silence matters?"""
        if self._timer is None and self._acks.lines >= self._limits.silent_count:
            now = self._clock.seconds()
            self._timer = self._clock.callLater(self._limits.silent_seconds, self._look, now)

    def _look(self, since: float) -> None:
        self._timer = None
        if self._acks.lines < self._limits.silent_count:
            return
        if self._broken_at <= since:
            self.mute = True
            self._acks.give_up_all(Reason.SILENT, lines_only=True)
        else:
            self.watch()
