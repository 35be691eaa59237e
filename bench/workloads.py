"""What is measured: each workload puts its load on one server and says in figures what that took."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from bench.clients import Agent, Publisher, Tally, Targets
from bench.loop import Loop
from bench.proc import cpu_seconds, memory


class Sizes(msgspec.Struct, frozen=True):
    """How much of everything."""

    publishers: int = 32
    agents: int = 100
    warm_up: int = 5_000  #: round trips before the measured ones
    trips: int = 20_000
    storm: int = 5_000  #: agents that connect at once
    idle: int = 5_000  #: agents that then do nothing
    settle: float = 2.0  #: seconds until memory is read
    deadline: float = 300.0  #: seconds that any one step may take


QUICK: Final = Sizes(warm_up=1_000, trips=4_000, storm=1_000, idle=1_000, settle=1.0)


class Job(msgspec.Struct):
    """A workload on a server."""

    workload: str
    sizes: Sizes
    port: int
    pid: int  #: the server's process


class Sample(msgspec.Struct):
    """What one run of a workload came to."""

    figures: dict[str, float]
    other: dict[str, int]  #: answers that were not "delivered"
    retries: dict[str, int]  #: connections that had to be tried again


class Stage:
    """A server under load: its clients, and what has been counted."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.sizes = job.sizes
        self.loop = Loop()
        self.tally = Tally()

    def agents(self, names: list[str], at_once: int) -> list[Agent]:
        """Register them all, so many at a time."""
        started: list[Agent] = []
        wanted = self.tally.registered + len(names)
        waiting = iter(names)

        def start() -> None:
            name = next(waiting, None)
            if name is not None:
                started.append(Agent(self.loop, self.job.port, name, self.tally, follow))

        def follow() -> None:
            # Not in the middle of a batch of events: a new socket could get the number of one that has just gone.
            self.loop.later(0.0, start)

        for _ in range(at_once):
            start()
        self.until(lambda: self.tally.registered >= wanted, lambda: f"{self.tally}: {wanted} are to register")
        return started

    def publishers(self, targets: Targets, seconds: array[float]) -> list[Publisher]:
        """Open the connections of all publishers."""
        lines = [
            Publisher(self.loop, self.job.port, targets, self.tally, seconds) for _ in range(self.sizes.publishers)
        ]
        self.until(lambda: self.tally.publishers >= len(lines), lambda: f"{self.tally.publishers} publishers are here")
        return lines

    def until(self, done: Callable[[], bool], progress: Callable[[], str]) -> None:
        self.loop.run(done, self.sizes.deadline, progress)

    def sample(self, **figures: float) -> Sample:
        return Sample(figures, self.tally.other, self.tally.retries)


def confirmed(stage: Stage) -> Sample:
    """Round trips from a POST to the ``delivered`` that answers it."""
    sizes, pid = stage.sizes, stage.job.pid
    names = [f"desk-{number}" for number in range(sizes.agents)]
    stage.agents(names, at_once=sizes.agents)
    seconds = array("d")
    targets = Targets(stage.job.port, names)
    publishers = stage.publishers(targets, seconds)

    def drive(posts: int) -> None:
        del seconds[:]
        targets.left = posts
        for publisher in publishers:
            publisher.start()
        stage.until(lambda: len(seconds) >= posts, lambda: f"{len(seconds)} of {posts} POSTs are answered")

    drive(sizes.warm_up)
    started, cpu, own = time.perf_counter(), cpu_seconds(pid), time.process_time()
    drive(sizes.trips)
    wall, cpu, own = time.perf_counter() - started, cpu_seconds(pid) - cpu, time.process_time() - own
    ordered = sorted(seconds)
    return stage.sample(
        posted=stage.tally.posted,
        acked=stage.tally.acked,
        delivered=stage.tally.delivered,
        per_cpu_second=sizes.trips / max(cpu, 0.01),
        per_second=sizes.trips / wall,
        p50_ms=1000 * ordered[len(ordered) // 2],
        p99_ms=1000 * ordered[len(ordered) * 99 // 100],
        generator_share=own / max(cpu, 0.01),
    )


def storm(stage: Stage) -> Sample:
    """Many agents at once: from the first connect to the last ``registered``."""
    names = [f"desk-{number}" for number in range(stage.sizes.storm)]
    started, cpu = time.perf_counter(), cpu_seconds(stage.job.pid)
    stage.agents(names, at_once=len(names))
    wall, cpu = time.perf_counter() - started, cpu_seconds(stage.job.pid) - cpu
    return stage.sample(
        registered=stage.tally.registered,
        seconds=wall,
        cpu_ms=1000 * cpu / len(names),
        retries=sum(stage.tally.retries.values()),
    )


def idle(stage: Stage) -> Sample:
    """What an agent costs that is there and does nothing."""
    sizes, pid = stage.sizes, stage.job.pid
    # What a server loads and sets up for its first agents is not theirs.
    for agent in stage.agents([f"first-{number}" for number in range(100)], at_once=100):
        agent.close()
    stage.tally.registered = 0
    stage.loop.rest(sizes.settle)
    before = memory(pid)
    stage.agents([f"desk-{number}" for number in range(sizes.idle)], at_once=100)
    stage.loop.rest(sizes.settle)
    return stage.sample(registered=stage.tally.registered, bytes=(memory(pid) - before) / sizes.idle)


@dataclass(frozen=True)
class Figure:
    """A figure of a sample and how people read it."""

    key: str
    label: str
    form: str
    ratio: bool = False  #: is the relay held against the peer by it?


@dataclass(frozen=True)
class Workload:
    """One thing to measure. ``title`` may name any of the sizes."""

    run: Callable[[Stage], Sample]
    title: str
    figures: tuple[Figure, ...]


WORKLOADS: Final = {
    "a": Workload(
        confirmed,
        "confirmed round trips: {trips:,} by {publishers} publishers over {agents} agents",
        (
            Figure("per_cpu_second", "round trips per CPU second", ",.0f", ratio=True),
            Figure("per_second", "round trips per second", ",.0f", ratio=True),
            Figure("p50_ms", "p50, ms", ".1f"),
            Figure("p99_ms", "p99, ms", ".1f"),
            Figure("generator_share", "generator's CPU over the server's", ".2f"),
        ),
    ),
    "b": Workload(
        storm,
        "{storm:,} agents connect at once",
        (
            Figure("seconds", "seconds until all are registered", ".2f", ratio=True),
            Figure("cpu_ms", "CPU per agent, ms", ".3f", ratio=True),
            Figure("retries", "connections tried again", ",.0f"),
        ),
    ),
    "c": Workload(
        idle,
        "{idle:,} idle agents",
        (Figure("bytes", "bytes per agent", ",.0f", ratio=True),),
    ),
}
