"""Puts the figures of a whole run into docs/performance.md, so that nobody copies them by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.report import Result, spread
from bench.workloads import WORKLOADS

PAGE: Final = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN: Final = "<!-- from here on written by `make bench` -->\n"
END: Final = "<!-- to here -->\n"


def renew(page: str, about: Mapping[str, object], results: Sequence[Result]) -> str:
    """The page with these figures in place of the old ones. Raises ValueError if it has no place for them."""
    place = re.compile(re.escape(BEGIN) + ".*" + re.escape(END), re.DOTALL)
    if not place.search(page):
        raise ValueError(f"the page has no lines {BEGIN.strip()!r} and {END.strip()!r}")
    figures = "\n".join([facts(about), *map(table, results)])
    return place.sub(lambda _: f"{BEGIN}\n{figures}\n{END}", page)


def facts(about: Mapping[str, object]) -> str:
    """Where and when, in a sentence."""
    return (
        f"{str(about['when'])[:10]}, version {about['commit']}: {about['cores']} cores of {about['processor']}, "
        f"{about['kernel']}, Python {about['python']}, Node {about['node']}, "
        f"load of others {about['load']}; {about['rounds']} rounds, min · **median** · max.\n"
    )


def table(result: Result) -> str:
    """A workload's figures, a row each."""
    servers = list(result.samples)
    heads = [*servers, "relay / peer"] if result.compared else servers
    lines = [f"### ({result.workload}) {result.title}\n", "| | " + " | ".join(heads) + " |"]
    lines.append("| --- |" + " ---: |" * len(heads))
    for figure in WORKLOADS[result.workload].figures:
        cells = [cell(result.values(server, figure.key), figure.form) for server in servers]
        if result.compared:
            cells.append(cell(result.ratios(figure.key), ".2f") if figure.ratio else "")
        lines.append(f"| {figure.label} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(values: Sequence[float], form: str) -> str:
    if not values:
        return ""
    low, middle, high = spread(values)
    return f"{low:{form}} · **{middle:{form}}** · {high:{form}}"
