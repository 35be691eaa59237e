"""How one plugin does: what it did wrong is logged under its name, counted, and bounded in time."""

from __future__ import annotations

import enum
from contextlib import suppress
from typing import Final, TypeVar

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.extensions.tally import Tally

T = TypeVar("T")

#: Seconds that a plugin gets of a turn of the reactor, but for the call that it is in; then it is the others' turn.
TURN: Final = 0.005

#: A plugin that fails at every message would fill the log: so often is it told, in seconds; the counters know all.
LOGGED_EVERY: Final = 60.0


class State(enum.Enum):
    """How a plugin stands."""

    WORKING = "working"
    FAILING = "failing"  #: its last call went wrong
    OFF = "off"  #: it failed too often in a row, and is not called any more


class Health:
    """The health of one plugin. ``most`` failures in a row switch it off, if it may be; None: never."""

    log = Logger()

    def __init__(self, name: str, clock: IReactorTime, tally: Tally, *, most: int | None = None) -> None:
        self.name = name
        self.state = State.WORKING
        self.why = ""  #: what went wrong last, in one line
        self.failures = 0  #: since the start
        self.drops = 0  #: notices that it was not told
        self._in_a_row = 0
        self._most = most
        self._clock = clock
        self._tally = tally
        self._logged_at = -LOGGED_EVERY

    def worked(self) -> None:
        """A call went well."""
        if self.state is State.FAILING:
            self.state = State.WORKING
        self._in_a_row = 0

    def failed(self, hook: str, failure: Failure) -> None:
        """A call went wrong."""
        self.failures += 1
        self._in_a_row += 1
        self._tally.add(self.name, "failures")
        self.why = " ".join(f"{hook}: {type(failure.value).__name__}: {failure.getErrorMessage()}".split())[:300]
        if self.state is State.WORKING:
            self.state = State.FAILING
        now = self._clock.seconds()
        if now - self._logged_at >= LOGGED_EVERY:
            self._logged_at = now
            # Not as critical: what a stranger's code does is foreseen, and others go on.
            about = {"name": self.name, "hook": hook, "failures": self.failures, "trace": failure.getTraceback()}
            self.log.error("plugin {name} failed in {hook} ({failures} times by now)\n{trace}", **about)
        if self._most is not None and self._in_a_row >= self._most and self.state is not State.OFF:
            self.state = State.OFF
            self._tally.counters.reached("extension_failures")
            self.log.error(
                "plugin {name} failed {failures} times in a row and is switched off until the relay is started again; "
                "last: {why}",
                name=self.name,
                failures=self._in_a_row,
                why=self.why,
            )

    def dropped(self) -> None:
        """Something was not told to it: its queue was full."""
        self.drops += 1
        self._tally.add(self.name, "drops")
        self._tally.counters.reached("extension_queue")

    def within(self, seconds: float, waiting: Deferred[T]) -> Deferred[T]:
        """``waiting``, but no longer than that: then it is cancelled, and what is returned fails with TimeoutError.

        Not by ``addTimeout``: that waits for what the canceller does, and a plugin's may do nothing.
        """
        told: Deferred[T] = Deferred()

        def late() -> None:
            self._tally.counters.reached("extension_seconds")
            told.errback(TimeoutError(f"it took more than {seconds:g} s"))
            with suppress(Exception):
                waiting.cancel()

        timer = self._clock.callLater(seconds, late)

        def done(result: T | Failure) -> None:
            if timer.active():
                timer.cancel()
            if not told.called:
                told.callback(result)  # a Failure starts the errbacks

        waiting.addBoth(done)
        return told
