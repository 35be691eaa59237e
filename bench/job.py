"""What the processes of a measurement tell each other."""

from __future__ import annotations

from typing import Final

import msgspec


class Sizes(msgspec.Struct, frozen=True):
    """How much of everything. A measurement ends when its count is reached or its seconds are over."""

    agents: int = 100
    publishers: tuple[int, ...] = (1, 32, 256)  #: connections, each with one POST under way
    under_way: tuple[int, ...] = (10, 100)  #: publications of one WebSocket
    batch: int = 5_000  #: lines of one batch
    messages: int = 1_000_000  #: of a measurement, at most …
    seconds: float = 4.0  #: … and for so long
    warm_up: int = 5_000  #: messages before the measured ones, at most …
    warm_up_seconds: float = 1.0  #: … and for so long
    drained: int = 100_000  #: messages that wait for their agents
    drained_peer: int = 20_000  #: … at the peer, which takes them one by one only
    idle: int = 10_000  #: agents that do nothing
    settle: float = 2.0  #: seconds until memory is read
    heartbeat: float = 30.0  #: seconds of heartbeat that are watched
    storm: int = 10_000  #: agents that come back at once
    steady: float = 200.0  #: POSTs a second to others meanwhile
    timed: int = 1_000_000  #: POSTs at half of saturation, at most …
    timed_seconds: float = 8.0  #: … and for so long
    written: float = 2_000.0  #: durable messages a second meanwhile
    steps: int = 10  #: the large queue grows in so many …
    step: int = 100_000  #: … of so many messages
    deadline: float = 300.0  #: seconds that any one step may take


QUICK: Final = Sizes(
    seconds=1.0,
    warm_up=1_000,
    drained=20_000,
    drained_peer=5_000,
    idle=2_000,
    settle=1.0,
    heartbeat=5.0,
    storm=2_000,
    timed_seconds=2.0,
    step=20_000,
)


class Job(msgspec.Struct):
    """A workload on a server, or what goes on beside it."""

    workload: str
    sizes: Sizes
    server: str  #: its name
    port: int
    pid: int  #: its process
    act: int = 0  #: of those of the workload: before each the server is started anew, on the same files
    started: float = 0.0  #: seconds that it took to start


class Sample(msgspec.Struct):
    """What one run of a workload came to."""

    figures: dict[str, float]
    other: dict[str, int] = {}  #: answers that were not what they should be
    retries: dict[str, int] = {}  #: connections that had to be tried again
    #: counts of the generator, for those who doubt it
    counts: dict[str, int] = {}

    def __add__(self, later: Sample) -> Sample:
        """Of two acts, one after the other."""
        return Sample(
            self.figures | later.figures,
            sums(self.other, later.other),
            sums(self.retries, later.retries),
            sums(self.counts, later.counts),
        )


def sums(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in one | other}
