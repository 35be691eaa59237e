"""The figures as a picture: how many times as good as the peer the relay is, in CPU seconds and in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.report import Run, spread

MINE, LESS, PEER, INK = "#1f6f8b", "#b5523b", "#888888", "#222222"


class Bar(NamedTuple):
    """One of them: 2 is twice as good as the peer, 0.5 half as good."""

    label: str
    low: float
    middle: float
    high: float


def bars(run: Run) -> Iterator[Bar]:
    """What is held against the peer, in the order of the tables."""
    for letter, result in run.results.items():
        for figure in result.figures:
            ratios = result.ratios(figure)
            if figure.gated and ratios:
                yield Bar(
                    f"({letter}) {figure.label}",
                    *spread([1 / each if figure.less_is_better else each for each in ratios]),
                )


def draw(run: Run, path: Path) -> None:
    """Write ``path`` with .svg and with .png. Nothing is written if there is nothing to compare."""
    shown = list(bars(run))
    if not shown:
        return
    # Here, because only who draws needs it.
    import matplotlib

    # The same figures make the same files, and text stays text.
    matplotlib.use("agg")
    matplotlib.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 9})
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.0 + 0.32 * len(shown)), layout="constrained")
    _fill(figure.subplots(), shown)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=120, metadata={"Software": None})


def _fill(axes, shown: Sequence[Bar]) -> None:  # type: ignore[no-untyped-def]  # matplotlib is not looked into
    rows = range(len(shown))
    middles = [bar.middle for bar in shown]
    colours = [MINE if middle >= 1 else LESS for middle in middles]
    # From 1, to the right or to the left: on a scale of ratios twice and half are equally far from it.
    axes.barh(rows, [middle - 1 for middle in middles], left=1, color=colours, height=0.6)
    axes.hlines(rows, [bar.low for bar in shown], [bar.high for bar in shown], color=INK, linewidth=1)
    for row, bar in zip(rows, shown, strict=True):
        axes.annotate(f"{bar.middle:.2f}", (max(bar.high, 1), row), (4, 0), textcoords="offset points", va="center")
    axes.axvline(1, color=PEER, linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(0.125, *(bar.low * 0.8 for bar in shown)), max(2.0, *(bar.high * 1.5 for bar in shown)))
    axes.xaxis.set_major_formatter(lambda value, _at: f"{value:g}")
    axes.set_yticks(list(rows), [bar.label for bar in shown])
    axes.invert_yaxis()
    axes.set_xlabel("times as good as the peer, in CPU or memory (1 = the same)")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
