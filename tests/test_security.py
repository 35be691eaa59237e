"""The table of docs/security.md against the source: every limit, its real default, a test that is there."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from relay.core.counters import Counters
from relay.core.limits import Limits

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = re.findall(r"(?m)^\| `(\w+)` \| ([\d,.]+) \| (.+) \| `(tests/[\w/]+\.py)::(\w+)` \|$", PAGE)
LIMITS = {each.name: getattr(Limits(), each.name) for each in fields(Limits)}


@cache
def found_in(file: str) -> set[str]:
    path = ROOT / file
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.Module([], [])
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_limit_that_is_enforced_has_one_row() -> None:
    """A limit that nothing reads yet needs none."""
    rows = [name for name, *_ in ROWS]
    sources = [path for path in (ROOT / "relay").rglob("*.py") if path.name != "limits.py"]
    source = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    enforced = {name for name in LIMITS if re.search(rf"\b{name}\b", source)}
    assert len(rows) == len(set(rows))
    assert enforced <= set(rows) <= set(LIMITS)


@pytest.mark.parametrize(("name", "default", "answer", "file", "test"), ROWS, ids=lambda value: str(value)[:40])
def test_a_row_says_what_is_true(name: str, default: str, answer: str, file: str, test: str) -> None:
    assert float(default.replace(",", "")) == float(LIMITS[name])
    assert answer
    assert test in found_in(file), f"{file} has no {test}"


def test_every_limit_has_its_counter_at_nought() -> None:
    counters = Counters()
    assert counters.table() == dict.fromkeys(LIMITS, 0)
    counters.reached("payload")
    counters.reached(None)
    assert counters.table()["payload"] == 1
    with pytest.raises(KeyError):
        counters.reached("no limit")
