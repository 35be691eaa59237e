"""Rates: how much may happen at once, how soon one more, and how much is remembered."""

from __future__ import annotations

import pytest

from relay.core.bucket import Bucket, Rates


def test_as_many_at_once_as_a_second_brings_and_then_no_faster() -> None:
    bucket = Bucket(10)
    assert [bucket.take(0.0) for _ in range(11)] == [True] * 10 + [False]
    assert [bucket.take(0.55) for _ in range(6)] == [True] * 5 + [False]
    assert [bucket.take(100.0) for _ in range(11)] == [True] * 10 + [False]


def test_a_rate_below_one_a_second_lets_one_through_each_so_many_seconds() -> None:
    bucket = Bucket(0.25)
    assert [bucket.take(now) for now in (0.0, 1.0, 3.9, 4.0, 4.1)] == [True, False, False, True, False]


@pytest.mark.parametrize(("rate", "wait"), [(10, 0.1), (1, 1.0), (0.25, 4.0)])
def test_who_is_refused_is_told_how_long_to_wait(rate: float, wait: float) -> None:
    rates = Rates(rate, 10)
    while not (told := rates.take("a", 5.0)):
        pass
    assert told == pytest.approx(wait)
    assert rates.take("a", 5.0 + wait + 1e-6) == 0.0


def test_each_name_has_a_rate_of_its_own() -> None:
    rates = Rates(1, 10)
    assert rates.take("a", 0.0) == 0.0
    assert rates.take("a", 0.0) > 0
    assert rates.take("b", 0.0) == 0.0


def test_without_a_rate_nothing_is_refused_and_nothing_remembered() -> None:
    rates = Rates(0, 10)
    assert not any(rates.take("a", 0.0) for _ in range(1000))
    assert len(rates) == 0


def test_of_too_many_names_the_one_that_was_quiet_for_longest_is_forgotten() -> None:
    rates = Rates(1, 2)
    assert rates.take("noisy", 0.0) == 0.0
    for number in range(1000):
        assert rates.take(f"once-{number}", 0.0) == 0.0
        assert rates.take("noisy", 0.0) > 0
    assert len(rates) == 2
