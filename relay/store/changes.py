"""The changes of a batch, made inside its transaction.

Every statement gives the interpreter lock away, and a busy reactor thread keeps it for up to 5 ms: row by row, a batch
of 100 was seen to take a quarter of a second beside a busy reactor, in a handful of statements 10 ms. So each kind of
change is made by one statement for many rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Final, TypeVar

import apsw

from relay.core.model import Depth, End, Put, Revise, Seen, Status, Write
from relay.store.rows import PUT_COLUMNS, Row, row_of

Op = TypeVar("Op", Revise, End)

#: Rows of one statement. Each power of two below it is a prepared statement of its own: few, whatever the batch.
MOST_ROWS: Final = 64

# The id is the message's identity for ever: whoever repeats a write that he heard nothing of finds it done.
PUT: Final = f"INSERT INTO messages ({PUT_COLUMNS}) VALUES {{}} ON CONFLICT (id) DO NOTHING"
SEEN: Final = "INSERT INTO agents VALUES {} ON CONFLICT (agent) DO UPDATE SET last_seen = excluded.last_seen"
REVISE: Final = (
    "UPDATE messages SET attempts = new.column2, failures = new.column3, nacks = new.column4,"
    " first_failure_at = new.column5, not_before = new.column6"
    " FROM (VALUES {}) AS new WHERE place = new.column1"
)
END: Final = (
    "UPDATE messages SET status = new.column2, reason = new.column3, ended_at = new.column4"
    " FROM (VALUES {}) AS new WHERE place = new.column1"
)
# Numbers in, numbers out: a text that was damaged on the disk cannot spoil the answer for the others.
QUEUED: Final = (
    "SELECT json_group_array(json_array(asked.key, found.place, found.size))"
    " FROM json_each(?) AS asked CROSS JOIN messages AS found"
    " ON found.id = asked.value ->> 0 AND found.agent = asked.value ->> 1 AND found.status = 'queued'"
)
FORGET: Final = "DELETE FROM messages WHERE place IN (SELECT value FROM json_each(?))"
KEEP_LAST_PLACE: Final = (
    "UPDATE store SET last_place = (SELECT max(place) FROM messages)"
    " WHERE last_place < (SELECT max(place) FROM messages)"
)


@dataclass(slots=True)
class Round:
    """Changes that may be made kind by kind, in this order: no two of a kind are about the same message."""

    puts: list[Put] = field(default_factory=list)
    revisions: list[tuple[int, Revise]] = field(default_factory=list)  #: with their index in the batch
    ends: list[tuple[int, End]] = field(default_factory=list)  #: with their index in the batch
    seen: dict[str, float] = field(default_factory=dict)


def rounds(ops: Sequence[Write]) -> Iterator[Round]:
    """Cut a batch into as few rounds as keep the order of the changes to each message: mostly one."""
    current, step = Round(), dict[str, int]()
    for index, op in enumerate(ops):
        if isinstance(op, Seen):
            current.seen[op.agent] = op.at
            continue
        id, kind = (op.record.message.id, 0) if isinstance(op, Put) else (op.id, 1 if isinstance(op, Revise) else 2)
        if step.get(id, -1) >= kind:
            yield current
            current, step = Round(), {}
        step[id] = kind
        match op:
            case Put():
                current.puts.append(op)
            case Revise():
                current.revisions.append((index, op))
            case End():
                current.ends.append((index, op))
    yield current


def apply(connection: apsw.Connection, ops: Sequence[Write]) -> list[Depth | None]:
    """Make these changes and say of each what ``MessageStore.write`` answers. Called in a transaction."""
    answers: list[Depth | None] = [None] * len(ops)
    for each in rounds(ops):
        execute(connection, PUT, [row_of(op.record) for op in each.puts])
        revise(connection, each.revisions, answers)
        end(connection, each.ends, answers)
        execute(connection, SEEN, list(each.seen.items()))
    return answers


def revise(connection: apsw.Connection, ops: list[tuple[int, Revise]], answers: list[Depth | None]) -> None:
    """Replace the trials of those which are queued."""
    rows = []
    for op, place, size, index in queued(connection, ops):
        trials = op.trials
        rows.append((place, trials.attempts, trials.failures, trials.nacks, trials.first_failure_at, trials.not_before))
        answers[index] = Depth(1, size)
    execute(connection, REVISE, rows)


def end(connection: apsw.Connection, ops: list[tuple[int, End]], answers: list[Depth | None]) -> None:
    """Take those out of the queue which are in it."""
    forgotten, kept = [], []
    for op, place, size, index in queued(connection, ops):
        if op.status is Status.DELIVERED:
            forgotten.append(place)
        else:
            kept.append((place, op.status.value, op.reason, op.at))
        answers[index] = Depth(1, size)
    execute(connection, END, kept)
    forget(connection, forgotten)


def forget(connection: apsw.Connection, places: Sequence[int]) -> None:
    """Delete these rows, without forgetting that their places were given."""
    if places:
        connection.execute(KEEP_LAST_PLACE)
        connection.execute(FORGET, (json.dumps(places),))


def queued(connection: apsw.Connection, ops: list[tuple[int, Op]]) -> Iterator[tuple[Op, int, int, int]]:
    """Those of ``ops`` whose message is queued for its agent, each with its place, payload size and index."""
    if not ops:
        return
    asked = json.dumps([(op.id, op.agent) for _, op in ops])
    found = connection.execute(QUEUED, (asked,)).get
    for n, place, size in json.loads(found):
        index, op = ops[n]
        yield op, place, size, index


def execute(connection: apsw.Connection, template: str, rows: Sequence[Row]) -> None:
    """Execute ``template`` with ``rows`` as its VALUES, in as few statements as their bound allows."""
    at, count = 0, MOST_ROWS
    while at < len(rows):
        while count > len(rows) - at:
            count //= 2
        part = rows[at : at + count]
        connection.execute(statement(template, count, len(part[0])), tuple(chain.from_iterable(part)))
        at += count


@lru_cache(maxsize=64)
def statement(template: str, count: int, width: int) -> str:
    """``template`` for so many rows of so many values."""
    row = f"({', '.join('?' * width)})"
    return template.format(", ".join([row] * count))
