"""The gate: has the relay become slower, beside the same peer, than when figures were last landed?

Only what the wall clock has no part in is held: CPU seconds and memory, over the peer's of the same rounds. A
processor that is slower today is slower for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Final

from bench.report import Result, Run

MARGIN: Final = 0.15  #: a ratio's median may be worse by this part of the landed one: from run to run it varies so much


def falls(landed: Run, run: Run, margin: float = MARGIN) -> list[str]:
    """What has become worse by more than the margin, a sentence each."""
    return [
        sentence
        for letter, result in run.results.items()
        if comparable(landed, result)
        for sentence in _falls(landed.results[letter], result, margin)
    ]


def comparable(landed: Run, result: Result) -> bool:
    """Are there landed figures of the same workload in the same sizes?"""
    return result.workload in landed.results and landed.results[result.workload].sizes == result.sizes


def _falls(landed: Result, result: Result, margin: float) -> Iterator[str]:
    for figure in result.figures:
        before, now = landed.ratios(figure), result.ratios(figure)
        if not figure.gated or not before or not now:
            continue
        was, is_now = median(before), median(now)
        kept = was / is_now if figure.less_is_better else is_now / was
        if kept < 1 - margin:
            yield (
                f"({result.workload}) {figure.label}: {is_now:.2f} of the peer's, where {was:.2f} was landed: "
                f"{1 - kept:.0%} worse, and {margin:.0%} is allowed"
            )
