"""Who failed how often, by address, in a bounded table."""

from __future__ import annotations

import pytest

from relay.core.failures import Failures
from relay.core.limits import Limits

TEN = range(10)


def counted(failures: Failures, *peers: str, now: float = 0.0) -> list[float]:
    return [failures.count(peer, now) for peer in peers]


def test_the_tenth_failure_in_a_minute_and_those_after_it_are_late() -> None:
    failures = Failures(Limits())
    assert [failures.count("192.0.2.7:5000", 6.0 * number) for number in range(12)] == [0] * 9 + [1] * 3
    assert failures.count("192.0.2.7:5000", 200.0) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.7:1", "192.0.2.7:2", True),
        ("192.0.2.7:1", "192.0.2.8:1", False),
        ("[2001:db8::1]:1", "[2001:db8::ffff:1]:2", True),
        ("[2001:db8::1]:1", "[2001:db8:0:1::1]:1", False),
        ("[::ffff:192.0.2.7]:1", "192.0.2.7:9", True),
        ("unix", "unix", True),
    ],
)
def test_failures_are_counted_by_who_has_the_address(one: str, other: str, same: bool) -> None:
    failures = Failures(Limits())
    assert counted(failures, *[one] * 9) == [0] * 9
    assert counted(failures, other) == [1.0 if same else 0.0]


def test_of_too_many_addresses_the_one_unheard_of_longest_is_forgotten() -> None:
    failures = Failures(Limits(auth_addresses=2))
    counted(failures, *["192.0.2.1:1"] * 9)
    counted(failures, *["192.0.2.2:1"] * 9)
    assert counted(failures, "192.0.2.1:1") == [1]
    counted(failures, "192.0.2.3:1")
    assert counted(failures, "192.0.2.1:1") == [1]
    assert counted(failures, "192.0.2.2:1") == [0]
