"""The changes of a batch, made inside its transaction.

Every statement gives the interpreter lock away, and a busy reactor thread keeps it for up to 5 ms: row by row, a batch
of 100 was seen to take a quarter of a second beside a busy reactor, in a handful of statements 10 ms. So each kind of
change is made by one statement for many rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import apsw

from relay.core.model import Depth, Discard, Revise, Write
from relay.store import timeline
from relay.store.ends import discard, end, queued, requeue
from relay.store.pruning import trim
from relay.store.puts import put
from relay.store.retention import Bounds
from relay.store.rounds import Round, rounds
from relay.store.telling import hear
from relay.store.work import Answer, Work

SEEN: Final = "INSERT INTO agents VALUES {} ON CONFLICT (agent) DO UPDATE SET last_seen = excluded.last_seen"
REVISE: Final = (
    "UPDATE messages SET attempts = new.column2, failures = new.column3, nacks = new.column4,"
    " first_failure_at = new.column5, not_before = new.column6, timeline ="
    f" iif(length(messages.timeline) < {timeline.MOST_CHARACTERS}, messages.timeline || new.column7, messages.timeline)"
    " FROM (VALUES {}) AS new WHERE place = new.column1"
)


def apply(connection: apsw.Connection, ops: Sequence[Write], bounds: Bounds, *, lean: bool = False) -> Sequence[Answer]:
    """Make these changes and say of each what ``MessageStore.write`` answers. Called in a transaction."""
    work = Work(connection, [None] * len(ops), bounds, lean)
    for each in rounds(ops):
        hear(work, each.words.values())
        put(work, each.puts)
        revise(work, each.revisions)
        end(work, each.ends)
        mend(work, each)
        work.execute(SEEN, list(each.seen.items()))
    trim(work)
    work.count()
    return work.answers


def revise(work: Work, ops: list[tuple[int, Revise]]) -> None:
    """Replace the trials of those which are queued, and add to their history."""
    rows = []
    for index, op, place, size, _ in queued(work, ops):
        trials = op.trials
        lines = timeline.encode(op.timeline) if op.timeline else ""
        rows.append(
            (place, trials.attempts, trials.failures, trials.nacks, trials.first_failure_at, trials.not_before, lines)
        )
        work.answers[index] = Depth(1, size)
    work.execute(REVISE, rows)


def mend(work: Work, each: Round) -> None:
    """Send a dead letter back, or away."""
    if each.mending is not None:
        index, op = each.mending
        work.answers[index] = discard(work, op) if isinstance(op, Discard) else requeue(work, op)
