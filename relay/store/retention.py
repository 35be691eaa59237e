"""How long things are remembered which nobody takes away, and how much of them: the same for every store."""

from __future__ import annotations

from typing import Final

from relay.core import policy
from relay.core.limits import Limits
from relay.core.model import Value

SEEN_SECONDS: Final = policy.SEEN_SECONDS  #: an agent that was not here for so long is forgotten
SEEN_COUNT: Final = 1_000_000  #: agents remembered at most, the ones seen last

ENDED_COUNT_IN_MEMORY: Final = 100_000  #: ends that are remembered at most where there is no disk


class Bounds(Value, frozen=True):
    """How much is kept. Past the first two what is new is refused; of the rest the oldest is given up first."""

    keys: int  #: idempotency keys; each is remembered until its time is over
    callbacks: int  #: owed, or promised to messages that are queued
    ended_seconds: float  #: how a message ended is remembered so long after its end
    ended_count: int
    ended_bytes: int  #: of replies
    letter_seconds: float  #: a dead letter is kept so long after its end
    letter_count: int
    letter_bytes: int  #: of payload


def bounds_of(limits: Limits) -> Bounds:
    """As they are configured."""
    return Bounds(
        keys=limits.keys,
        callbacks=limits.callbacks,
        ended_seconds=limits.ended_seconds,
        ended_count=limits.ended_count,
        ended_bytes=limits.ended_bytes,
        letter_seconds=limits.letter_seconds,
        letter_count=limits.letter_count,
        letter_bytes=limits.letter_bytes,
    )


DEFAULTS: Final = bounds_of(Limits())
