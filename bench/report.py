"""What was measured, for people and for programs: min, median and max over the rounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from bench.job import Sample, Sizes
from bench.workload import Figure
from bench.workloads import WORKLOADS

WIDTH = 58


class Spread(NamedTuple):
    """One figure over all rounds."""

    min: float
    median: float
    max: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(min(values), median(values), max(values))


class Result(msgspec.Struct):
    """A workload's samples by server, one a round."""

    workload: str
    sizes: Sizes
    samples: dict[str, list[Sample]] = {}

    @property
    def title(self) -> str:
        return WORKLOADS[self.workload].title.format(**msgspec.structs.asdict(self.sizes))

    @property
    def figures(self) -> tuple[Figure, ...]:
        return WORKLOADS[self.workload].figures

    def values(self, server: str, key: str) -> list[float]:
        """A figure of a server, round by round; nothing where it has none."""
        return [sample.figures[key] for sample in self.samples.get(server, []) if key in sample.figures]

    def ratios(self, figure: Figure) -> list[float]:
        """The relay's figure over the peer's of the same round; nothing where they are not compared."""
        pairs = zip(self.values("relay", figure.key), self.values("peer", figure.against), strict=False)
        return [mine / theirs for mine, theirs in pairs if theirs]

    def oddities(self, server: str) -> dict[str, int]:
        """What did not go as it should, in all rounds: to be read beside every figure."""
        odd: dict[str, int] = {}
        for sample in self.samples[server]:
            for what, count in (sample.other | sample.retries).items():
                odd[what] = odd.get(what, 0) + count
        return odd

    def text(self) -> str:
        """A table for people."""
        lines = [f"({self.workload}) {self.title}", f"{'':{WIDTH}}{'min':>12}{'median':>12}{'max':>12}"]
        for server in self.samples:
            lines.append(server)
            lines += [row(each.label, values, each.form) for each, values in self._told(server)]
            lines += [f"  {count} x {what}" for what, count in self.oddities(server).items()]
        ratios = [(each, self.ratios(each)) for each in self.figures]
        if any(values for _, values in ratios):
            lines.append("relay / peer")
            lines += [row(each.label, values, ".2f") for each, values in ratios if values]
        return "\n".join(lines)

    def summary(self) -> dict[str, dict[str, dict[str, float]]]:
        """Min, median and max of every figure and ratio, for programs."""
        told = {
            server: {each.key: spread(values)._asdict() for each, values in self._told(server)}
            for server in self.samples
        }
        ratios = ((each.key, self.ratios(each)) for each in self.figures)
        return {**told, "ratio": {key: spread(values)._asdict() for key, values in ratios if values}}

    def _told(self, server: str) -> Iterator[tuple[Figure, list[float]]]:
        for figure in self.figures:
            if values := self.values(server, figure.key):
                yield figure, values


class Run(msgspec.Struct):
    """Everything that was measured at one go."""

    about: dict[str, str | int | float]
    results: dict[str, Result] = {}

    def write(self, path: Path) -> None:
        """As JSON: every sample, and what they come to."""
        summary = {letter: result.summary() for letter, result in self.results.items()}
        document = {"about": self.about, "summary": summary, "results": self.results}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")

    @classmethod
    def read(cls, path: Path) -> Run:
        """What ``write`` wrote. Raises OSError, or msgspec.DecodeError for a file that is none of ours."""
        return msgspec.json.decode(path.read_bytes(), type=cls)


def row(label: str, values: Sequence[float], form: str) -> str:
    return f"  {label:{WIDTH - 2}}" + "".join(f"{value:>12{form}}" for value in spread(values))
