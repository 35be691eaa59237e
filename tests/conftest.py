"""What every test is held to: no failure that nobody handled, no timer left behind, and in CI no skip.

pytest-twisted notices neither of the first two by itself.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator
from typing import TypeVar

import pytest
import pytest_twisted
from hypothesis import settings
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

# A shell that starts this in the background makes it, and all that it starts, deaf to SIGINT; some tests send one.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A deadline would be a timing assertion; `make nightly` looks elsewhere each time, `make test` always at the same.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("nightly", deadline=None, max_examples=2000)
settings.load_profile("default")


@implementer(ILogObserver)
class LoggedFailures:
    """The failures that were logged as critical while a test ran: unhandled Deferreds among them."""

    def __init__(self) -> None:
        self._failures: list[Failure] = []

    def __call__(self, event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is not None and event["log_level"] is LogLevel.critical:
            self._failures.append(failure)

    def flush(self, *types: type[BaseException]) -> list[Failure]:
        """Take out the failures of those types (all, when none is named): the test expected them."""
        gc.collect()
        taken = [failure for failure in self._failures if not types or failure.check(*types)]
        self._failures = [failure for failure in self._failures if failure not in taken]
        return taken


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Side by side, the long ones come first: then neither of two workers ends long after the other.
    items.sort(key=lambda item: 0 if item.get_closest_marker("faults") else 1 if item.get_closest_marker("e2e") else 2)


def pytest_collection_finish() -> None:
    # What was imported stays: not looking at it again after each test makes a collection cost next to nothing.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def logged_failures() -> Iterator[LoggedFailures]:
    """Fail a test that leaves a failure unhandled; a test that expects one takes it with ``flush``."""
    observer = LoggedFailures()
    globalLogPublisher.addObserver(observer)
    try:
        yield observer
        left = observer.flush()
    finally:
        globalLogPublisher.removeObserver(observer)
    if left:
        pytest.fail("failures that nobody handled:\n" + "\n".join(failure.getTraceback() for failure in left))


def delayed_calls() -> set[IDelayedCall]:
    from twisted.internet import reactor

    return set(reactor.getDelayedCalls())


@pytest.fixture(autouse=True)
def no_timer_is_left(logged_failures: LoggedFailures) -> Iterator[None]:
    """Fail a test that leaves a timer on the global reactor."""
    before = delayed_calls()
    yield
    if left := delayed_calls() - before:
        # What was to happen in the next turn is not left behind.
        pytest_twisted.blockon(turn_of_the_reactor())
        left &= delayed_calls()
    for call in left:
        call.cancel()
    if left:
        pytest.fail("timers left on the reactor:\n" + "\n".join(map(str, left)))


def turn_of_the_reactor() -> Deferred[None]:
    from twisted.internet import reactor

    return task.deferLater(reactor, 0)


Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
IN_CI = os.environ.get("CI") == "true"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return forbid_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return forbid_skip((yield))


def forbid_skip(report: Report) -> Report:
    """Where CI=true a test that was skipped has failed: nobody reads the yellow lines there."""
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI=true allows no skips: {report.longrepr[-1]}"  # type: ignore[index]  # (path, line, reason)
    return report
