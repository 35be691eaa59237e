"""The page about clients says what is so: its code compiles, its tables are those of the source."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from relay.client import Settings
from relay.client.policy import CLOSES, UPGRADES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_its_code_can_be_imported(block: str) -> None:
    exec(compile(block, "docs/clients.md", "exec"), {})


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table after that heading."""
    lines = PAGE.partition(heading)[2].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| ---"))
    table = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return table


def test_its_settings_are_all_there_is() -> None:
    told = [re.sub("`", "", row[0]) for row in rows("`Settings(...)`")]
    assert told == [field.name for field in dataclasses.fields(Settings)]


def test_its_table_of_endings_is_that_of_the_source() -> None:
    told: dict[int, bool] = {}
    for ending, back in rows("### Coming back"):
        told |= dict.fromkeys(map(int, re.findall(r"\b\d{3,4}\b", ending)), back.startswith("yes"))
    ours = {code: rule.again for code, rule in {**CLOSES, **UPGRADES}.items()}
    # Those that the page does not name come back, like all the rest.
    assert told == {code: again for code, again in ours.items() if code not in (1000, 429, 503)}
    assert ours[1000] and ours[429] and ours[503]


def test_its_bounds_are_those_of_the_source() -> None:
    for code, rule in CLOSES.items():
        bound = re.search(rf"\| {code} [^|]*\| yes, not before (\d+) s", PAGE)
        assert (float(bound[1]) if bound else 0.0) == rule.at_least
