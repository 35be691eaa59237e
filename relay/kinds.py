"""What the value of a setting may be: how it is read, and how that is said to people."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from relay.core.limits import GIB, KIB, MIB
from relay.core.webhooks import read_secret


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value may be: ``parse`` raises ValueError for all else, and ``allowed`` says it in words."""

    parse: Callable[[Any], Any]
    allowed: str
    secret: bool = False  #: it is never shown


def number(low: float, high: float, allowed: str) -> Kind:
    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        figure = float(value)
        if not math.isfinite(figure) or not low <= figure <= high:
            raise ValueError
        return figure

    return Kind(parse, allowed)


def seconds(low: float, high: float) -> Kind:
    return number(low, high, f"seconds from {low:g} to {high:g}")


def rate(low: float, high: float) -> Kind:
    return number(low, high, f"a number a second from {low:g} to {high:g}")


def whole(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value):
        return int(value)
    raise ValueError


def count(low: int, high: int) -> Kind:
    def parse(value: Any) -> int:
        figure = whole(value)
        if not low <= figure <= high:
            raise ValueError
        return figure

    return Kind(parse, f"a whole number from {low} to {high}")


UNITS: Final = {"KiB": KIB, "MiB": MIB, "GiB": GIB}


def size(low: int, high: int) -> Kind:
    def parse(value: Any) -> int:
        factor = 1
        if isinstance(value, str) and value[-3:] in UNITS:
            value, factor = value[:-3].rstrip(), UNITS[value[-3:]]
        figure = whole(value) * factor
        if not low <= figure <= high:
            raise ValueError
        return figure

    return Kind(parse, f"bytes from {low} to {high}, as a whole number or like 64KiB, 2MiB, 1GiB")


def choice(*words: str) -> Kind:
    def parse(value: Any) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return Kind(parse, "one of " + ", ".join(words))


def text(pattern: str, allowed: str) -> Kind:
    def parse(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError
        return value

    return Kind(parse, allowed)


def several(each: Kind, allowed: str, least: int = 0) -> Kind:
    """A list of strings; one string is split at its blanks, as the environment needs it."""

    def parse(value: Any) -> tuple[str, ...]:
        items = value.split() if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or len(items) < least:
            raise ValueError
        return tuple(each.parse(item) for item in items)

    return Kind(parse, allowed, each.secret)


def signing_secret() -> Kind:
    """A secret that callbacks are signed with; its value is the bytes."""

    def parse(value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str):
            raise ValueError
        return read_secret(value)

    return Kind(parse, "", secret=True)


def flag() -> Kind:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}

    def parse(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        if not isinstance(value, str) or value.lower() not in words:
            raise ValueError
        return words[value.lower()]

    return Kind(parse, "true or false")


def shown(url: str) -> str:
    """A URL as it may stand in a log: without the password, whether it comes before the host or as a parameter."""
    return re.sub(r"([?&]password=)[^&#]*", r"\1***", re.sub(r"(//[^/?#:@]*):.*@", r"\1:***@", url))
