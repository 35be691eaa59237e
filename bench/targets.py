"""What the relay is meant to reach: shown beside what it does reach."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.report import Result


@dataclass(frozen=True)
class Target:
    """A figure to reach, and one to aim for after that."""

    workload: str
    label: str
    key: str
    reach: float
    aim: float | None = None
    form: str = ",.0f"
    ratio: bool = False  #: is it the figure over the peer's?
    over: str = ""  #: or over another figure of the relay?
    less_is_better: bool = False

    def found(self, result: Result) -> float | None:
        """What was measured: the median; None where it was not."""
        if self.ratio:
            figure = next(each for each in result.figures if each.key == self.key)
            values = result.ratios(figure)
        else:
            values = result.values("relay", self.key)
        if not values:
            return None
        if self.over:
            return median(values) / median(result.values("relay", self.over))
        return median(values)

    def verdict(self, found: float) -> str:
        """In a word."""
        if self._is_met(found, self.reach):
            return "aim reached" if self.aim is not None and self._is_met(found, self.aim) else "reached"
        return "**not reached**"

    def told(self, value: float | None) -> str:
        return "" if value is None else f"{value:{self.form}}"

    def _is_met(self, found: float, wanted: float) -> bool:
        return found <= wanted if self.less_is_better else found >= wanted


def ratio(workload: str, label: str, key: str, reach: float, aim: float | None = None) -> Target:
    return Target(workload, f"{label}, relay over peer", key, reach, aim, ".2f", ratio=True)


TARGETS: Final = (
    ratio("a", "round trips per CPU second, 32 publishers", "32.per_cpu_second", 1.3, 2.0),
    ratio("b", "batch, confirmed, per CPU second", "batch.per_cpu_second", 5.0, 8.0),
    ratio("b", "publish, 10 under way, per CPU second", "publish10.per_cpu_second", 2.5, 4.0),
    ratio("b", "publish, 100 under way, per CPU second", "publish100.per_cpu_second", 2.5, 4.0),
    Target("c", "durable by batch, messages per CPU second", "batch.per_cpu_second", 40_000, 80_000),
    Target("c", "durable by 256 publishers, messages per CPU second", "256.per_cpu_second", 10_000, 20_000),
    Target("d", "drain to 1 agent, messages per CPU second", "batch1.per_cpu_second", 20_000, 50_000),
    Target("d", "drain to 100 agents, messages per CPU second", "batch100.per_cpu_second", 20_000, 50_000),
    Target("e", "bytes of memory an idle agent", "bytes", 6144, 3072, less_is_better=True),
    Target("e", "heartbeat of all, % of a core", "heartbeat", 3.0, None, ".2f", less_is_better=True),
    Target("f", "seconds until all are back", "seconds", 10.0, 5.0, ".2f", less_is_better=True),
    Target("f", "connections refused but by 4013", "broken", 0.0, less_is_better=True),
    Target("f", "POSTs to others meanwhile: p99, ms", "others.p99", 250.0, None, ".1f", less_is_better=True),
    Target("g", "p99 at half load, relay over peer", "alone.p99", 1.0, None, ".2f", ratio=True, less_is_better=True),
    Target("g", "p99 beside durable writes, ms", "writing.p99", 50.0, None, ".1f", less_is_better=True),
    Target(
        "h",
        "enqueue at the end over that at the start",
        "fill.last.per_cpu_second",
        0.8,
        None,
        ".2f",
        over="fill.empty.per_cpu_second",
    ),
    Target(
        "h",
        "drain of a full store over that of an empty one",
        "drain.full.per_cpu_second",
        0.8,
        None,
        ".2f",
        over="drain.empty.per_cpu_second",
    ),
    Target("h", "start on the full store, s", "start.full", 2.0, None, ".2f", less_is_better=True),
    Target(
        "h",
        "memory with the full queue over that before",
        "memory.full",
        1.1,
        None,
        ".2f",
        over="memory.used",
        less_is_better=True,
    ),
)
