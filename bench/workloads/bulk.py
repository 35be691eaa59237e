"""(b) Many at once: the batch endpoint and publications over a WebSocket, each message confirmed.

The peer has neither: it is measured with one POST each by 32 publishers, which is what one would have to do there.
"""

from __future__ import annotations

from typing import Final

from bench.job import Sample, Sizes
from bench.publishers import BatchPublisher, Publisher, SocketPublisher
from bench.stage import Stage, names
from bench.workload import Workload, rates

SINGLE: Final = 32  #: publishers of one POST each, at the peer


def bulk(stage: Stage) -> Sample:
    """One batch after the other, then a session that only publishes."""
    desks = names("desk", stage.sizes.agents)
    stage.agents(desks, batch=stage.job.server == "relay")
    aim = stage.aim(desks)
    if stage.job.server == "peer":
        return stage.sample(stage.rates("single", aim, [Publisher(stage.loop, aim) for _ in range(SINGLE)]))
    figures = stage.rates("batch", aim, [BatchPublisher(stage.loop, aim, stage.sizes.batch)])
    for count in stage.sizes.under_way:
        aim = stage.aim(desks)
        figures |= stage.rates(f"publish{count}", aim, [SocketPublisher(stage.loop, aim, count)])
    return stage.sample(figures)


BULK: Final = Workload(
    "confirmed messages to {agents} agents: batches of {batch:,} lines, and `publish` over one WebSocket; "
    "the peer by 32 publishers with one POST each",
    (bulk,),
    (
        *rates("single", "one POST each", compared=False),
        *rates("batch", "batch", against="single"),
        *(
            figure
            for count in Sizes().under_way
            for figure in rates(f"publish{count}", f"publish, {count} under way", against="single")
        ),
    ),
)
