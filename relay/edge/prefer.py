"""What a publisher prefers: the ``Prefer`` header (RFC 7240)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from relay.edge.answer import Header

# The repetitions are possessive (``+`` after it): what has been read is not tried in another way, however long it is.
# But not those of what repeats something itself (tests/test_expressions.py).
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED: Final = r'"(?:[^"\\]|\\.)*+"'
_VALUE: Final = rf"(?:{_TOKEN}|{_QUOTED})?"
_PAIR: Final = rf"{_TOKEN}[ \t]*+(?:=[ \t]*+{_VALUE}[ \t]*+)?"
_PREFERENCE: Final = re.compile(rf"[ \t]*+({_TOKEN})[ \t]*+(?:=[ \t]*+({_VALUE})[ \t]*+)?(?:;[ \t]*+(?:{_PAIR})?)*")
#: One element of the list: all up to a comma that stands outside quotes. Quotes that are never closed end nowhere.
_ELEMENT: Final = re.compile(rf'(?:{_QUOTED}?|[^",]++)+')


@dataclass(frozen=True, slots=True)
class Preference:
    """What applies to this request."""

    wait: float  #: seconds
    respond_async: bool
    applied: str  #: the value of ``Preference-Applied``; empty when nothing was asked for that is known

    @property
    def headers(self) -> tuple[Header, ...]:
        """What the answer says of it."""
        return ((b"Preference-Applied", self.applied.encode("ascii")),) if self.applied else ()


def read(headers: Sequence[str], *, default: float, most: float) -> Preference:
    """What the ``Prefer`` headers ask for. ``default`` is the wait when none does, ``most`` its bound (seconds).

    Unknown and malformed preferences are ignored; of one that is given twice the first counts. ``respond-async``
    alone does not wait.
    """
    if not headers:
        return Preference(default, False, "")
    wait: int | None = None
    respond_async = False
    for name, value in _preferences(headers):
        if name == "wait" and wait is None and re.fullmatch("[0-9]+", value, re.ASCII):
            wait = _clamped(value, int(most))
        elif name == "respond-async" and not value:
            respond_async = True
    applied = ["respond-async"] if respond_async else []
    if wait is not None:
        applied.append(f"wait={wait}")
    return Preference(
        wait=float(wait) if wait is not None else 0.0 if respond_async else default,
        respond_async=respond_async,
        applied=", ".join(applied),
    )


def _clamped(digits: str, most: int) -> int:
    # The interpreter refuses to read a number of 5,000 digits.
    digits = digits.lstrip("0") or "0"
    return most if len(digits) > 9 else min(int(digits), most)


def _preferences(headers: Sequence[str]) -> Iterator[tuple[str, str]]:
    for header in headers:
        for element in _ELEMENT.findall(header):
            if match := _PREFERENCE.fullmatch(element):
                yield match[1].lower(), _word(match[2] or "")


def _word(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
