"""What is looked for. Every search here takes time in proportion to the text, or is cut off by a budget.

By RE2, which never backtracks: with ``re`` a pattern such as ``(x+x+)+y`` would stop the whole relay at forty letters.
The timeouts of other engines would do, but make a message pass or not by how busy the machine is, and a repeat must
come to the same payload.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import re2

MOST_CHARACTERS: Final = 1000  #: of a pattern
MOST_STEPS: Final = 1500  #: of the program that RE2 makes of it: the most that it may do for a byte
MOST_MATCHES: Final = 20_000  #: in one message, of all rules together: some 50 ms
MOST_READ: Final = 1 << 26  #: bytes that are read again because something may go on to the end of its line: some 0.1 s

Span = tuple[int, int]


class TooMuch(Exception):
    """A message in which more is found than may be looked at."""


class Budget:
    """What the search of one message may cost."""

    def __init__(self, matches: int = MOST_MATCHES, read: int = MOST_READ) -> None:
        self._matches = matches
        self._read = read

    def spend(self, read: int = 0) -> None:
        """Something was found, for which so many bytes beyond it were read. Raises TooMuch."""
        self._matches -= 1
        self._read -= read
        if self._matches < 0 or self._read < 0:
            raise TooMuch


#: Where the parts of a text are that are looked for, from left to right, never one within another.
Find = Callable[[bytes, Budget], Iterator[Span]]


#: A match may be of any length. (Also where these are escaped, or in brackets: then too little is allowed, never much.)
_WITHOUT_END: Final = re.compile(r"[*+]|,\}")


class BadPattern(ValueError):
    """This cannot be looked for; the text says why."""


def pattern(text: str, *, ignore_case: bool = False) -> Find:
    """A pattern of an operator's own. It is matched within each line: ``^`` and ``$`` are the ends of a line.

    Raises BadPattern.
    """
    if not 0 < len(text) <= MOST_CHARACTERS:
        raise BadPattern(f"1 to {MOST_CHARACTERS} characters")
    compiled = _compiled(text, ignore_case)
    if compiled.programsize > MOST_STEPS:
        raise BadPattern(f"a simpler pattern: it has {compiled.programsize} steps, and may have {MOST_STEPS}")
    if compiled.search(b"") is not None:
        raise BadPattern("a pattern that does not match the empty text")

    bounded = not _WITHOUT_END.search(text)

    def find(text: bytes, budget: Budget) -> Iterator[Span]:
        line_end = -1
        for match in compiled.finditer(text):
            start, end = match.span()
            if end > line_end:
                line_end = text.find(b"\n", end) % (len(text) + 1)  # -1: the end of the text
            # One that may go on for long (`a[^z]*z|a`) is read to the end of its line for each `a`.
            budget.spend(0 if bounded else line_end - end)
            if start < end:
                yield start, end

    return find


def _compiled(text: str, ignore_case: bool) -> Any:
    for anchor in (r"\A", r"\z", r"\C", r"\Q"):
        if anchor in text.replace(r"\\", ""):
            raise BadPattern(f"a pattern without {anchor}: the ends of a line are ^ and $, and a byte is no character")
    options = re2.Options()
    options.never_nl = True  # no match goes beyond a line, so no search does either
    options.never_capture = True  # which group matched is nobody's concern, and costs ten times as much
    options.case_sensitive = not ignore_case
    options.log_errors = False
    try:
        return re2.compile("(?m)" + text, options)
    except re2.error as error:
        why = error.args[0] if error.args else ""
        told = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
        raise BadPattern(f"a regular expression as RE2 has them ({told})") from None


def _ready(text: str, *, ignore_case: bool = False) -> Find:
    """A pattern whose matches cannot be read again and again: what it reads in vain holds no beginning of another."""
    compiled = _compiled(text, ignore_case)

    def find(text: bytes, budget: Budget) -> Iterator[Span]:
        for match in compiled.finditer(text):
            budget.spend()
            yield match.span()

    return find


# -- numbers of payment cards

DIGITS: Final = range(13, 20)
LONGEST: Final = 2 * DIGITS[-1]  #: characters, with what stands between the digits

_runs: Final = _ready(r"[0-9](?:[ -]?[0-9]){12,}")


def _cards(text: bytes, budget: Budget) -> Iterator[Span]:
    """Groups of digits that make a card number: 13 to 19 digits, of a known kind, with the right check digit.

    A whole group, or several: what is cut out of the middle of a longer number is none.
    """
    for start, end in _runs(text, budget):
        if start >= 2 and text[start - 1 : start] == b"." and text[start - 2 : start - 1].isdigit():
            continue  # the decimals of a number
        at = start
        while end - at >= DIGITS[0]:
            stop = _card_at(text, at, end, budget)
            if stop is not None:
                yield at, stop
            at = _next_group(text, at if stop is None else stop, end)


def _card_at(text: bytes, start: int, end: int, budget: Budget) -> int | None:
    """Where the card number ends that begins here, if one does; the longest of several."""
    if text[start : start + 1] not in b"23456":
        return None
    last = min(end, start + LONGEST)
    ends = [at for at in range(start + DIGITS[0], last + 1) if at == end or text[at] in b" -"]
    for stop in reversed(ends):
        digits = text[start:stop].translate(None, b" -")
        budget.spend()
        if len(digits) in DIGITS and luhn(digits):
            return stop
    return None


def _next_group(text: bytes, at: int, end: int) -> int:
    while at < end and text[at] not in b" -":
        at += 1
    return at + 1


_DOUBLED: Final = bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9))


def luhn(digits: bytes) -> bool:
    """Is the last digit the check digit of the others (ISO/IEC 7812-1, annex B)?"""
    values = [digit - 48 for digit in reversed(digits)]
    return (sum(values[::2]) + sum(_DOUBLED[value] for value in values[1::2])) % 10 == 0


READY: Final[dict[str, Find]] = {
    "card": _cards,
    "email": _ready(r"[A-Za-z0-9._%+'-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}"),
    "bearer": _ready(r"\bbearer[ \t]+[A-Za-z0-9._~+/-]{16,}=*", ignore_case=True),
}
