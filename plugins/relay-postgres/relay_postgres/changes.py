"""The changes of a batch, made inside its transaction: each kind by one statement for many rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from relay.core.model import Depth, Discard, Revise, Write
from relay.store import timeline
from relay.store.retention import Bounds
from relay.store.rounds import Round, rounds
from relay.store.work import Answer
from relay_postgres.ends import discard, end, queued, requeue
from relay_postgres.link import Connection
from relay_postgres.pruning import trim
from relay_postgres.puts import put
from relay_postgres.telling import hear
from relay_postgres.work import Many, Work

SEEN: Final = Many(
    "INSERT INTO agents SELECT * FROM {} ON CONFLICT (agent) DO UPDATE SET last_seen = excluded.last_seen",
    "text",
    "float8",
)
REVISE: Final = Many(
    "UPDATE messages AS old SET attempts = new.attempts, failures = new.failures, nacks = new.nacks,"
    " first_failure_at = new.first_failure_at, not_before = new.not_before, timeline = CASE WHEN"
    f" length(old.timeline) < {timeline.MOST_CHARACTERS} THEN old.timeline || new.lines ELSE old.timeline END"
    " FROM {} AS new(place, attempts, failures, nacks, first_failure_at, not_before, lines)"
    " WHERE old.place = new.place",
    "bigint", "integer", "integer", "integer", "float8", "float8", "text",
)  # fmt: skip  # the types belong to one row


def apply(connection: Connection, ops: Sequence[Write], bounds: Bounds) -> Sequence[Answer]:
    """Make these changes and say of each what ``MessageStore.write`` answers. Called in a transaction."""
    work = Work(connection, [None] * len(ops), bounds)
    for each in rounds(ops):
        hear(work, each.words.values())
        put(work, each.puts)
        revise(work, each.revisions)
        end(work, each.ends)
        mend(work, each)
        work.do_many(SEEN, list(each.seen.items()))
    trim(work)
    work.count()
    return work.answers


def revise(work: Work, ops: list[tuple[int, Revise]]) -> None:
    """Replace the trials of those which are queued, and add to their history."""
    rows = []
    for index, op, place, size in queued(work, ops):
        trials = op.trials
        lines = timeline.encode(op.timeline) if op.timeline else ""
        rows.append(
            (place, trials.attempts, trials.failures, trials.nacks, trials.first_failure_at, trials.not_before, lines)
        )
        work.answers[index] = Depth(1, size)
    work.do_many(REVISE, rows)


def mend(work: Work, each: Round) -> None:
    """Send a dead letter back, or away."""
    if each.mending is not None:
        index, op = each.mending
        work.answers[index] = discard(work, op) if isinstance(op, Discard) else requeue(work, op)
