"""What was asked over a socket and is not answered yet: by name, bounded, and each with its time."""

from __future__ import annotations

from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from relay.client.refusal import Unreachable

T = TypeVar("T")


class Undecided(Generic[T]):
    """A table of questions. Each entry leaves it exactly once: decided, refused, too late, given up or lost."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._open: dict[str, tuple[Deferred[T], IDelayedCall]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, name: str) -> bool:
        return name in self._open

    def ask(self, name: str, seconds: float) -> Deferred[T]:
        """Put the question of that name in the table. After ``seconds`` without an answer it fails with Unreachable."""
        asked: Deferred[T] = Deferred(lambda _: self._forget(name))
        too_late = Unreachable(f"the relay did not answer within {seconds:g} s")
        self._open[name] = (asked, self._clock.callLater(seconds, self.refuse, name, too_late))
        return asked

    def decide(self, name: str, answer: T) -> None:
        """The answer came. One that nobody waits for any more is ignored."""
        if asked := self._take(name):
            asked.callback(answer)

    def refuse(self, name: str, error: Exception) -> None:
        """It came to nothing."""
        if asked := self._take(name):
            asked.errback(error)

    def lost(self, why: str) -> None:
        """The connection is gone, and with it the answers."""
        for name in list(self._open):
            self.refuse(name, Unreachable(why))

    def _forget(self, name: str) -> None:
        self._take(name)

    def _take(self, name: str) -> Deferred[T] | None:
        asked, timer = self._open.pop(name, (None, None))
        if timer is not None and timer.active():
            timer.cancel()
        return asked
