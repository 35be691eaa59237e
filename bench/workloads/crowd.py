"""(e) Many agents that do nothing. (f) Many agents that come back at once, while others get their messages."""

from __future__ import annotations

from typing import Final

from bench.beside import Beside
from bench.job import Sample
from bench.proc import memory
from bench.stage import Meter, Stage, names
from bench.workload import Figure, Workload

FIRST: Final = 100
REFUSED: Final = "close: 4013"


def idle(stage: Stage) -> Sample:
    """What an agent costs that is there and does nothing: memory, and the CPU of the heartbeat."""
    sizes, pid = stage.sizes, stage.job.pid
    # What a server loads and sets up for its first agents is not theirs.
    for agent in stage.agents(names("first", FIRST)):
        agent.close()
    stage.loop.rest(sizes.settle)
    before = memory(pid)
    stage.agents(names("desk", sizes.idle))
    stage.loop.rest(sizes.settle)
    held = memory(pid) - before
    meter = Meter(pid)
    stage.loop.rest(sizes.heartbeat)
    spent = meter.read()
    return stage.sample({"bytes": held / sizes.idle, "heartbeat": 100 * spent.cpu / spent.wall})


def storm(stage: Stage) -> Sample:
    """All lose their connection and come back at once, and others get their messages meanwhile."""
    sizes, tally = stage.sizes, stage.tally
    agents = stage.agents(names("desk", sizes.storm))
    tally.retries.clear()
    beside = Beside(stage.job, "steady")
    meter = Meter(stage.job.pid)
    for agent in agents:
        agent.again()
    stage.until(lambda: tally.registered >= sizes.storm, lambda: f"{tally}: {sizes.storm} are to register")
    spent = meter.read()
    others = beside.end()
    figures = {
        "seconds": spent.wall,
        "cpu_ms": 1000 * spent.cpu / sizes.storm,
        "refused": tally.retries.get(REFUSED, 0),
        "broken": sum(tally.retries.values()) - tally.retries.get(REFUSED, 0),
    }
    return stage.sample(figures) + others


IDLE: Final = Workload(
    "{idle:,} idle agents",
    (idle,),
    (
        Figure("bytes", "bytes per agent", against="bytes", gated=True, less_is_better=True),
        Figure("heartbeat", "heartbeat, % of a core", ".2f", against="heartbeat", less_is_better=True),
    ),
    rounds=2,
)

STORM: Final = Workload(
    "{storm:,} agents come back at once, while {steady:.0f} POSTs a second go to {agents} others",
    (storm,),
    (
        Figure("seconds", "seconds until all are registered", ".2f", against="seconds", less_is_better=True),
        Figure("cpu_ms", "CPU per agent, ms", ".3f", against="cpu_ms", gated=True, less_is_better=True),
        Figure("refused", "told to come later (4013)", less_is_better=True),
        Figure("broken", "connections tried again otherwise", less_is_better=True),
        Figure("others.p50", "POSTs to others: p50, ms", ".1f", less_is_better=True),
        Figure("others.p99", "POSTs to others: p99, ms", ".1f", against="others.p99", less_is_better=True),
    ),
    rounds=2,
)
