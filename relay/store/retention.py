"""How long things are remembered which nobody takes away: the numbers, the same for every store."""

from __future__ import annotations

from typing import Final

from relay.core import policy

DAY: Final = 86400.0
MIB: Final = 1024 * 1024

SEEN_SECONDS: Final = policy.SEEN_SECONDS  #: an agent that was not here for so long is forgotten
SEEN_COUNT: Final = 1_000_000  #: agents remembered at most, the ones seen last

PAST_SECONDS: Final = DAY  #: how a message ended is remembered so long after its end
PAST_COUNT: Final = 1_000_000  #: and of at most so many, the oldest end given up first
PAST_COUNT_IN_MEMORY: Final = 100_000  #: the same without a disk
REPLY_BYTES: Final = 256 * MIB  #: of replies among them

LETTER_SECONDS: Final = 14 * DAY  #: a dead letter is kept so long after its end
LETTER_COUNT: Final = 100_000  #: and at most so many, the oldest end given up first
LETTER_BYTES: Final = 256 * MIB  #: of payload

CALLBACK_COUNT: Final = 1_000_000  #: owed, or promised to messages that are queued: no more are promised
KEY_COUNT: Final = 10_000_000  #: idempotency keys; each is remembered until its time is over, so that no more are taken
