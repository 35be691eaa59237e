"""Runs a program with a message on its standard input, and waits for its exit code."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

SHELL: Final = "/bin/sh"
KILL_SECONDS: Final = 5.0  #: from SIGTERM to SIGKILL, for a program that is not wanted any more


class Shell:
    """Runs a command by the shell, one run at a time."""

    def __init__(self, reactor: Any, command: str) -> None:
        self._reactor = reactor
        # In a session of its own: Ctrl-C is then ours alone, and whatever the shell starts can be ended with it.
        setsid = shutil.which("setsid")
        self._line = [setsid, SHELL, "-c", command] if setsid else [SHELL, "-c", command]
        self._group = setsid is not None
        self._gone: Deferred[None] = succeed(None)

    async def run(self, payload: bytes, environment: Mapping[str, str]) -> int:
        """Run it with ``payload`` on its standard input; what it prints goes where ours goes.

        Its exit code, or minus the number of the signal that ended it. Who cancels this ends the program, and what it
        has started. Raises OSError when it cannot be started.
        """
        await self._gone  # one that was cancelled may still be on its way out
        program = Program(payload, self._reactor, self._group)
        # The payload never comes near the command line: whatever it says, the shell does not read it.
        self._reactor.spawnProcess(program, self._line[0], self._line, dict(environment), childFDs={0: "w", 1: 1, 2: 2})
        self._gone = program.gone
        return await program.ended


class Program(ProcessProtocol):
    """One run of a program."""

    def __init__(self, payload: bytes, clock: IReactorTime, group: bool) -> None:
        self._payload = payload
        self._clock = clock
        self._group = group  # does it lead a process group of its own?
        self.ended: Deferred[int] = Deferred(lambda _: self._end())  #: with its exit code
        self.gone: Deferred[None] = Deferred()  #: even if nobody wants to know the exit code any more

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._pid: int = transport.pid
        transport.write(self._payload)
        transport.closeStdin()

    def processEnded(self, reason: Failure) -> None:
        if not self.ended.called:
            self.ended.callback(_exit_code(reason.value))
        if not self.gone.called:
            self.gone.callback(None)

    def _end(self) -> None:
        self._signal(signal.SIGTERM)
        self._clock.callLater(KILL_SECONDS, self._signal, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if self._group:
                os.killpg(self._pid, number)
            elif not self.gone.called:
                os.kill(self._pid, number)


def _exit_code(error: BaseException | None) -> int:
    match error:
        case ProcessDone():
            return 0
        case ProcessTerminated(exitCode=int(code)):
            return code
        case ProcessTerminated(signal=int(number)):
            return -number
    return -1
