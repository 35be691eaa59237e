"""(d) Agents come and take what waited for them, from the first connect until the last ACK is recorded."""

from __future__ import annotations

from typing import Final

from bench.job import Sample, Sizes
from bench.publishers import Aim, BatchPublisher, Publisher
from bench.stage import Meter, Spent, Stage, names
from bench.workload import Workload, rates

SINGLE: Final = 32  #: publishers of one POST each, at the peer


def drain(stage: Stage) -> Sample:
    """To one agent and to all, which take several messages in a frame, or one."""
    figures: dict[str, float] = {}
    relay, sizes = stage.job.server == "relay", stage.sizes
    count = sizes.drained if relay else sizes.drained_peer
    for agents in (1, sizes.agents):
        for batch in (True, False) if relay else (False,):
            case = case_of(agents, batch)
            desks = names(case, agents)
            fill(stage, desks, count)
            figures |= emptied(stage, case, desks, count, batch=batch).rates(case, count)
    return stage.sample(figures)


def case_of(agents: int, batch: bool) -> str:
    return f"{'batch' if batch else 'one'}{agents}"


def fill(stage: Stage, desks: list[str], count: int) -> Spent:
    """Queue so many messages for agents that are away."""
    aim = stage.aim(desks, wanted="queued")
    publishers = fillers(stage, aim)
    stage.ready(len(publishers))
    spent = stage.drive(aim, publishers, count, stage.sizes.deadline)
    for publisher in publishers:
        publisher.close()
    return spent


def fillers(stage: Stage, aim: Aim) -> list[BatchPublisher] | list[Publisher]:
    if stage.job.server == "relay":
        return [BatchPublisher(stage.loop, aim, stage.sizes.batch)]
    return [Publisher(stage.loop, aim) for _ in range(SINGLE)]


def emptied(stage: Stage, prefix: str, desks: list[str], count: int, *, batch: bool) -> Spent:
    """Let the agents come, take everything and go; ``prefix`` is what their names begin with."""
    wanted = stage.tally.acked + count
    meter = Meter(stage.job.pid)
    agents = stage.agents(desks, batch=batch)
    stage.until(lambda: stage.tally.acked >= wanted, lambda: f"{stage.tally}: {wanted} are to be acknowledged")
    stage.emptied(agents, f"{prefix}-")
    spent = meter.read()
    for agent in agents:
        agent.close()
    return spent


def label_of(agents: int, batch: bool) -> str:
    return f"{agents} agent{'s' * (agents > 1)}, {'`batch: true`' if batch else 'one message a frame'}"


DRAIN: Final = Workload(
    "{drained:,} queued messages to 1 and to {agents} agents (at the peer {drained_peer:,})",
    (drain,),
    tuple(
        figure
        for agents in (1, Sizes().agents)
        for batch in (True, False)
        for figure in rates(case_of(agents, batch), label_of(agents, batch), against=case_of(agents, False))
    ),
    rounds=2,
)
