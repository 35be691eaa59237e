"""A batch of messages, read and answered line by line (protocol 1.2): NDJSON in, NDJSON out, in constant memory.

twisted.web hands a request over when its body is whole. This one is fed as its body comes in (``DoorRequest.stream``).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from relay.core import posting
from relay.core.limits import Limits
from relay.core.model import Outcome
from relay.core.ports import Floor
from relay.core.problems import Problem
from relay.edge.lines import Line, Reading, Settings
from relay.edge.transport import read_much, waiting_in

if TYPE_CHECKING:
    from relay.edge.request import DoorRequest

LOOK_SECONDS: Final = 1.0
RECORD: Final = 16 * 1024  #: bytes, the most that one has (RFC 8446 section 5.1)


class Lot:
    """Lines that were submitted together: those which are not decided, by index."""

    __slots__ = ("hang_up", "lines")

    def __init__(self, lines: list[Line]) -> None:
        self.lines = dict(enumerate(lines))
        self.hang_up: Callable[[], object] = lambda: None


class State(enum.Enum):
    """Where a batch stands."""

    READING = "reading"
    HELD = "held"  #: too much is undecided or unread: nothing more is read
    ENDED = "ended"  #: its last line has come
    CUT = "cut"  #: the publisher is gone; what came is still submitted
    REVOKED = "revoked"  #: its publisher may publish no more: nothing more is taken


#: Nobody reads the results any more.
GONE: Final = frozenset({State.CUT, State.REVOKED})


class Batch:
    """One request."""

    def __init__(
        self, request: DoorRequest, hub: Floor, limits: Limits, clock: IReactorTime, settings: Settings
    ) -> None:
        self._request = request
        self._hub = hub
        self._limits = limits
        self._clock = clock
        self._lines = Reading(limits, settings, request, self._refuse)
        self._state = State.READING
        self._lots: set[Lot] = set()  #: those with undecided lines
        self._undecided, self._undecided_bytes = 0, 0  #: lines, and their bytes
        self._results: list[bytes] = []  #: whole lines of the answer, one or several in each
        self._writing: IDelayedCall | None = None
        self._watch: IDelayedCall | None = None
        self._seen = (0, 0.0)  #: unread bytes at the last look, and when they last became fewer
        read_much(request.channel.transport)
        request.notifyFinish().addErrback(lambda _: self._lost())

    # -- what comes in

    def feed(self, data: bytes) -> None:
        """A piece of the body. What is as large as a record of TLS is mostly followed by others within the turn."""
        self._lines.feed(data)
        if len(data) < RECORD:
            self._go_on()
        else:
            self._go_on_later()

    def end(self) -> None:
        """The body is whole."""
        if self._state not in GONE:
            self._state = State.ENDED
            self._go_on()

    def _lost(self) -> None:
        if self._state is not State.REVOKED:
            self._state = State.CUT
        self._stop_timers()
        self._results.clear()
        for lot in list(self._lots):
            self._hang_up(lot)
        self._go_on()

    def revoke(self) -> None:
        """Its publisher may publish no more: nothing is taken from now on, not even of what came already.

        Its answer has begun, so that only the end of the connection can say that it is not whole.
        """
        self._state = State.REVOKED
        self._stop_timers()
        self._request.channel.abort()

    def _go_on(self) -> None:
        """Submit what came, as far as there is room; read on, or not; finish when all is decided."""
        while lines := self._next_lines():
            self._submit(lines)
        if self._state is State.READING and not self._room():
            self._state = State.HELD
            self._request.channel.hold_body(True)
        elif self._state is State.HELD and self._room():
            self._state = State.READING
            self._request.channel.hold_body(False)
        self._write_soon()

    def _next_lines(self) -> list[Line]:
        """What came and may be submitted now."""
        found: list[Line] = []
        if not self._room():
            return found
        # What is unread grows once a turn, when results are written: it need not be looked at for each line.
        while self._may_submit():
            limits = self._limits
            more = self._lines.read(limits.undecided - self._undecided, limits.undecided_bytes - self._undecided_bytes)
            if more is None and self._state is State.ENDED:
                more = self._lines.read_rest()
            if more is None:
                break
            found += more
            self._undecided += len(more)
            self._undecided_bytes += sum([line.size for line in more])
        return found

    def _room(self) -> bool:
        return self._may_submit() and (self._state is State.CUT or not self._is_choked())

    def _is_choked(self) -> bool:
        """Is so much unread that nothing more is read? Who sends a small batch may read when it is sent."""
        return self._unread() >= self._limits.unread and not self._lines.are_few

    def _may_submit(self) -> bool:
        limits = self._limits
        if self._state is State.REVOKED:
            return False
        return self._undecided < limits.undecided and self._undecided_bytes < limits.undecided_bytes

    def _unread(self) -> int:
        transport = self._request.channel.transport
        return 0 if transport is None else waiting_in(transport)

    # -- what becomes of it

    def _submit(self, lines: list[Line]) -> None:
        self._lots.add(lot := Lot(lines))
        lot.hang_up = self._hub.submit_all([line.submission for line in lines], partial(self._decided, lot))
        if self._state is State.CUT:
            self._hang_up(lot)

    def _hang_up(self, lot: Lot) -> None:
        """Nobody reads what becomes of these."""
        self._lots.discard(lot)
        self._undecided -= len(lot.lines)
        self._undecided_bytes -= sum(line.size for line in lot.lines.values())
        lot.hang_up()

    def _decided(self, lot: Lot, became: Sequence[tuple[int, Outcome | Problem]]) -> None:
        if lot not in self._lots:
            return  # hung up
        told: list[tuple[int, str | None, Outcome]] = []
        for index, result in became:
            line = lot.lines.pop(index)
            self._undecided_bytes -= line.size
            if isinstance(result, Outcome):
                told.append((line.number, line.ref, result))
            elif self._state not in GONE:
                self._refuse(line.number, line.ref, result)
        self._undecided -= len(became)
        if not lot.lines:
            self._lots.discard(lot)
        if self._state in GONE:
            return
        if told:
            self._results.append(posting.results(told))
        self._write_soon()

    def _refuse(self, number: int, ref: str | None, problem: Problem) -> None:
        self._request.site.counters.reached(problem.limit)
        self._results.append(_refused(number, ref, problem) + b"\n")

    # -- what goes out

    def _write_soon(self) -> None:
        # Once a turn: a thousand results are then one write.
        if self._results or self._is_done():
            self._go_on_later()

    def _go_on_later(self) -> None:
        if self._writing is None and self._state not in GONE:
            self._writing = self._clock.callLater(0, self._write)

    def _write(self) -> None:
        self._writing = None
        results, self._results = self._results, []
        if results:
            self._request.write(b"".join(results))
            self._look_later()
        if self._is_done():
            self._stop_timers()
            self._request.finish()
        else:
            self._go_on()

    def _is_done(self) -> bool:
        return self._state is State.ENDED and not self._undecided and self._lines.is_empty

    def _stop_timers(self) -> None:
        for timer in (self._writing, self._watch):
            if timer is not None and timer.active():
                timer.cancel()

    def _look_later(self) -> None:
        if self._watch is None and self._unread():
            self._seen = (self._unread(), self._clock.seconds())
            self._watch = self._clock.callLater(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """Once a second while results are unread: who takes nothing of too much is cut off."""
        self._watch = None
        unread, now = self._unread(), self._clock.seconds()
        before, since = self._seen
        if unread < before or not self._is_choked():
            since = now
        if now - since >= self._limits.stalled_seconds:
            self._request.site.counters.reached("stalled_seconds")
            self._request.channel.abort()
            return
        if unread:
            self._seen = (unread, since)
            self._watch = self._clock.callLater(LOOK_SECONDS, self._look)
        self._go_on()


def _refused(number: int, ref: str | None, problem: Problem) -> bytes:
    """The result of a line that was refused."""
    members: dict[str, object] = {"line": number}
    if ref is not None:
        members["ref"] = ref
    if problem.retry_after is not None:
        members["retry_after"] = problem.retry_after
    return msgspec.json.encode(members | {"problem": problem.members()})


class BatchDoor:
    """``POST /v1/messages``."""

    def __init__(self, hub: Floor, limits: Limits, clock: IReactorTime, settings: Settings) -> None:
        self._hub = hub
        self._limits = limits
        self._clock = clock
        self._settings = settings

    def open(self, request: DoorRequest) -> Batch:
        """A request whose body will be fed to what is returned. Raises Problem."""
        self._hub.admit()
        types = request.values(b"content-type")
        if len(types) != 1 or types[0].partition(";")[0].strip().lower() != "application/x-ndjson":
            raise Problem("unsupported-media-type", "a batch is application/x-ndjson: one message a line")
        request.prepare_stream(b"application/x-ndjson")
        request.responseHeaders.setRawHeaders(b"Date", [request.site.date()])
        return Batch(request, self._hub, self._limits, self._clock, self._settings)
