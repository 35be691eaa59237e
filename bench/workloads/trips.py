"""(a) Confirmed round trips: from a POST to the ``delivered`` that answers it."""

from __future__ import annotations

from typing import Final

from bench.job import Sample, Sizes
from bench.publishers import Publisher
from bench.stage import Stage, names, percentiles
from bench.workload import Figure, Workload, rates


def trips(stage: Stage) -> Sample:
    """By few publishers, by some and by many, one after the other."""
    desks = names("desk", stage.sizes.agents)
    stage.agents(desks)
    figures: dict[str, float] = {}
    for count in stage.sizes.publishers:
        aim = stage.aim(desks)
        publishers = [Publisher(stage.loop, aim) for _ in range(count)]
        figures |= stage.rates(str(count), aim, publishers) | percentiles(str(count), aim.seconds)
        for publisher in publishers:
            publisher.close()
    return stage.sample(figures)


def figures_of(count: int) -> tuple[Figure, ...]:
    label = f"{count} publisher{'s' * (count > 1)}"
    return (
        *rates(str(count), label, "round trips"),
        Figure(f"{count}.p50", f"{label}: p50, ms", ".2f", less_is_better=True),
        Figure(f"{count}.p99", f"{label}: p99, ms", ".2f", less_is_better=True),
    )


TRIPS: Final = Workload(
    "confirmed round trips over {agents} agents, one POST each",
    (trips,),
    tuple(figure for count in Sizes().publishers for figure in figures_of(count)),
)
