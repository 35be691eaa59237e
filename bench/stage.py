"""A server under load: its clients, what has been counted, and what it spent."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from bench.agents import Agent
from bench.job import Job, Sample
from bench.loop import Line, Loop
from bench.proc import cpu_seconds
from bench.publishers import Aim
from bench.tally import Tally
from bench.wire import Queues, look, take_answer

LEAST_CPU = 0.01  #: seconds: the kernel counts no finer
LOOK_SECONDS = 0.02

decode_queues = msgspec.json.Decoder(Queues).decode


class Starts(Protocol):
    """A publisher of any sort."""

    def start(self) -> None: ...


class Spent(NamedTuple):
    """What a piece of a run took, in seconds."""

    wall: float
    cpu: float  #: of the server
    own: float  #: CPU of this generator

    def rates(self, case: str, count: int) -> dict[str, float]:
        """The figures of so many messages."""
        return {
            f"{case}.per_cpu_second": count / max(self.cpu, LEAST_CPU),
            f"{case}.per_second": count / self.wall,
            f"{case}.generator": self.own / self.wall,
        }


class Meter:
    """Reads what has been spent since it was made."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._wall, self._cpu, self._own = time.perf_counter(), cpu_seconds(pid), time.process_time()

    def read(self) -> Spent:
        wall, cpu, own = time.perf_counter(), cpu_seconds(self._pid), time.process_time()
        return Spent(wall - self._wall, cpu - self._cpu, own - self._own)


class Stage:
    """What every workload stands on."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.sizes = job.sizes
        self.loop = Loop()
        self.tally = Tally()

    def agents(self, names: Sequence[str], *, at_once: int = 100, batch: bool = False) -> list[Agent]:
        """Register them all, so many at a time."""
        started: list[Agent] = []
        wanted = self.tally.registered + len(names)
        waiting = iter(names)

        def start() -> None:
            name = next(waiting, None)
            if name is not None:
                started.append(Agent(self.loop, self.job.port, name, self.tally, follow, batch=batch))

        def follow() -> None:
            # Not in the middle of a batch of events: a new socket could get the number of one that has just gone.
            self.loop.later(0.0, start)

        for _ in range(at_once):
            start()
        self.until(lambda: self.tally.registered >= wanted, lambda: f"{self.tally}: {wanted} are to register")
        return started

    def aim(self, names: Sequence[str], wanted: str = "delivered") -> Aim:
        return Aim(self.job.port, names, self.tally, wanted)

    def ready(self, count: int) -> None:
        """Wait until so many publishers more are connected."""
        self.until(lambda: self.tally.publishers >= count, lambda: f"{self.tally.publishers} publishers are here")
        self.tally.publishers -= count

    def drive(self, aim: Aim, publishers: Sequence[Starts], count: int, seconds: float) -> Spent:
        """Have them send so many messages, or for so long, and see every one answered."""
        meter, budget = Meter(self.job.pid), aim.budget
        budget.left, end = count, time.perf_counter() + seconds
        for publisher in publishers:
            publisher.start()

        def done() -> bool:
            if budget.left and time.perf_counter() > end:
                budget.left = 0
            return budget.spent

        self.until(done, lambda: f"{self.tally}: {budget} are to be answered")
        return meter.read()

    def rates(self, case: str, aim: Aim, publishers: Sequence[Starts]) -> dict[str, float]:
        """Warm up, measure, and say how fast it was."""
        sizes = self.sizes
        self.ready(len(publishers))
        self.drive(aim, publishers, sizes.warm_up, sizes.warm_up_seconds)
        del aim.seconds[:]
        before = self.tally.posted
        spent = self.drive(aim, publishers, sizes.messages, sizes.seconds)
        return spent.rates(case, self.tally.posted - before)

    def emptied(self, agents: Sequence[Agent], prefix: str) -> None:
        """Wait until the last ACKs of these agents have been read, and nothing is queued for names that begin so."""
        wanted = self.tally.pongs + len(agents)
        for agent in agents:
            agent.ping()
        self.until(lambda: self.tally.pongs >= wanted, lambda: f"{self.tally}: {wanted} pongs are to come")
        if self.job.server == "relay":
            looking = Looking(self.loop, self.job.port, prefix)
            self.until(lambda: looking.queued == 0, lambda: f"{looking.queued} are still queued")
            looking.close()

    def until(self, done: Callable[[], bool], progress: Callable[[], str]) -> None:
        self.loop.run(done, self.sizes.deadline, progress)

    def sample(self, figures: dict[str, float]) -> Sample:
        tally = self.tally
        counts = {name: getattr(tally, name) for name in ("registered", "posted", "settled", "acked")}
        return Sample(figures, tally.other, tally.retries, counts)


class Looking(Line):
    """Asks again and again how much is queued."""

    def __init__(self, loop: Loop, port: int, prefix: str) -> None:
        self.queued = -1
        self._request = look(port, prefix)
        self._rest = b""
        super().__init__(loop, port)

    def opened(self) -> None:
        self.send(self._request)

    def received(self, data: bytes) -> None:
        answer, self._rest = take_answer(self._rest + data)
        if answer is not None:
            self.queued = sum(each.queued for each in decode_queues(answer.body).items)
            self.loop.later(LOOK_SECONDS, self._ask)

    def lost(self, why: str) -> None:
        raise ConnectionError(f"the look at the queues was cut off: {why}")

    def _ask(self) -> None:
        if self.open:
            self.send(self._request)


def names(word: str, count: int) -> list[str]:
    """Agents' names."""
    return [f"{word}-{number}" for number in range(count)]


def percentiles(case: str, seconds: array[float]) -> dict[str, float]:
    """p50, p99 and p99.9 in milliseconds."""
    ordered = sorted(seconds)
    return {
        f"{case}.{name}": 1000 * ordered[min(len(ordered) * share // 1000, len(ordered) - 1)]
        for name, share in (("p50", 500), ("p99", 990), ("p999", 999))
    }
