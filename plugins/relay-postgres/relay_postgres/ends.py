"""The end of messages, and the way back of dead letters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

from relay.core.model import NOTHING, Depth, Discard, End, Requeue, Revise, Status
from relay.core.ports import CallbacksFull
from relay.store import timeline
from relay.store.ending import is_letter, no_room_for_callbacks, requeued
from relay_postgres.telling import owe, owe_anew
from relay_postgres.work import Many, Work, plain

Op = TypeVar("Op", Revise, End)
Found = tuple[int, End, int, int]  #: index in the batch, the change, place, payload bytes

#: Of an end: row, status, reason, attempts, time, size of the reply, reply, history.
END_TYPES: Final = ("bigint", "text", "text", "integer", "float8", "integer", "bytea", "text")
END_NAMES: Final = "new(row, status, reason, attempts, at, size, reply, lines)"

QUEUED: Final = Many(
    "SELECT asked.n, found.place, found.size FROM {} WITH ORDINALITY AS asked(id, agent, n) JOIN messages AS found"
    " ON found.id = asked.id AND found.agent = asked.agent AND found.status = 'queued' ORDER BY asked.n",
    "text",
    "text",
)
REPLACED: Final = Many(
    "SELECT asked.n, found.number, found.size FROM {} WITH ORDINALITY AS asked(id, agent, n) JOIN past AS found"
    " ON found.id = asked.id AND found.agent = asked.agent AND found.status = 'replaced' ORDER BY asked.n",
    "text",
    "text",
)
REMEMBER: Final = Many(
    "INSERT INTO past (id, agent, publisher, status, reason, attempts, created_at, expires_at, ended_at, size, reply,"
    " timeline, callback) SELECT old.id, old.agent, old.publisher, new.status, new.reason,"
    " greatest(old.attempts, new.attempts), old.created_at, old.expires_at, new.at, new.size, new.reply,"
    f" old.timeline || new.lines, old.callback FROM {{}} WITH ORDINALITY AS {END_NAMES[:-1]}, n)"
    " JOIN messages AS old ON old.place = new.row ORDER BY new.n ON CONFLICT (id) DO NOTHING",
    *END_TYPES,
)
KEEP: Final = Many(
    "UPDATE messages AS old SET status = new.status, reason = new.reason,"
    " attempts = greatest(old.attempts, new.attempts), ended_at = new.at, timeline = old.timeline || new.lines"
    f" FROM {{}} AS {END_NAMES} WHERE old.place = new.row",
    *END_TYPES,
)
AMEND: Final = Many(
    "UPDATE past AS old SET status = new.status, reason = new.reason,"
    " attempts = greatest(old.attempts, new.attempts), ended_at = new.at, size = new.size, reply = new.reply,"
    f" timeline = old.timeline || new.lines FROM {{}} AS {END_NAMES} WHERE old.number = new.row",
    *END_TYPES,
)
FORGET: Final = Many("DELETE FROM messages AS old USING {} AS new(place) WHERE old.place = new.place", "bigint")
LETTER: Final = "SELECT place, size, (callback IS NOT NULL)::integer FROM messages WHERE id = %s AND status <> 'queued'"
REQUEUE: Final = (
    "UPDATE messages SET place = %(new)s, status = 'queued', reason = '', ended_at = NULL, attempts = 0, failures = 0,"
    " nacks = 0, first_failure_at = 0, not_before = 0, renewed_at = %(at)s::float8,"
    " expires_at = %(at)s::float8 + (expires_at - coalesce(renewed_at, created_at)),"
    " timeline = timeline || %(lines)s WHERE place = %(place)s"
)
UNREMEMBER: Final = "DELETE FROM past WHERE id = %s RETURNING size"


def queued(work: Work, ops: list[tuple[int, Op]]) -> Iterator[tuple[int, Op, int, int]]:
    """Those of ``ops`` whose message is queued for its agent, each with its place and its payload's size."""
    return matching(work, QUEUED, ops)


def matching(work: Work, many: Many, ops: list[tuple[int, Op]]) -> Iterator[tuple[int, Op, int, int]]:
    """Those of ``ops`` for whose id and agent ``many`` finds two numbers."""
    for n, first, second in work.ask_many(many, [(op.id, op.agent) for _, op in ops]):
        index, op = ops[n - 1]
        yield index, op, first, second


def end(work: Work, ops: list[tuple[int, End]]) -> None:
    """Take those out of the queue which are in it."""
    found = list(queued(work, ops))
    conclude(work, found)
    for index, _, _, size in found:
        work.answers[index] = Depth(1, size)
    if len(found) < len(ops):
        amend(work, [(index, op) for index, op in ops if work.answers[index] is None])


def conclude(work: Work, found: Sequence[Found]) -> None:
    """Remember how these ended. Only dead letters keep their row."""
    work.do_many(REMEMBER, [row_of(place, op) for _, op, place, _ in found])
    work.tally.pasts += len(found)
    work.tally.reply_bytes += sum(len(op.reply or b"") for _, op, _, _ in found)
    owe(work, [(place, op) for _, op, place, _ in found])
    letters = [each for each in found if is_letter(each[1])]
    work.do_many(KEEP, [row_of(place, op) for _, op, place, _ in letters])
    work.tally.letters += len(letters)
    work.tally.letter_bytes += sum(size for _, _, _, size in letters)
    work.do_many(FORGET, [(place,) for _, op, place, _ in found if not is_letter(op)])


def amend(work: Work, ops: list[tuple[int, End]]) -> None:
    """What was replaced while its agent had it, and is acknowledged, was delivered after all."""
    late = [(index, op) for index, op in ops if op.status is Status.DELIVERED]
    found = list(matching(work, REPLACED, late))
    work.do_many(AMEND, [row_of(number, op) for _, op, number, _ in found])
    owe_anew(work, [(number, op) for _, op, number, _ in found])
    for index, _, _, _ in found:
        work.answers[index] = NOTHING
    work.tally.reply_bytes += sum(len(op.reply or b"") - size for _, op, _, size in found)


def row_of(row: int, op: End) -> tuple[int, str, str, int, float, int, bytes | None, str]:
    """The values of ``END_TYPES``."""
    lines = timeline.encode(op.timeline) if op.timeline else ""
    return row, op.status.value, plain(op.reason), op.attempts, op.at, len(op.reply or b""), op.reply, lines


def discard(work: Work, op: Discard) -> Depth | None:
    """Let a dead letter go. How it ended is remembered as long as any end."""
    found = letter(work, op.id)
    if found is None:
        return None
    place, depth, _ = found
    take_out(work, depth)
    work.do_many(FORGET, [(place,)])
    return depth


def requeue(work: Work, op: Requeue) -> Depth | CallbacksFull | None:
    """Put a dead letter back into its queue."""
    found = letter(work, op.id)
    if found is None:
        return None
    place, depth, promises = found
    if promises and work.room_for_callbacks() <= 0:
        return no_room_for_callbacks(work.bounds.callbacks)
    work.tally.callbacks += promises
    work.last_place = max(work.last_place, op.place)
    take_out(work, depth)
    lines = timeline.encode((requeued(op),))
    work.connection.execute(REQUEUE, {"place": place, "new": op.place, "at": op.at, "lines": lines})
    for (size,) in work.ask(UNREMEMBER, op.id):
        work.tally.pasts -= 1
        work.tally.reply_bytes -= size
    return depth


def letter(work: Work, id: str) -> tuple[int, Depth, int] | None:
    """A dead letter: its place, its size, and 1 if its end is to be told, else 0."""
    found = work.ask(LETTER, id)
    if not found:
        return None
    [(place, size, promises)] = found
    return place, Depth(1, size), promises


def take_out(work: Work, depth: Depth) -> None:
    """One dead letter of that size is none any more."""
    work.tally.letters -= depth.count
    work.tally.letter_bytes -= depth.bytes
