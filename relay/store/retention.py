"""How long things are remembered which nobody takes away: the numbers, the same for every store."""

from __future__ import annotations

from typing import Final

DAY: Final = 86400.0

SEEN_SECONDS: Final = 30 * DAY  #: an agent that was not here for so long is forgotten
SEEN_COUNT: Final = 1_000_000  #: agents remembered at most, the ones seen last

ENDED_SECONDS: Final = 14 * DAY  #: a message that did not end well is kept so long after its end
ENDED_COUNT: Final = 100_000  #: and at most so many, the oldest end given up first
ENDED_BYTES: Final = 256 * 1024 * 1024  #: of payload
