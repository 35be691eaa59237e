"""Noise at both doors in memory: the hot path and the general one make the same of it, to the last byte.

``tests/faults/test_fuzz.py`` sends far more of it to a real relay; here each answer is held against another reader's.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.edge.test_both_doors import NAMES, Stage
from tests.faults.noise import Conversations, Requests

REQUESTS = Requests([None, "unasked-for"], NAMES, "nobody")
CONVERSATIONS = Conversations(NAMES, "nobody")


def in_segments(data: bytes, chance: Random) -> list[bytes]:
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice([0, 0, 1, 1, 3])))
    return [data[begin:end] for begin, end in pairwise([0, *cuts, len(data)])]


def play(seed: int, *, fast: bool) -> dict[str, object]:
    stage, chance = Stage(fast=fast), Random(seed)
    for _ in range(chance.randint(1, 4)):
        if chance.random() < 0.7:
            client = chance.choice(stage.publishers)
            segments = in_segments(REQUESTS.spoiled(chance), chance)
        else:
            # What follows the upgrade; the upgrade itself was made with a key of its own.
            client = chance.choice(stage.agents)
            talk = CONVERSATIONS.spoiled(0, "one", None, chance.choice([1, 3]), chance)
            segments = in_segments(talk.partition(b"\r\n\r\n")[2], chance)
        for segment in segments:
            client.send(segment)
    return stage.record()


@settings(max_examples=max(20, settings().max_examples // 5))
@given(st.integers(0, 2**64 - 1))
def test_what_is_made_of_noise_does_not_depend_on_the_path(seed: int) -> None:
    assert play(seed, fast=True) == play(seed, fast=False)
