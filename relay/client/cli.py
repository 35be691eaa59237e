"""``relay``, the command line: the only module of the client that knows the reactor, the process and its signals."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner, textFileLogObserver
from twisted.python.failure import Failure
from zope.interface import provider

from relay import __version__
from relay.client.commands.agents import agents, disconnect
from relay.client.commands.common import FAILED, INTERRUPTED, Job, Run, say
from relay.client.commands.dead import dead
from relay.client.commands.events import events
from relay.client.commands.listen import listen
from relay.client.commands.messages import cancel, status
from relay.client.commands.plugins import plugins
from relay.client.commands.queue import queue
from relay.client.commands.send import send
from relay.client.commands.serve import serve
from relay.client.commands.token import WALL, token
from relay.client.refusal import Refused, Unreachable


class Work:
    """A job on the reactor. It ends when the job does, or when a signal asks for it."""

    def __init__(self, reactor: Any, token: str | None) -> None:
        self.reactor = reactor
        self.token = token
        self._code = FAILED
        self._interrupt: Callable[[], object] | None = None
        self._shutting_down = False  # the reactor's own ``running`` is true until it has ended
        self._finished: Deferred[None] = Deferred()

    def on_interrupt(self, call: Callable[[], Deferred[None]]) -> None:
        self._interrupt = call

    def run(self, job: Job) -> int:
        self.reactor.callWhenRunning(self._start, job)
        self.reactor.addSystemEventTrigger("before", "shutdown", self._stopping)
        self.reactor.run()
        return self._code

    def _start(self, job: Job) -> None:
        working = Deferred.fromCoroutine(job(self))
        if self._interrupt is None:
            self._interrupt = working.cancel
        working.addCallbacks(self._done, self._failed).addBoth(self._end)

    def _stopping(self) -> Deferred[None]:
        """The reactor stops: because the job has ended, or by a signal. A second one ends us at once."""
        self._shutting_down = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not self._finished.called and self._interrupt is not None:
            self._interrupt()
        return self._finished

    def _done(self, code: int) -> None:
        self._code = code

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            self._code = INTERRUPTED
            say("interrupted")
        elif failure.check(Refused, Unreachable, ValueError, OSError):
            say(failure.getErrorMessage())
        else:
            say(f"a mistake of this program's: {failure.value!r}")

    def _end(self, _: object) -> None:
        self._finished.callback(None)
        if not self._shutting_down:
            self.reactor.stop()


def run_on_reactor(job: Job, *, verbose: bool) -> int:
    """Run a job on the global reactor, once in a process; its exit code."""
    from twisted.internet import reactor

    _log(verbose)
    return Work(reactor, os.environ.get("RELAY_TOKEN") or None).run(job)


def _log(verbose: bool) -> None:
    """The commands say what is worth a line. The whole log is for who looks for a mistake."""
    observer = textFileLogObserver(sys.stderr) if verbose else _say_what_nobody_foresaw
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


@provider(ILogObserver)
def _say_what_nobody_foresaw(event: LogEvent) -> None:
    if event["log_level"] is LogLevel.critical:
        say(f"a mistake of this program's: {formatEvent(event)} (--verbose tells more)")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="relay")
@click.option("-v", "--verbose", is_flag=True, help="Print the log to standard error.")
@click.pass_context
def relay(context: click.Context, verbose: bool) -> None:
    """Gets a message to a program which nobody can reach.

    `relay serve` starts the relay; `relay listen` receives the messages of an agent, and `relay send` sends it one.
    """
    context.meta[WALL] = time.time
    if context.obj is None:  # who calls this from a program brings a reactor
        context.obj = partial(run_on_reactor, verbose=verbose)


for command in (send, listen, status, cancel, agents, disconnect, queue, dead, events, token, plugins, serve):
    relay.add_command(command)


def execute(arguments: Sequence[str] | None = None, run: Run | None = None) -> int:
    """Do what the command line says; its exit code. ``run`` replaces the global reactor."""
    try:
        code: int = relay.main(arguments, prog_name="relay", standalone_mode=False, obj=run) or 0
    except click.exceptions.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return code


def main() -> None:
    """The console script."""
    sys.exit(execute())
