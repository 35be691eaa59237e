"""Many come at once: some pass in each turn, in order, and every one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from twisted.internet.task import Clock

from relay.hub.turnstile import CALM_SECONDS, Turnstile
from tests.conftest import LoggedFailures

AT_ONCE = 4


class Turns(Clock):
    """A clock that makes of a call only what was due when its turn began, as the reactor does."""

    def turn(self) -> None:
        due, self.calls = self.calls, []
        for call in due:
            call.func(*call.args, **call.kw)


@pytest.fixture
def clock() -> Turns:
    return Turns()


@pytest.fixture
def made() -> list[int]:
    return []


@pytest.fixture
def come(clock: Turns, made: list[int]) -> Callable[[int], list[bool]]:
    """So many come within one turn; did each pass at once?"""
    turnstile, numbers = Turnstile(clock, AT_ONCE), iter(range(10_000))
    return lambda count: [turnstile.passes(partial(made.append, next(numbers))) for _ in range(count)]


def test_a_few_pass_at_once(clock: Turns, made: list[int], come: Callable[[int], list[bool]]) -> None:
    assert come(AT_ONCE) == [True] * AT_ONCE
    assert made == list(range(AT_ONCE))
    assert clock.getDelayedCalls() == []


def test_of_many_each_turn_takes_some_in_order(
    clock: Turns, made: list[int], come: Callable[[int], list[bool]]
) -> None:
    assert come(3 * AT_ONCE + 1)[AT_ONCE:] == [False] * (2 * AT_ONCE + 1)
    counts = [len(made)]
    while clock.getDelayedCalls():
        clock.turn()
        counts.append(len(made))
    assert counts == [AT_ONCE, 2 * AT_ONCE, 3 * AT_ONCE, 3 * AT_ONCE + 1]
    assert made == list(range(3 * AT_ONCE + 1))


def test_who_comes_behind_a_crowd_waits_behind_it(
    clock: Turns, made: list[int], come: Callable[[int], list[bool]]
) -> None:
    come(2 * AT_ONCE)
    clock.rightNow += CALM_SECONDS
    assert come(1) == [False]
    clock.turn()
    clock.turn()
    assert made == list(range(2 * AT_ONCE + 1))


def test_after_a_calm_there_may_be_as_many_again(
    clock: Turns, made: list[int], come: Callable[[int], list[bool]]
) -> None:
    come(AT_ONCE)
    clock.advance(CALM_SECONDS)
    assert come(AT_ONCE) == [True] * AT_ONCE


def test_one_that_goes_wrong_keeps_nobody_from_passing(clock: Turns, logged_failures: LoggedFailures) -> None:
    turnstile, made = Turnstile(clock, 1), list[str]()
    turnstile.passes(lambda: None)
    turnstile.passes(lambda: 1 / 0)
    turnstile.passes(lambda: made.append("the last"))
    clock.turn()
    clock.turn()
    assert made == ["the last"]
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
