"""An alarm that is moved often and rings seldom."""

from __future__ import annotations

import weakref

import pytest
from twisted.internet.task import Clock

from relay.edge.deadline import Deadline


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rung() -> list[float]:
    return []


@pytest.fixture
def deadline(clock: Clock, rung: list[float]) -> Deadline:
    return Deadline(clock, lambda: rung.append(clock.seconds()))


def run(clock: Clock, seconds: int) -> None:
    clock.pump([0.5] * (2 * seconds))


def test_it_rings_once_at_its_time(clock: Clock, deadline: Deadline, rung: list[float]) -> None:
    deadline.after(10)
    assert deadline.is_set
    run(clock, 60)
    assert rung == [10.0]
    assert not deadline.is_set


def test_moved_later_it_rings_later_by_the_same_timer(clock: Clock, deadline: Deadline, rung: list[float]) -> None:
    deadline.after(10)
    run(clock, 5)
    deadline.after(10)
    deadline.after(20)
    assert len(clock.getDelayedCalls()) == 1
    run(clock, 60)
    assert rung == [25.0]


def test_moved_sooner_it_rings_sooner(clock: Clock, deadline: Deadline, rung: list[float]) -> None:
    deadline.after(60)
    deadline.after(10)
    run(clock, 120)
    assert rung == [10.0]


def test_cleared_it_does_not_ring_and_can_be_set_again(clock: Clock, deadline: Deadline, rung: list[float]) -> None:
    deadline.after(10)
    deadline.clear()
    run(clock, 20)
    assert rung == []
    deadline.after(10)
    run(clock, 20)
    assert rung == [30.0]


def test_a_time_that_has_passed_rings_in_the_next_turn(clock: Clock, deadline: Deadline, rung: list[float]) -> None:
    run(clock, 5)
    deadline.at(3.0)
    assert rung == []
    clock.advance(0)
    assert rung == [5.0]


def test_stopped_it_leaves_no_timer(clock: Clock, deadline: Deadline, rung: list[float]) -> None:
    deadline.after(10)
    deadline.clear()
    deadline.stop()
    assert clock.getDelayedCalls() == []
    run(clock, 20)
    assert rung == []


def test_stopped_it_lets_go_of_what_it_would_have_rung_for(clock: Clock) -> None:
    def ring() -> None: ...

    held = weakref.ref(ring)
    deadline = Deadline(clock, ring)
    del ring
    deadline.after(10)
    deadline.stop()
    assert held() is None
