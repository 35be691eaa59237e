"""What was measured, for people and for programs: min, median and max over the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import msgspec

from bench.workloads import WORKLOADS, Sample, Sizes

WIDTH = 36


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
    samples: dict[str, list[Sample]] = msgspec.field(default_factory=dict)

    def values(self, server: str, key: str) -> list[float]:
        return [sample.figures[key] for sample in self.samples[server]]

    def ratios(self, key: str) -> list[float]:
        """The relay's figure over the peer's of the same round."""
        pairs = zip(self.values("relay", key), self.values("peer", key), strict=True)
        return [mine / theirs for mine, theirs in pairs if theirs]

    @property
    def compared(self) -> bool:
        return {"relay", "peer"} <= self.samples.keys()

    @property
    def title(self) -> str:
        return WORKLOADS[self.workload].title.format(**msgspec.structs.asdict(self.sizes))

    def text(self) -> str:
        """A table for people."""
        lines = [f"({self.workload}) {self.title}", f"{'':{WIDTH}}{'min':>12}{'median':>12}{'max':>12}"]
        figures = WORKLOADS[self.workload].figures
        for server in self.samples:
            lines.append(server)
            lines += [row(each.label, self.values(server, each.key), each.form) for each in figures]
            lines += self._oddities(server)
        if self.compared:
            lines.append("relay / peer")
            lines += [row(each.label, self.ratios(each.key), ".2f") for each in figures if each.ratio]
        return "\n".join(lines)

    def document(self) -> dict[str, object]:
        """The same for programs."""
        figures = WORKLOADS[self.workload].figures
        told: dict[str, object] = {"title": self.title}
        for server, samples in self.samples.items():
            summary = {each.key: spread(self.values(server, each.key))._asdict() for each in figures}
            told[server] = {"summary": summary, "samples": msgspec.to_builtins(samples)}
        if self.compared:
            told["ratio"] = {e.key: spread(self.ratios(e.key))._asdict() for e in figures if e.ratio}
        return told

    def _oddities(self, server: str) -> list[str]:
        """What did not go as it should: to be read beside every figure."""
        lines = []
        for sample in self.samples[server]:
            for what, count in {**sample.other, **sample.retries}.items():
                lines.append(f"  {count} x {what}")
        return lines


def row(label: str, values: Sequence[float], form: str) -> str:
    if not values:
        return f"  {label:{WIDTH - 2}}{'-':>12}"
    return f"  {label:{WIDTH - 2}}" + "".join(f"{value:>12{form}}" for value in spread(values))
