"""What a workload is, and its figures: what is done, how people read what came out, what is held against the peer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.job import Sample
from bench.stage import Stage


@dataclass(frozen=True)
class Figure:
    """A figure of a sample and how people read it."""

    key: str
    label: str
    form: str = ",.0f"
    against: str = ""  #: the peer's figure that the relay's is divided by; none: there is no ratio
    gated: bool = (
        False  #: may its ratio not fall from one landed run to the next? Only what the wall clock has no part in
    )
    less_is_better: bool = False


@dataclass(frozen=True)
class Workload:
    """One thing to measure. ``title`` may name any of the sizes."""

    title: str
    acts: tuple[Callable[[Stage], Sample], ...]  #: before each the server is started anew, on the same files
    figures: tuple[Figure, ...]
    rounds: int = 3
    servers: tuple[str, ...] = ("relay", "peer")


def rates(case: str, label: str, what: str = "", *, against: str = "", compared: bool = True) -> tuple[Figure, ...]:
    """The figures of ``Spent.rates``. ``against``: the case of the peer, if it is another one."""
    other = (against or case) if compared else ""
    what = what or "messages"

    def theirs(key: str) -> str:
        return f"{other}.{key}" if other else ""

    return (
        Figure(
            f"{case}.per_cpu_second",
            f"{label}: {what} per CPU second",
            against=theirs("per_cpu_second"),
            gated=compared,
        ),
        Figure(f"{case}.per_second", f"{label}: {what} per second", against=theirs("per_second")),
        Figure(f"{case}.generator", f"{label}: the generator's share of a core", ".2f"),
    )
