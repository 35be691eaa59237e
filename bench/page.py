"""Puts the figures of a whole run into docs/performance.md, so that nobody copies them by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.report import Result, Run, spread
from bench.targets import TARGETS

PAGE: Final = Path(__file__).parents[1] / "docs" / "performance.md"
PLOT: Final = "performance"  #: the name of the pictures beside the page, without .svg and .png
BEGIN: Final = "<!-- from here on written by `make bench` -->\n"
END: Final = "<!-- to here -->\n"


def renew(page: str, run: Run) -> str:
    """The page with these figures in place of the old ones. Raises ValueError if it has no place for them."""
    place = re.compile(re.escape(BEGIN) + ".*" + re.escape(END), re.DOTALL)
    if not place.search(page):
        raise ValueError(f"the page has no lines {BEGIN.strip()!r} and {END.strip()!r}")
    parts = [facts(run.about), PICTURE, wanted(run.results), *map(table, run.results.values())]
    figures = "\n".join(parts)
    return place.sub(lambda _: f"{BEGIN}\n{figures}\n{END}", page)


PICTURE: Final = (
    f"[![How much better the relay is than the peer]({PLOT}.svg)]({PLOT}.png)\n\n"
    "Bars: how many times as good as the peer, in CPU or memory; lines: from the worst round to the best.\n"
)


def facts(about: Mapping[str, object]) -> str:
    """Where and when, in a sentence."""
    return (
        f"{str(about['when'])[:10]}, version {about['commit']}: {about['cores']} cores of {about['processor']}, "
        f"{about['kernel']}, Python {about['python']}, Node {about['node']}, "
        f"load of others before the run {about['load']}. The tables give min · **median** · max over the rounds.\n"
    )


def wanted(results: Mapping[str, Result]) -> str:
    """What is to be reached, and what was."""
    lines = ["### What is to be reached\n", "| | figure (median) | reach | aim | measured | |"]
    lines.append("| --- | --- | ---: | ---: | ---: | --- |")
    for target in TARGETS:
        result = results.get(target.workload)
        found = target.found(result) if result else None
        if found is not None:
            cells = [target.workload, target.label, target.told(target.reach), target.told(target.aim)]
            lines.append("| " + " | ".join([*cells, target.told(found), target.verdict(found)]) + " |")
    return "\n".join(lines) + "\n"


def table(result: Result) -> str:
    """A workload's figures, a row each, and what went wrong."""
    servers = list(result.samples)
    compared = any(result.ratios(figure) for figure in result.figures)
    heads = [*servers, "relay / peer"] if compared else servers
    rounds = max(map(len, result.samples.values()))
    lines = [f"### ({result.workload}) {result.title}\n", f"{rounds} round{'s' * (rounds > 1)} each.\n"]
    lines += ["| | " + " | ".join(heads) + " |", "| --- |" + " ---: |" * len(heads)]
    for figure in result.figures:
        cells = [cell(result.values(server, figure.key), figure.form) for server in servers]
        if compared:
            cells.append(cell(result.ratios(figure), ".2f"))
        lines.append(f"| {figure.label} | " + " | ".join(cells) + " |")
    for server in servers:
        odd = result.oddities(server)
        if odd:
            lines.append(f"\nAt the {server}: " + ", ".join(f"{count} x {what}" for what, count in odd.items()) + ".")
    return "\n".join(lines) + "\n"


def cell(values: Sequence[float], form: str) -> str:
    if not values:
        return ""
    low, middle, high = (f"{value:{form}}" for value in spread(values))
    return f"{low} · **{middle}** · {high}" if len(values) > 1 else f"**{middle}**"
