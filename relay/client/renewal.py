"""Renews a session's token before it ends (protocol 2.1, ``auth``).

How long it still lasts is told by the relay's own clock, which a ``pong`` carries: the clocks of two machines need not
agree, and none of ours is read.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from relay.client.frames import Authenticated, Frame, Pong, Registered
from relay.client.tokens import Token, fresh
from relay.core.wire import encode

MARGIN: Final = 60.0  #: seconds before the token's end, or half of what it lasts where that is less
SHORTEST: Final = 5.0  #: seconds between two renewals, whatever the token says
REF: Final = "how late is it?"

log = Logger()


class Renewal:
    """One agent's, over all its sessions. A token that cannot be renewed is one that stays: 4010 ends it."""

    def __init__(self, token: Token | None, clock: IReactorTime, say: Callable[[bytes], object]) -> None:
        self._token = token
        self._clock = clock
        self._say = say
        self._expires_at: str | None = None
        self._timer: IDelayedCall | None = None
        self._asking: Deferred[None] | None = None

    def told(self, frame: Frame) -> None:
        """What the relay said."""
        match frame:
            case Registered() | Authenticated() if callable(self._token) and frame.expires_at:
                self._expires_at = frame.expires_at
                self._say(encode("ping", ref=REF))
            case Pong(ref=ref, time=now) if ref == REF and self._expires_at is not None:
                left = _seconds_between(now, self._expires_at)
                if left is not None and self._timer is None:
                    self._timer = self._clock.callLater(max(SHORTEST, left - min(MARGIN, left / 2)), self._renew)

    def lost(self) -> None:
        """The session has ended: the next one goes with a fresh token anyway."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()

    def _renew(self) -> None:
        self._timer = None
        self._asking = asking = Deferred.fromCoroutine(self._ask())
        asking.addErrback(lambda failure: log.failure("no fresh token could be had", failure))

    async def _ask(self) -> None:
        token = await fresh(self._token)
        self._asking = None
        self._say(encode("auth", token=token))


def _seconds_between(now: str, then: str) -> float | None:
    try:
        return (datetime.fromisoformat(then) - datetime.fromisoformat(now)).total_seconds()
    except (ValueError, TypeError):
        return None
