"""The clock of those who wait for an ACK: one timer of the real clock's for all, and the same times."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.hub.patience import KINDS, Awaited, Patience
from tests.conftest import LoggedFailures


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def patience(clock: Clock) -> Patience:
    return Patience(clock)


def test_a_call_is_made_once_when_its_time_has_come(clock: Clock, patience: Patience) -> None:
    made: list[object] = []
    turn = patience.callLater(5.0, made.append, "a")
    clock.advance(4.9)
    assert (made, turn.active()) == ([], True)
    clock.advance(0.1)
    assert (made, turn.active()) == (["a"], False)
    clock.advance(100)
    assert made == ["a"]


def test_a_thousand_that_wait_equally_long_have_one_timer(clock: Clock, patience: Patience) -> None:
    made: list[int] = []
    for number in range(1000):
        patience.callLater(5.0, made.append, number)
        clock.advance(0.001)
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(4.5)
    assert made == list(range(501))
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(1)
    assert made == list(range(1000))
    assert clock.getDelayedCalls() == []


def test_different_times_are_kept_in_their_order(clock: Clock, patience: Patience) -> None:
    made: list[float] = []
    for delay in (30.0, 5.0, 0.0, 12.5, 1.0):
        patience.callLater(delay, made.append, delay)
    for _ in range(31):
        clock.advance(1)
    assert made == [0.0, 1.0, 5.0, 12.5, 30.0]


def test_one_that_is_called_off_is_not_made_and_after_the_last_one_the_timer_rings_once(
    clock: Clock, patience: Patience
) -> None:
    made: list[str] = []
    first, second = (patience.callLater(5.0, made.append, name) for name in "ab")
    first.cancel()
    assert (first.active(), second.active()) == (False, True)
    second.cancel()
    clock.advance(5)
    assert made == []
    assert clock.getDelayedCalls() == []


def test_a_timer_that_was_set_for_what_was_called_off_rings_again_for_what_came_later(
    clock: Clock, patience: Patience
) -> None:
    made: list[str] = []
    first = patience.callLater(5.0, made.append, "a")
    clock.advance(3)
    patience.callLater(5.0, made.append, "b")
    first.cancel()
    clock.advance(4.9)
    assert made == []
    clock.advance(0.1)
    assert made == ["b"]
    assert clock.getDelayedCalls() == []


def test_a_call_may_call_off_the_next_and_make_new_ones(clock: Clock, patience: Patience) -> None:
    made: list[str] = []

    def first() -> None:
        made.append("first")
        second.cancel()
        patience.callLater(5.0, made.append, "third")

    patience.callLater(5.0, first)
    second = patience.callLater(5.0, made.append, "second")
    clock.advance(5)
    assert made == ["first"]
    clock.advance(5)
    assert made == ["first", "third"]
    assert clock.getDelayedCalls() == []


def test_one_that_fails_does_not_hold_up_the_others(
    clock: Clock, patience: Patience, logged_failures: LoggedFailures
) -> None:
    made: list[str] = []
    patience.callLater(5.0, lambda: 1 / 0)
    patience.callLater(5.0, made.append, "b")
    clock.advance(5)
    assert made == ["b"]
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


def test_of_many_different_times_only_so_many_are_queued_and_all_are_kept(clock: Clock, patience: Patience) -> None:
    made: list[float] = []
    delays = [1.0 + number / 1000 for number in range(2 * KINDS)]
    turns = [patience.callLater(delay, made.append, delay) for delay in reversed(delays)]
    assert len(clock.getDelayedCalls()) == KINDS + 1
    turns[0].cancel()
    for _ in delays:
        clock.advance(0.05)
    assert made == delays[:-1]
    assert clock.getDelayedCalls() == []


@pytest.fixture(params=[Deferred, Awaited])
def kind(request: pytest.FixtureRequest) -> type[Deferred[object]]:
    """What stands in the queue by itself is to its users what any Deferred is."""
    chosen: type[Deferred[object]] = request.param
    return chosen


def silent(result: object, seconds: float) -> str:
    return f"nothing for {seconds:g} s"


def test_it_is_clock_enough_for_a_timeout(clock: Clock, patience: Patience, kind: type[Deferred[object]]) -> None:
    said: list[object] = []

    def wait(seconds: float) -> Deferred[object]:
        waiting = kind()
        waiting.addTimeout(seconds, patience, onTimeoutCancel=silent)  # type: ignore[arg-type]  # enough of a clock
        return waiting.addCallback(said.append)

    wait(5.0)
    wait(5.0).callback("heard")
    assert said == ["heard"]
    clock.advance(5)
    assert said == ["heard", "nothing for 5 s"]
    assert clock.getDelayedCalls() == []


def test_a_wait_that_was_ended_in_time_is_not_ended_again(
    clock: Clock, patience: Patience, kind: type[Deferred[object]]
) -> None:
    ends: list[object] = []
    for end in (lambda waiting: waiting.errback(ZeroDivisionError()), lambda waiting: waiting.cancel()):
        waiting = kind()
        waiting.addTimeout(5.0, patience, onTimeoutCancel=silent)  # type: ignore[arg-type]  # enough of a clock
        waiting.addErrback(lambda failure: ends.append(failure.type))
        end(waiting)
    assert ends == [ZeroDivisionError, CancelledError]
    clock.advance(5)
    assert len(ends) == 2
    assert clock.getDelayedCalls() == []


def test_of_two_that_are_due_together_one_may_end_the_other(
    clock: Clock, patience: Patience, kind: type[Deferred[object]]
) -> None:
    said: list[object] = []
    first, second = kind(), kind()
    for waiting in (first, second):
        waiting.addTimeout(5.0, patience, onTimeoutCancel=silent)  # type: ignore[arg-type]  # enough of a clock
    first.addCallback(lambda _: second.callback("heard"))
    second.addCallback(said.append)
    clock.advance(5)
    assert said == ["heard"]


def test_what_goes_wrong_where_a_wait_runs_out_ends_it(
    clock: Clock, patience: Patience, kind: type[Deferred[object]]
) -> None:
    failures: list[Failure] = []
    waiting = kind()
    waiting.addTimeout(5.0, patience, onTimeoutCancel=lambda result, seconds: 1 / 0)  # type: ignore[arg-type]  # enough of a clock
    waiting.addErrback(failures.append)
    clock.advance(5)
    assert [failure.type for failure in failures] == [ZeroDivisionError]


def test_a_wait_for_which_there_is_no_queue_ends_in_time_all_the_same(
    clock: Clock, patience: Patience, kind: type[Deferred[object]]
) -> None:
    said: list[object] = []
    for number in range(KINDS):
        patience.callLater(10.0 + number, said.clear)
    waiting = kind()
    waiting.addTimeout(5.0, patience, onTimeoutCancel=silent)  # type: ignore[arg-type]  # enough of a clock
    waiting.addCallback(said.append)
    clock.advance(5)
    assert said == ["nothing for 5 s"]
