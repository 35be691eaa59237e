"""What goes on beside a measurement, in a process of its own: otherwise the one would hold up the other.

The one that measures starts it, reads a line that says that it has begun, and ends it by closing its stdin.
"""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Callable
from typing import Final

import msgspec

from bench.job import Job, Sample
from bench.loop import READABLE, Loop
from bench.publishers import Arrivals, BatchPublisher
from bench.stage import Stage, names, percentiles

END_SECONDS: Final = 60.0
CONNECTIONS: Final = 32
WRITES_A_SECOND: Final = 100
ENDLESS: Final = 1 << 40


class Beside:
    """Another generator on the same server. Raises RuntimeError if it does not begin."""

    def __init__(self, job: Job, what: str) -> None:
        command = [sys.executable, "-m", "bench.generator"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(msgspec.structs.replace(job, workload=what)) + b"\n")
        self._process.stdin.flush()
        poll = select.poll()  # select() knows the first 1024 descriptors only
        poll.register(self._process.stdout, select.POLLIN)
        if not poll.poll(1000 * job.sizes.deadline) or not self._process.stdout.readline():
            self._process.kill()
            self._process.wait()
            raise RuntimeError(f"what was to go on beside it ({what}) did not begin")

    def end(self) -> Sample:
        """Let it come to its end. Raises RuntimeError if it failed."""
        try:
            said, _ = self._process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        if self._process.returncode:
            raise RuntimeError("what went on beside it failed; it says how above")
        return msgspec.json.decode(said, type=Sample)


class Stdin:
    """Hears when the other side closes it."""

    def __init__(self, loop: Loop) -> None:
        self.socket = sys.stdin.buffer
        self.closed = False
        loop.watch(self, READABLE)
        self._loop = loop

    def ready(self, _events: int) -> None:
        self.closed = True
        self.close()

    def close(self) -> None:
        self._loop.forget(self)


def until_told(stage: Stage) -> None:
    """Say that it has begun, and go on until the other side has had enough."""
    stdin = Stdin(stage.loop)
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    stage.until(lambda: stdin.closed, lambda: "nobody ended it")


def steady(stage: Stage) -> Sample:
    """POSTs at a steady rate to agents of its own, and how long they took."""
    others = names("other", stage.sizes.agents)
    stage.agents(others)
    aim = stage.aim(others)
    arrivals = Arrivals(stage.loop, aim, CONNECTIONS, stage.sizes.steady)
    stage.ready(arrivals.count)
    aim.budget.left = ENDLESS
    arrivals.start()
    until_told(stage)
    # In a run that was over at once there is one at least.
    stage.until(lambda: len(aim.seconds) > 0, lambda: "not one POST was answered")
    aim.budget.left = 0
    stage.until(lambda: aim.budget.spent, lambda: f"{aim.budget} are to be answered")
    return stage.sample(percentiles("others", aim.seconds))


def writes(stage: Stage) -> Sample:
    """Durable messages for agents that are not there, so many a second, in small batches."""
    aim = stage.aim(names("absent", stage.sizes.agents), wanted="queued")
    publisher = Now(stage.loop, aim, max(1, int(stage.sizes.written / WRITES_A_SECOND)))
    stage.ready(1)
    aim.budget.left = ENDLESS
    publisher.start()

    until_told(stage)
    aim.budget.left = 0
    stage.until(lambda: aim.budget.spent, lambda: f"{aim.budget} are to be answered")
    return stage.sample({})


class Now(BatchPublisher):
    """A batch every hundredth of a second, or as soon as the last one is answered."""

    _next = 0.0

    def start(self) -> None:
        self._next = self.loop.now() + 1 / WRITES_A_SECOND
        super().start()

    def free(self) -> None:
        self.loop.later(self._next - self.loop.now(), self.start)


BESIDE: Final[dict[str, Callable[[Stage], Sample]]] = {"steady": steady, "writes": writes}
