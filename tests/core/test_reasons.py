"""Why a message is queued: of several reasons that hold, the first of the contract's is said (protocol 1.1)."""

from __future__ import annotations

import itertools

import pytest

from relay.core.model import Reason
from relay.core.policy import first_reason

ORDER = ["draining", "away", "lost", "nacked", "sent", "silent", "slow", "window", "behind"]


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(ORDER, 2)))
def test_of_two_reasons_the_first_of_the_contracts_is_said(first: str, second: str) -> None:
    assert first_reason([Reason(second), Reason(first)]).value == first


def test_there_is_no_other_reason() -> None:
    assert {reason.value for reason in Reason} == set(ORDER)
