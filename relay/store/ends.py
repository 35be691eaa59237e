"""The end of messages, and the way back of dead letters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec

from relay.core.model import NOTHING, Depth, Discard, End, Requeue, Revise, Status
from relay.core.ports import CallbacksFull
from relay.store import timeline
from relay.store.ending import is_letter, no_room_for_callbacks, requeued
from relay.store.telling import owe, owe_anew
from relay.store.work import Work

Op = TypeVar("Op", Revise, End)
#: Index in the batch, the change, place, payload bytes, and whether the end may have to be told.
Found = tuple[int, End, int, int, int]

# Numbers in, numbers out: a text that was damaged on the disk cannot spoil the answer for the others.
QUEUED: Final = (
    "SELECT json_group_array(json_array(asked.key, found.place, found.size, found.callback IS NOT NULL))"
    " FROM json_each(?) AS asked CROSS JOIN messages AS found"
    " ON found.id = asked.value ->> 0 AND found.agent = asked.value ->> 1 AND found.status = 'queued'"
)
REPLACED: Final = (
    "SELECT json_group_array(json_array(asked.key, found.number, found.size, found.callback IS NOT NULL))"
    " FROM json_each(?) AS asked CROSS JOIN past AS found"
    " ON found.id = asked.value ->> 0 AND found.agent = asked.value ->> 1 AND found.status = 'replaced'"
)
REMEMBER: Final = (
    "INSERT INTO past (id, agent, publisher, status, reason, attempts, created_at, expires_at, ended_at, size, reply,"
    " timeline, callback) SELECT id, agent, publisher, new.column2, new.column3, max(attempts, new.column4),"
    " created_at, expires_at, new.column5, new.column6, new.column7, timeline || new.column8, callback"
    " FROM (VALUES {}) AS new CROSS JOIN messages ON place = new.column1 WHERE true ON CONFLICT (id) DO NOTHING"
)
KEEP: Final = (
    "UPDATE messages SET status = new.column2, reason = new.column3, attempts = max(attempts, new.column4),"
    " ended_at = new.column5, timeline = timeline || new.column6 FROM (VALUES {}) AS new WHERE place = new.column1"
)
AMEND: Final = (
    "UPDATE past SET status = new.column2, reason = new.column3, attempts = max(attempts, new.column4),"
    " ended_at = new.column5, size = new.column6, reply = new.column7, timeline = timeline || new.column8"
    " FROM (VALUES {}) AS new WHERE number = new.column1"
)
FORGET: Final = "DELETE FROM messages WHERE place IN (SELECT value FROM json_each(?))"
KEEP_LAST_PLACE: Final = (
    "UPDATE store SET last_place = (SELECT max(place) FROM messages)"
    " WHERE last_place < (SELECT max(place) FROM messages)"
)
LETTER: Final = "SELECT place, size, callback IS NOT NULL FROM messages WHERE id = ? AND status <> 'queued'"
REQUEUE: Final = (
    "UPDATE messages SET place = ?2, status = 'queued', reason = '', ended_at = NULL, attempts = 0, failures = 0,"
    " nacks = 0, first_failure_at = 0, not_before = 0, expires_at = ?3 + (expires_at - ifnull(renewed_at, created_at)),"
    " renewed_at = ?3, timeline = timeline || ?4 WHERE place = ?1"
)
UNREMEMBER: Final = "DELETE FROM past WHERE id = ? RETURNING size"


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(list[tuple[int, int, int, int]]).decode


def queued(work: Work, ops: list[tuple[int, Op]]) -> Iterator[tuple[int, Op, int, int, int]]:
    """Those of ``ops`` whose message is queued for its agent, each as ``Found``."""
    return matching(work, QUEUED, ops)


def matching(work: Work, sql: str, ops: list[tuple[int, Op]]) -> Iterator[tuple[int, Op, int, int, int]]:
    """Those of ``ops`` for whose id and agent ``sql`` finds three numbers."""
    if not ops:
        return
    asked = _encode([(op.id, op.agent) for _, op in ops]).decode()
    for n, first, second, third in _decode(work.connection.execute(sql, (asked,)).get):
        index, op = ops[n]
        yield index, op, first, second, third


def end(work: Work, ops: list[tuple[int, End]]) -> None:
    """Take those out of the queue which are in it."""
    found = list(queued(work, ops))
    conclude(work, found)
    for index, _, _, size, _ in found:
        work.answers[index] = Depth(1, size)
    if len(found) < len(ops):
        amend(work, [(index, op) for index, op in ops if work.answers[index] is None])


def conclude(work: Work, found: Sequence[Found]) -> None:
    """Remember how these ended. Only dead letters keep their row."""
    if not work.lean:
        remember(work, found)
    owe(work, [(place, op) for _, op, place, _, promises in found if promises])
    letters = [each for each in found if is_letter(each[1])]
    work.execute(
        KEEP,
        [
            (place, op.status, op.reason, op.attempts, op.at, timeline.encode(op.timeline))
            for _, op, place, _, _ in letters
        ],
    )
    work.tally.letters += len(letters)
    work.tally.letter_bytes += sum(each[3] for each in letters)
    kept = {each[2] for each in letters}
    forget(work, [each[2] for each in found if each[2] not in kept])


def remember(work: Work, found: Sequence[Found]) -> None:
    """Add these to what has ended."""
    work.execute(REMEMBER, [(place, *values_of(op)) for _, op, place, _, _ in found])
    work.tally.pasts += len(found)
    work.tally.reply_bytes += sum([len(op.reply) for _, op, _, _, _ in found if op.reply])


def amend(work: Work, ops: list[tuple[int, End]]) -> None:
    """What was replaced while its agent had it, and is acknowledged, was delivered after all."""
    late = [(index, op) for index, op in ops if op.status is Status.DELIVERED]
    found = list(matching(work, REPLACED, late))
    work.execute(AMEND, [(number, *values_of(op)) for _, op, number, _, _ in found])
    owe_anew(work, [(number, op) for _, op, number, _, promises in found if promises])
    for index, _, _, _, _ in found:
        work.answers[index] = NOTHING
    work.tally.reply_bytes += sum(len(op.reply or b"") - size for _, op, _, size, _ in found)


def values_of(op: End) -> tuple[str, str, int, float, int, bytes | None, str]:
    """Status, reason, attempts, time, size of the reply, reply, history."""
    lines = timeline.encode(op.timeline) if op.timeline else ""
    return op.status, op.reason, op.attempts, op.at, len(op.reply or b""), op.reply, lines


def forget(work: Work, places: Sequence[int]) -> None:
    """Delete these rows, without forgetting that their places were given."""
    if places:
        work.connection.execute(KEEP_LAST_PLACE)
        work.connection.execute(FORGET, (_encode(places).decode(),))


def discard(work: Work, op: Discard) -> Depth | None:
    """Let a dead letter go. How it ended is remembered as long as any end."""
    found = letter(work, op.id)
    if found is None:
        return None
    place, depth, _ = found
    take_out(work, depth)
    forget(work, [place])
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
    take_out(work, depth)
    work.connection.execute(KEEP_LAST_PLACE)
    work.connection.execute(REQUEUE, (place, op.place, op.at, timeline.encode((requeued(op),))))
    remembered: list[Any] = work.connection.execute(UNREMEMBER, (op.id,)).fetchall()
    for (size,) in remembered:
        work.tally.pasts -= 1
        work.tally.reply_bytes -= size
    return depth


def letter(work: Work, id: str) -> tuple[int, Depth, int] | None:
    """A dead letter: its place, its size, and 1 if its end is to be told, else 0."""
    found: list[Any] = work.connection.execute(LETTER, (id,)).fetchall()
    if not found:
        return None
    [(place, size, promises)] = found
    return place, Depth(1, size), promises


def take_out(work: Work, depth: Depth) -> None:
    """One dead letter of that size is none any more."""
    work.tally.letters -= depth.count
    work.tally.letter_bytes -= depth.bytes
