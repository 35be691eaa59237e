"""Names of messages: of their time, and unguessable."""

from __future__ import annotations

import uuid
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from relay.core.ids import message_id, message_ids

times = st.floats(0, 4e9)


@given(times, st.integers(1, 5), st.integers())
def test_ids_of_several_messages_are_those_of_one(now: float, count: int, seed: int) -> None:
    made = message_ids(now, count, Random(seed).getrandbits)
    assert len(set(made)) == count
    for text in [*made, message_id(now, Random(seed).getrandbits(74))]:
        id = uuid.UUID(text)
        assert str(id) == text
        assert (id.version, id.variant) == (7, uuid.RFC_4122)
        assert id.int >> 80 == int(now * 1000)


def test_every_digit_that_is_left_to_chance_takes_every_value() -> None:
    made = message_ids(1.0, 2000, Random(1).getrandbits)
    seen = [{id[n] for id in made} for n in range(36)]
    assert all(seen[n] == set("0123456789abcdef") for n in range(15, 36) if n not in (18, 19, 23))
    assert seen[19] == set("89ab")
