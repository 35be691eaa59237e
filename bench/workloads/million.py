"""(h) A large queue: does it slow down as it grows, what does it hold in memory, how long does a start take?

The peer keeps its queues in memory and loses them: there is nothing to compare.
"""

from __future__ import annotations

from typing import Final

from bench.job import Sample, Sizes
from bench.proc import memory
from bench.stage import Stage, names
from bench.workload import Figure, Workload
from bench.workloads.drain import emptied, fill

AGENTS: Final = 10  #: of one step
MIB: Final = 1 << 20


def growing(stage: Stage) -> Sample:
    """Fill and drain an empty store, then let a queue grow step by step."""
    sizes = stage.sizes
    figures = {"start.empty": stage.job.started, "memory.empty": memory(stage.job.pid) / MIB}
    desks = names("warm", AGENTS)
    figures |= fill(stage, desks, sizes.step).rates("fill.empty", sizes.step)
    figures |= emptied(stage, "warm", desks, sizes.step, batch=True).rates("drain.empty", sizes.step)
    figures["memory.used"] = memory(stage.job.pid) / MIB
    for step in range(1, sizes.steps + 1):
        spent = fill(stage, names(f"desk{step}", AGENTS), sizes.step)
        figures |= spent.rates(f"fill.{step}", sizes.step)
    figures |= spent.rates("fill.last", sizes.step)
    figures["memory.full"] = memory(stage.job.pid) / MIB
    return stage.sample(figures)


def full(stage: Stage) -> Sample:
    """The server has been started on the full store: drain a part of it."""
    sizes = stage.sizes
    figures = {"start.full": stage.job.started, "memory.restarted": memory(stage.job.pid) / MIB}
    spent = emptied(stage, "desk1", names("desk1", AGENTS), sizes.step, batch=True)
    return stage.sample(figures | spent.rates("drain.full", sizes.step))


def figures_of(case: str, label: str) -> tuple[Figure, ...]:
    return (
        Figure(f"{case}.per_cpu_second", f"{label}, messages per CPU second"),
        Figure(f"{case}.per_second", f"{label}, messages per second"),
    )


MILLION: Final = Workload(
    "a queue that grows by {step:,} at a time, {steps} times",
    (growing, full),
    (
        *figures_of("fill.empty", "into an empty store"),
        *(
            Figure(f"fill.{step}.per_cpu_second", f"step {step}, messages per CPU second")
            for step in range(1, Sizes().steps)
        ),
        *figures_of("fill.last", "the last step"),
        *figures_of("drain.empty", "drain of an otherwise empty store"),
        *figures_of("drain.full", "drain of a part of the full one"),
        Figure("start.empty", "start on an empty store, s", ".2f", less_is_better=True),
        Figure("start.full", "start on the full store, s", ".2f", less_is_better=True),
        Figure("memory.empty", "memory at the start, MiB", ".1f", less_is_better=True),
        Figure("memory.used", "memory before the queue grows, MiB", ".1f", less_is_better=True),
        Figure("memory.full", "memory with the full queue, MiB", ".1f", less_is_better=True),
        Figure("memory.restarted", "memory after a start on it, MiB", ".1f", less_is_better=True),
    ),
    rounds=1,
    servers=("relay",),
)
