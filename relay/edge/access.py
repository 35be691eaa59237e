"""Who asks, and may they? Every request comes past here with its head, before its body is read (protocol 1.3)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from relay.core import access
from relay.core.access import GRACE, NOBODY, Grant, Need
from relay.core.ports import Authenticator
from relay.core.problems import Problem
from relay.edge import query
from relay.edge.scopes import needed
from relay.edge.transport import name_of

if TYPE_CHECKING:
    from relay.edge.request import DoorRequest

BEARER: Final = re.compile(r"bearer +(\S+)", re.IGNORECASE | re.ASCII)
#: What no provider takes for a token: where something came, and it is none.
_MALFORMED: Final = ""
#: These are asked for the agent that the path names.
_OF_AGENT: Final = frozenset({Need.PUBLISH, Need.AGENT, Need.VIEW})


def token_of(request: DoorRequest) -> str | None:
    """The token in ``Authorization``; None without that header, and no good one if it is not one Bearer token."""
    values = request.values(b"authorization")
    if not values:
        return None
    match = BEARER.fullmatch(values[0].strip()) if len(values) == 1 else None
    return match[1] if match else _MALFORMED


@dataclass(slots=True)
class _Held:
    """An answer that goes on for long. ``cut`` ends it; ``end`` is when its grant does."""

    cut: Callable[[], object]
    end: IDelayedCall | None

    def stop(self) -> None:
        if self.end is not None and self.end.active():
            self.end.cancel()


class AccessDoor:
    """Decides by the head alone whether a request may go on. ``wall`` gives the Unix time."""

    def __init__(
        self,
        authenticator: Authenticator,
        clock: IReactorTime,
        wall: Callable[[], float],
        annex: Callable[[bytes], Need] = lambda path: Need.TOKEN,
    ) -> None:
        """``annex`` says what a path of a plugin's needs."""
        self._authenticator = authenticator
        self._clock = clock
        self._wall = wall
        self._annex = annex
        self._open: dict[DoorRequest, _Held] = {}
        authenticator.on_change(self._look_again)

    def admit(self, request: DoorRequest) -> Grant | Deferred[Grant]:
        """The grant that the request is made with, at once or when it is known.

        Raises Problem, or fails with it: ``unauthenticated``, ``forbidden``, ``invalid-agent-id``, ``overloaded``.
        """
        need, segment = self._needed(request)
        if need is Need.NOTHING:
            return NOBODY
        nobody = self._authenticator.nobody
        if nobody is not None:
            return nobody
        token = token_of(request)
        if token is None and need is Need.CONNECT:
            return NOBODY
        grant = self._authenticator.known(token)
        if grant is not None:
            return _checked(grant, need, segment)
        asked = self._authenticator.check(token, name_of(request.client))
        return Deferred.fromCoroutine(_awaited(asked)).addCallback(_checked, need, segment)

    def look_again(self, request: DoorRequest) -> None:
        """A body that took its time is whole: may it still be asked what the head asked? Raises Problem."""
        if request.grant is NOBODY:
            return  # it needs nothing, or says later who it is
        grant = self._authenticator.still(request.grant)
        if grant is None or grant.ended(self._wall()):
            raise Problem("unauthenticated", "the token was revoked, or has expired, before the request was whole")
        if grant is not request.grant:
            request.grant = _checked(grant, *self._needed(request))

    def _needed(self, request: DoorRequest) -> tuple[Need, str]:
        need, segment = needed(request.method, request.path)
        if need is Need.TOKEN and request.path.startswith(b"/x/"):
            need = self._annex(request.path)
        return need, segment

    # -- answers that go on for long

    def hold(self, request: DoorRequest, cut: Callable[[], object]) -> None:
        """Call ``cut`` when the grant of the request ends while it is being answered: revoked, or long expired."""
        held = self._open[request] = _Held(cut, self._until_expiry(request))

        def over(_: object) -> None:
            self._open.pop(request, None)
            held.stop()

        request.notifyFinish().addBoth(over)

    def _until_expiry(self, request: DoorRequest) -> IDelayedCall | None:
        expires_at = request.grant.expires_at
        if expires_at is None:
            return None
        return self._clock.callLater(max(0.0, expires_at + GRACE - self._wall()), self._cut, request)

    def _look_again(self) -> None:
        """Tokens have changed: what is revoked is cut off, what has less scope or another end goes on with that."""
        for request, held in list(self._open.items()):
            grant = self._authenticator.still(request.grant)
            try:
                request.grant = _checked(grant or NOBODY, *self._needed(request))
            except Problem:
                self._cut(request)
                continue
            held.stop()
            held.end = self._until_expiry(request)

    def _cut(self, request: DoorRequest) -> None:
        held = self._open.pop(request, None)
        if held is not None:
            held.stop()
            held.cut()


def _checked(grant: Grant, need: Need, segment: str) -> Grant:
    access.check(need, grant, query.agent_id(segment) if need in _OF_AGENT else "")
    return grant


async def _awaited(asked: Awaitable[Grant]) -> Grant:
    return await asked
