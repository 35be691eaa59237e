"""May we come back, and how late? The contract's table of endings (protocol 2.4) as pure rules.

Nothing here connects, waits or looks at a clock: an ending goes in, a verdict comes out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

FIRST: Final = 1.0  #: seconds: the first try again comes within that
LAST: Final = 60.0  #: seconds: no jitter is longer
SETTLED: Final = 60.0  #: seconds: after a session that long the delays begin anew
LONGEST_BOUND: Final = 86400.0  #: seconds: nobody can keep us away for more than a day with one word

_RETRY_AFTER = re.compile(r";\s*retry_after=(\d+(?:\.\d+)?)\s*(?:;|\Z)")
_SECONDS = re.compile(r"\s*(\d+)\s*\Z")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection, or the attempt at one, ended: as much of it as is known."""

    reached: bool = True  #: was there a connection at all?
    code: int | None = None  #: the close code; None when no close frame was seen
    reason: str = ""  #: the close reason: a word, optionally ``; retry_after=S``
    status: int | None = None  #: the HTTP status with which the upgrade was refused
    retry_after: str = ""  #: its ``Retry-After``
    detail: str = ""  #: what else was said: by an ``error`` frame, a problem, the network
    lasted: float = 0.0  #: seconds from ``registered`` to the end; 0 when it never came so far


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from an ending."""

    again: bool  #: connect again?
    at_least: float  #: seconds to wait before that, at least
    sentence: str  #: for people: why it ended, and what to do about it


class Rule(NamedTuple):
    """One line of the table."""

    again: bool
    at_least: float
    words: str


CLOSES: Final[dict[int, Rule]] = {
    1000: Rule(True, 0, "the relay ended the connection"),
    1001: Rule(True, 0, "the relay is shutting down or restarting"),
    1003: Rule(False, 0, "the relay takes no binary frames: this client must be mended"),
    1007: Rule(False, 0, "the relay was sent text that is not UTF-8: this client must be mended"),
    1009: Rule(False, 0, "the relay was sent a frame that is too large: this client must be mended"),
    4000: Rule(True, 60, "another connection holds this agent"),
    4001: Rule(False, 0, "a newer connection of this agent took its place"),
    4002: Rule(False, 0, "the relay does not accept the registration"),
    4003: Rule(False, 0, "the token does not allow this, or was revoked"),
    4004: Rule(False, 0, "the relay saw too many protocol errors: this client must be mended"),
    4005: Rule(True, 30, "an operator closed the connection"),
    4008: Rule(True, 0, "this agent read too slowly"),
    4009: Rule(True, 0, "another node of the relay holds this agent now"),
    4010: Rule(True, 0, "the token has expired"),
    4013: Rule(True, 0, "the relay is overloaded, or has no store at the moment"),
}
OTHER_CLOSE: Final = Rule(True, 0, "the connection was closed")
LOST: Final = Rule(True, 0, "the connection was lost")
UNREACHABLE: Final = Rule(True, 0, "the relay cannot be reached")

UPGRADES: Final[dict[int, Rule]] = {
    400: Rule(False, 0, "the relay does not understand the request for a connection"),
    401: Rule(False, 0, "the relay wants a valid token"),
    403: Rule(False, 0, "the relay does not allow this connection"),
    404: Rule(False, 0, "there is no relay at this address"),
    429: Rule(True, 0, "the relay takes no more connections at the moment"),
    503: Rule(True, 0, "the relay is not taking connections at the moment"),
}
OTHER_UPGRADE: Final = Rule(True, 0, "the connection was refused")


def judge(ending: Ending) -> Verdict:
    """What follows from this ending. A code that is not in the table is one to come back from."""
    rule, number = _rule_for(ending)
    said = (ending.detail or ending.reason.partition(";")[0]).strip().rstrip(".")
    sentence = rule.words + (f" ({number})" if number else "") + (f": {said}" if said else "")
    bound = max(rule.at_least, _in_reason(ending.reason), _in_header(ending.retry_after))
    return Verdict(rule.again, min(bound, LONGEST_BOUND), sentence)


def _rule_for(ending: Ending) -> tuple[Rule, str]:
    if not ending.reached:
        return UNREACHABLE, ""
    if ending.status is not None:
        return UPGRADES.get(ending.status, OTHER_UPGRADE), f"HTTP {ending.status}"
    if ending.code is None or ending.code == 1006:
        return LOST, ""
    return CLOSES.get(ending.code, OTHER_CLOSE), str(ending.code)


def _in_reason(reason: str) -> float:
    found = _RETRY_AFTER.search(reason)
    return float(found[1]) if found else 0.0


def _in_header(value: str) -> float:
    found = _SECONDS.match(value)
    return float(found[1]) if found else 0.0


class Backoff:
    """Full jitter: somewhere between nothing and 1 s, 2 s, 4 s … 60 s, added to the lower bound.

    Added, not the larger of the two: a thousand agents that were told the same bound would come back as one.
    ``chance`` gives a number from 0 up to 1.
    """

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._tries = 0

    def delay(self, at_least: float, lasted: float) -> float:
        """Seconds until the next try, after a session that lasted so long (seconds; 0 when there was none)."""
        if lasted >= SETTLED:
            self._tries = 0
        ceiling: float = min(LAST, FIRST * 2 ** min(self._tries, 10))
        self._tries += 1
        return at_least + self._chance() * ceiling
