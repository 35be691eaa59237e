"""Runs a program with a message on its standard input, and waits for its exit code."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

SHELL: Final = "/bin/sh"
KILL_SECONDS: Final = 5.0  #: from SIGTERM to SIGKILL, for a program that is not wanted any more


def run_program(reactor: Any, command: str, payload: bytes, environment: Mapping[str, str]) -> Deferred[int]:
    """Run ``command`` by the shell, with ``payload`` on its standard input; what it prints goes where ours goes.

    Fires with its exit code, or with minus the number of the signal that ended it. Cancelling it ends the program.
    Raises OSError when it cannot be started.
    """
    program = Program(payload, reactor)
    # The payload never comes near the command line: whatever it says, the shell does not read it.
    reactor.spawnProcess(program, SHELL, [SHELL, "-c", command], env=dict(environment), childFDs={0: "w", 1: 1, 2: 2})
    return program.ended


class Program(ProcessProtocol):
    """One run of a program."""

    def __init__(self, payload: bytes, clock: IReactorTime) -> None:
        self._payload = payload
        self._clock = clock
        self.ended: Deferred[int] = Deferred(lambda _: self._end())

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(self._payload)
        transport.closeStdin()

    def processEnded(self, reason: Failure) -> None:
        if not self.ended.called:
            self.ended.callback(_exit_code(reason.value))

    def _end(self) -> None:
        self._signal(signal.SIGTERM)
        self._clock.callLater(KILL_SECONDS, self._signal, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        transport: Any = self.transport
        with suppress(ProcessExitedAlready):
            transport.signalProcess(int(number))


def _exit_code(error: BaseException | None) -> int:
    match error:
        case ProcessDone():
            return 0
        case ProcessTerminated(exitCode=int(code)):
            return code
        case ProcessTerminated(signal=int(number)):
            return -number
    return -1
