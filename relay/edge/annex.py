"""Calls that plugins add, under ``/x/NAME/``: behind the same gate, guard, limits and scopes as the relay's own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from klein import Klein
from twisted.internet.defer import TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from relay.core.access import Need
from relay.core.limits import Limits
from relay.core.problems import Problem
from relay.edge.answer import of_problem
from relay.edge.http import refusal
from relay.edge.request import DoorRequest

PREFIX: Final = b"/x/"
RETRY: Final = 5  #: seconds, ``Retry-After`` of a plugin that did not answer in time

#: what a plugin says of who may call -> what a grant must have
SCOPES: Final = {"none": Need.NOTHING, "publish": Need.LINES, "agent": Need.SOME_AGENT, "admin": Need.ADMIN}


@dataclass(frozen=True)
class Room:
    """What one plugin adds. ``failed`` is told what its application did wrong, ``worked`` that it did well."""

    name: str
    need: Need
    app: Klein
    failed: Callable[[str, Failure], object]
    worked: Callable[[], object]


class Annex:
    """All that plugins add. ``states`` says how plugins do, ``counted`` gives what they count, by (plugin, counter)."""

    def __init__(
        self,
        rooms: Sequence[Room],
        limits: Limits,
        clock: IReactorTime,
        states: Callable[[], list[dict[str, Any]]] = list,
        counted: Callable[[], Mapping[tuple[str, str], int]] = dict,
    ) -> None:
        self.states = states
        self.counted = counted
        self._limits = limits
        self._clock = clock
        self._rooms = {room.name.encode("ascii"): room for room in rooms}
        self._resources = {name: _guarded(room).resource() for name, room in self._rooms.items()}

    def need(self, path: bytes) -> Need:
        """What a call of such a path asks of a grant."""
        room = self._rooms.get(_name(path))
        return Need.TOKEN if room is None else room.need

    def render(self, request: DoorRequest) -> None:
        """Answer it, sooner or later."""
        name = _name(request.path)
        room = self._rooms.get(name)
        if room is None:
            request.answer(of_problem(Problem("not-found", "there is nothing at this path")))
            return
        request.prepath = [b"x", name]
        request.postpath = request.path[len(PREFIX) + len(name) + 1 :].split(b"/")
        timer = self._clock.callLater(self._limits.extension_seconds, self._late, request, room)

        def over(_: object) -> None:
            if timer.active():
                timer.cancel()

        request.notifyFinish().addBoth(over)
        said = self._resources[name].render(request)
        if isinstance(said, bytes):  # the path is not UTF-8
            request.write(said)
            request.finish()

    def _late(self, request: DoorRequest, room: Room) -> None:
        if request.startedWriting:
            return  # it goes on, and may take its time
        seconds = self._limits.extension_seconds
        room.failed("app", Failure(TimeoutError(f"it took more than {seconds:g} s")))
        detail = f"{room.name} did not answer in time"
        request.answer(of_problem(Problem("overloaded", detail, retry_after=RETRY, limit="extension_seconds")))
        # What it still has to say has nowhere to go.
        request.write = _nothing  # type: ignore[method-assign]  # of this one request alone


def _name(path: bytes) -> bytes:
    return path[len(PREFIX) :].partition(b"/")[0]


def _nothing(data: bytes) -> None:
    pass


def _guarded(room: Room) -> Klein:
    """The application, with the last word on what it does not handle itself."""

    def refused(*about: Any) -> Any:
        request, failure = about[-2:]  # behind the instance, where the application is a class's
        if failure.check(HTTPException) and not failure.check(NotFound, MethodNotAllowed):
            return failure  # Klein answers with what it says
        if failure.check(Problem, HTTPException):
            room.worked()
            return request.prepare(refusal(failure, request))
        room.failed("app", failure)
        if request.startedWriting:
            request.channel.abort()
            return b""
        return request.prepare(of_problem(Problem("internal", f"{room.name} failed at this; the log says how")))

    # A copy: what a plugin made is its own, and may be shared.
    app = copy.copy(room.app)
    app._error_handlers = [*app._error_handlers, ([Exception], refused)]  # type: ignore[list-item]  # of any arguments
    return app
