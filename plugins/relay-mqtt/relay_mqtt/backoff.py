"""How long to wait before the next try."""

from __future__ import annotations

from typing import Final

from relay_mqtt.ports import Random

FIRST: Final = 1.0  #: seconds after the first failure; twice that after each further one …
LONGEST: Final = 60.0  #: … up to this


def pause(failures: int, random: Random, least: float = 0.0) -> float:
    """Seconds to wait after so many failures in a row, spread; ``least`` is what the other side asked for."""
    longest = min(LONGEST, FIRST * 2.0 ** min(max(failures - 1, 0), 10))
    return max(min(least, LONGEST), random.uniform(longest / 2, longest))
