"""Regular expressions mean the same in every Python that the relay runs on, read from the modules themselves."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest

import relay


def expressions() -> Iterator[Any]:
    for module in pkgutil.walk_packages(relay.__path__, "relay."):
        if module.name.endswith(("__main__", ".tap")):
            continue  # starts a program
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern):
                yield pytest.param(value, id=f"{module.name}.{name}")


def nests(parsed: Any, within: bool = False) -> bool:
    """Is there a repetition within a possessive one?"""
    for operator, argument in parsed:
        if within and "REPEAT" in str(operator):
            return True
        possessive = str(operator) in ("POSSESSIVE_REPEAT", "ATOMIC_GROUP")
        if any(nests(part, within or possessive) for part in parts(argument)):
            return True
    return False


def parts(argument: Any) -> Iterator[Any]:
    if isinstance(argument, re._parser.SubPattern):
        yield argument
    elif isinstance(argument, tuple | list):
        for each in argument:
            yield from parts(each)


def parsed(pattern: str) -> Any:
    return re._parser.parse(pattern)


@pytest.mark.parametrize("expression", [*expressions()])
def test_nothing_that_is_repeated_possessively_has_a_repetition_in_it(expression: re.Pattern[Any]) -> None:
    """Up to Python 3.11.4 (Debian 12 has 3.11.2) ``(?:ab+)?+`` matches the ``a`` of ``ac``."""
    text = expression.pattern
    assert not nests(parsed(text.decode("latin-1") if isinstance(text, bytes) else text))


@pytest.mark.parametrize(
    ("pattern", "wrong"), [("(?:ab++)?+", True), ("(?>a(b|c*))", True), ("(?:ab++)?(?:c|de)*+", False)]
)
def test_it_is_seen_where_something_has(pattern: str, wrong: bool) -> None:
    assert nests(parsed(pattern)) is wrong
