"""Topics: what a newer message takes the place of, at once or when its agent has it no more."""

from __future__ import annotations

from typing import Final

from relay.core.model import End, Kept, Put
from relay.store.ending import replacement, settlement
from relay.store.rows import text
from relay_postgres.ends import conclude
from relay_postgres.pruning import trim
from relay_postgres.work import Many, Work

SUPERSEDED: Final = Many(
    "SELECT asked.n, found.place, found.size, found.id FROM {} WITH ORDINALITY AS asked(agent, topic, place, n)"
    " JOIN messages AS found ON found.agent = asked.agent AND found.topic = asked.topic"
    " AND found.place < asked.place AND found.status = 'queued' ORDER BY asked.n, found.place",
    "text",
    "text",
    "bigint",
)
# The reason of one that is queued is what is to take its place: it is in flight, and is not called back.
SPARE: Final = Many(
    "UPDATE messages AS old SET reason = new.id FROM {} AS new(place, id)"
    " WHERE old.place = new.place AND old.reason = ''",
    "bigint",
    "text",
)
SPARED: Final = "SELECT place, size, id, agent, reason FROM messages WHERE status = 'queued' AND reason <> ''"


def supersede(work: Work, puts: list[tuple[int, Put]]) -> dict[str, int]:
    """End what these take the place of. Returns the ids of that, each with the index of the write that ended it."""
    asked = [(op.record.message.agent, op.record.message.topic, op.record.place) for _, op in puts]
    ended: list[tuple[int, End, int, int]] = []
    spared: list[tuple[int, str]] = []
    replaced: dict[int, list[tuple[str, int]]] = {}
    for n, place, size, name in work.ask_many(SUPERSEDED, asked):
        index, op = puts[n - 1]
        id = text(name)
        if id in op.spared:
            spared.append((place, op.record.message.id))
        else:
            ended.append((index, replacement(op, id), place, size))
            replaced.setdefault(index, []).append((id, size))
    work.do_many(SPARE, spared)
    conclude(work, ended)
    for index, gone in replaced.items():
        work.answers[index] = Kept(tuple(gone))
    return {op.id: index for index, op, _, _ in ended}


def settle(work: Work, now: float) -> None:
    """After a start nothing is in flight: what was spared for that ends ``replaced`` instead of being sent again."""
    rows = work.ask(SPARED)
    ends = [settlement(text(agent), text(id), text(by), now) for _, _, id, agent, by in rows]
    conclude(work, [(0, end, place, size) for (place, size, *_), end in zip(rows, ends, strict=True)])
    trim(work)
    work.count()
