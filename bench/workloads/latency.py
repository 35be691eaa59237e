"""(g) How long a POST takes at half of what the server can do, alone and while durable messages are written."""

from __future__ import annotations

from typing import Final

from bench.beside import CONNECTIONS, Beside
from bench.job import Sample
from bench.publishers import Arrivals, Publisher
from bench.stage import Stage, names, percentiles
from bench.workload import Figure, Workload

SATURATING: Final = 32  #: publishers


def latency(stage: Stage) -> Sample:
    """Find out what is all that it can do, and take half of it."""
    desks = names("desk", stage.sizes.agents)
    stage.agents(desks)
    aim = stage.aim(desks)
    publishers = [Publisher(stage.loop, aim) for _ in range(SATURATING)]
    rate = stage.rates("full", aim, publishers)["full.per_second"] / 2
    for publisher in publishers:
        publisher.close()
    figures = {"rate": rate} | half_load(stage, "alone", desks, rate)
    if stage.job.server == "peer":
        return stage.sample(figures)
    beside = Beside(stage.job, "writes")
    figures |= half_load(stage, "writing", desks, rate)
    return stage.sample(figures) + beside.end()


def half_load(stage: Stage, case: str, desks: list[str], rate: float) -> dict[str, float]:
    aim = stage.aim(desks)
    arrivals = Arrivals(stage.loop, aim, CONNECTIONS, rate)
    stage.ready(arrivals.count)
    stage.drive(aim, [arrivals], stage.sizes.timed, stage.sizes.timed_seconds)
    arrivals.close()
    return percentiles(case, aim.seconds)


def figures_of(case: str, label: str) -> tuple[Figure, ...]:
    """A peer writes nothing: what the relay takes meanwhile is held against what the peer takes alone."""
    return tuple(
        Figure(f"{case}.{key}", f"{label}: {word}, ms", ".2f", against=f"alone.{key}", less_is_better=True)
        for key, word in (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9"))
    )


LATENCY: Final = Workload(
    "POSTs at half of saturation to {agents} agents, alone and beside {written:,.0f} durable messages a second",
    (latency,),
    (
        Figure("rate", "POSTs a second at half of saturation", against="rate"),
        *figures_of("alone", "alone"),
        *figures_of("writing", "while others are written"),
    ),
)
