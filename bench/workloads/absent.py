"""(c) Messages for agents that are away: at the relay fsynced before ``queued`` is said, at the peer in memory only."""

from __future__ import annotations

from typing import Final

from bench.job import Sample, Sizes
from bench.publishers import BatchPublisher, Publisher
from bench.stage import Stage, names
from bench.workload import Workload, rates


def absent(stage: Stage) -> Sample:
    """By one POST each, then by batch."""
    figures: dict[str, float] = {}
    for count in stage.sizes.publishers:
        aim = stage.aim(names(f"away{count}", stage.sizes.agents), wanted="queued")
        publishers = [Publisher(stage.loop, aim) for _ in range(count)]
        figures |= stage.rates(str(count), aim, publishers)
        for publisher in publishers:
            publisher.close()
    if stage.job.server == "relay":
        aim = stage.aim(names("away", stage.sizes.agents), wanted="queued")
        figures |= stage.rates("batch", aim, [BatchPublisher(stage.loop, aim, stage.sizes.batch)])
    return stage.sample(figures)


MOST: Final = max(Sizes().publishers)

ABSENT: Final = Workload(
    "messages for {agents} agents that are away: durable at the relay, in memory at the peer",
    (absent,),
    (
        *rates("batch", "batch", against=str(MOST)),
        *(
            figure
            for count in Sizes().publishers
            for figure in rates(str(count), f"{count} publisher{'s' * (count > 1)}")
        ),
    ),
)
