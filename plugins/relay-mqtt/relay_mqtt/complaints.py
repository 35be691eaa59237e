"""One line in the log for what may come by the thousand."""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

EVERY: Final = 60.0  #: seconds between two lines; the counters know all
LONGEST: Final = 200  #: characters of a stranger's text


class Complaints:
    """Says the first of a kind, and at most one a minute after it, with how many there were in between."""

    def __init__(self, log: Logger, clock: IReactorTime) -> None:
        self._log = log
        self._clock = clock
        self._said_at = -EVERY
        self._unsaid = 0

    def say(self, text: str, **about: str) -> None:
        """``about`` are the fields of ``text``, which may be a stranger's."""
        if self._clock.seconds() - self._said_at < EVERY:
            self._unsaid += 1
            return
        self._said_at = self._clock.seconds()
        more = f" (and {self._unsaid} others since the last line)" if self._unsaid else ""
        self._unsaid = 0
        self._log.warn(text + "{more}", more=more, **{name: short(value) for name, value in about.items()})


def short(text: str) -> str:
    """A stranger's text as it may stand in a line of the log."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
