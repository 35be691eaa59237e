"""The table of endings and the delays, without any connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.client.policy import LONGEST_BOUND, Backoff, Ending, judge

# Written down here once more, from the contract: the table under test must agree with it.
FOR_GOOD = {1003, 1007, 1009, 4001, 4002, 4003, 4004}
NOT_BEFORE = {4000: 60.0, 4005: 30.0}
UPGRADES_FOR_GOOD = {400, 401, 403, 404}


@given(st.integers(1000, 4999))
def test_every_close_code_is_judged_as_the_contract_says(code: int) -> None:
    verdict = judge(Ending(code=code, reason="word"))
    assert verdict.again == (code not in FOR_GOOD)
    assert verdict.at_least == NOT_BEFORE.get(code, 0.0)


@given(st.integers(200, 599))
def test_every_refused_upgrade_is_judged_as_the_contract_says(status: int) -> None:
    assert judge(Ending(status=status)).again == (status not in UPGRADES_FOR_GOOD)


@pytest.mark.parametrize(
    ("reason", "bound"),
    [
        ("draining; retry_after=12", 12.0),
        ("draining;retry_after=1.5", 1.5),
        ("draining; retry_after=12; node=b", 12.0),
        ("draining; retry_after=-1", 0.0),
        ("draining; retry_after=soon", 0.0),
        ("retry_after=12", 0.0),
        ("", 0.0),
        ("draining; retry_after=" + "9" * 400, LONGEST_BOUND),
    ],
)
def test_retry_after_in_a_reason_is_a_lower_bound(reason: str, bound: float) -> None:
    assert judge(Ending(code=1001, reason=reason)).at_least == bound


def test_the_larger_of_two_bounds_counts() -> None:
    assert judge(Ending(code=4000, reason="duplicate; retry_after=7")).at_least == 60
    assert judge(Ending(code=4000, reason="duplicate; retry_after=77")).at_least == 77


@pytest.mark.parametrize(("value", "bound"), [("30", 30.0), (" 7 ", 7.0), ("", 0.0), ("later", 0.0), ("-3", 0.0)])
def test_retry_after_of_an_upgrade_is_a_lower_bound(value: str, bound: float) -> None:
    assert judge(Ending(status=503, retry_after=value)).at_least == bound


@given(st.integers(1000, 4999), st.text(max_size=20))
def test_every_verdict_has_a_sentence(code: int, reason: str) -> None:
    sentence = judge(Ending(code=code, reason=reason)).sentence
    assert len(sentence) > 15
    assert sentence[0].islower()


def test_what_was_said_is_told_rather_than_the_word() -> None:
    assert judge(Ending(code=4002, reason="unregistered")).sentence.endswith("(4002): unregistered")
    assert judge(Ending(code=4002, reason="unregistered", detail="no agent")).sentence.endswith("(4002): no agent")


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=12, max_size=12))
def test_jitter_is_full_and_never_more_than_a_minute(chances: list[float]) -> None:
    numbers = iter(chances)
    backoff = Backoff(lambda: next(numbers))
    for tries, chance in enumerate(chances):
        assert backoff.delay(0, 0) == chance * min(60, 2**tries)


def test_jitter_comes_on_top_of_a_bound() -> None:
    assert Backoff(lambda: 0.0).delay(30, 0) == 30
    assert Backoff(lambda: 1.0).delay(30, 0) == 31


def test_a_session_of_a_minute_lets_the_delays_begin_anew() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.delay(0, lasted) for lasted in (0, 0, 59.9, 60, 0)] == [1, 2, 4, 1, 2]
