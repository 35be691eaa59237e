"""A thread that does one job after the other, and brings what came of each back to the reactor thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Final, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure

P = ParamSpec("P")
T = TypeVar("T")

#: Jobs whose outcome the reactor has not taken yet. One more waits: pages read ahead of a busy reactor are memory.
AHEAD: Final = 4

#: What is done on the thread. It returns what is to be done with the outcome, on the reactor thread.
Job = Callable[[], Callable[[], object]]


class Worker:
    """One thread, from ``start`` to ``end``. Every call is made on the reactor thread."""

    log = Logger()

    def __init__(self, name: str, reactor: IReactorFromThreads) -> None:
        self._name = name
        self._reactor = reactor
        self._inbox: SimpleQueue[Job | None] = SimpleQueue()
        # A semaphore in C: that of ``threading`` costs the reactor more than what it gets for it.
        self._ahead: SimpleQueue[None] = SimpleQueue()
        for _ in range(AHEAD):
            self._ahead.put(None)

    def start(self) -> None:
        """Begin. A daemon: a disk that never answers must not keep the process from ending."""
        Thread(target=self._run, name=self._name, daemon=True).start()

    def end(self) -> None:
        """Do what was asked for until now, then no more."""
        self._inbox.put(None)

    def post(self, job: Job) -> None:
        """Do this after all that was posted before."""
        self._inbox.put(job)

    def ask(self, call: Callable[P, T], *args: P.args, **kw: P.kwargs) -> Deferred[T]:
        """Call this on the thread. The answer is what it returns or raises. Giving up on it does not stop it."""
        answer: Deferred[T] = Deferred()

        def job() -> Callable[[], object]:
            try:
                return partial(answer.callback, call(*args, **kw))
            except BaseException:
                return partial(answer.errback, Failure())

        self.post(job)
        return answer

    def _run(self) -> None:
        while job := self._inbox.get():
            self._ahead.get()
            self._reactor.callFromThread(self._home, job())

    def _home(self, outcome: Callable[[], object]) -> None:
        self._ahead.put(None)
        with self.log.failuresHandled("what came of a job could not be handled"):
            outcome()
