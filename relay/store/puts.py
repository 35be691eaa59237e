"""Keeping new messages, with their idempotency keys and the end of what they supersede."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

from relay.core.model import Event, Kept, Key, Known, Past, Put, Standing
from relay.core.ports import KeysFull
from relay.store import timeline
from relay.store.ending import no_room_for_callbacks
from relay.store.finding import find
from relay.store.rows import PUT_COLUMNS, Row, row_of
from relay.store.superseding import supersede
from relay.store.work import Work

Puts = list[tuple[int, Put]]
Named = dict[int, tuple[str, bytes]]  #: by index in the batch: an id and a digest

NOTHING_ELSE: Final = Kept()

# The id is the message's identity for ever: whoever repeats a write that he heard nothing of finds it done.
PUT: Final = (
    f"INSERT INTO messages ({PUT_COLUMNS}) SELECT * FROM (VALUES {{}}) AS new"
    " WHERE NOT EXISTS (SELECT 1 FROM past WHERE id = new.column2) ON CONFLICT (id) DO NOTHING"
)
KEY: Final = "INSERT INTO keys VALUES {}"
KEYS: Final = (
    "SELECT json_group_array(json_array(asked.key, hex(CAST(found.id AS BLOB)), hex(found.digest)))"
    " FROM json_each(?) AS asked CROSS JOIN keys AS found ON found.name = unhex(asked.value)"
)
THERE: Final = (
    "SELECT json_group_array(key) FROM json_each(?) AS asked WHERE"
    " EXISTS (SELECT 1 FROM messages WHERE id = asked.value) OR EXISTS (SELECT 1 FROM past WHERE id = asked.value)"
)


def put(work: Work, puts: Puts) -> None:
    """Keep those which are new. No two of them have the same id, key or topic."""
    if not puts:
        return
    special = [(index, op) for index, op in puts if op.key is not None or op.supersedes or op.record.message.callback]
    if special:
        known = accept(work, special)
        puts = [(index, op) for index, op in puts if work.answers[index] is None]
        ended = supersede(work, [(index, op) for index, op in puts if op.supersedes])
        answer_known(work, {index: name for index, name in known.items() if ended.get(name[0], index) < index})
    work.execute(PUT, list(rows_of(puts)))
    for index, _ in puts:
        work.answers[index] = work.answers[index] or NOTHING_ELSE


def rows_of(puts: Puts) -> Iterator[Row]:
    """Their rows. Lines that came together have the same history, which is then written out once."""
    events: tuple[Event, ...] = ()
    lines = ""
    for _, op in puts:
        if op.timeline is not events:
            events, lines = op.timeline, timeline.encode(op.timeline)
        yield row_of(op.record, lines)


def accept(work: Work, puts: Puts) -> Named:
    """Answer those which are known already, or for whose key or callback there is no room; remember the other keys.

    Returns what the known keys name.
    """
    there = kept(work, puts)
    named = names(work, [(index, op.key) for index, op in puts if op.key is not None])
    known: Named = {}
    rows: list[Row] = []
    room = work.bounds.keys - work.totals().keys - work.tally.keys
    callbacks = work.room_for_callbacks()
    for index, op in puts:
        id, key, promises = op.record.message.id, op.key, op.record.message.callback is not None
        if key is None:
            if index in there:
                work.answers[index] = NOTHING_ELSE
                continue
        elif index in named:
            known[index] = named[index]
            continue
        elif index in there:  # remembered for longer than its key
            known[index] = (id, key.digest)
            continue
        if promises and callbacks <= 0:
            work.answers[index] = no_room_for_callbacks(work.bounds.callbacks)
        elif key is not None and len(rows) >= room:
            work.answers[index] = KeysFull(f"{work.bounds.keys} idempotency keys are remembered: no more may be")
        else:
            callbacks -= promises
            work.tally.callbacks += promises
            if key is not None:
                rows.append((name_of(key), id, key.digest, key.until))
    work.execute(KEY, rows)
    work.tally.keys += len(rows)
    answer_known(work, known)
    return known


def kept(work: Work, puts: Puts) -> set[int]:
    """Which of them are there already, queued or ended."""
    found = work.connection.execute(THERE, (json.dumps([op.record.message.id for _, op in puts]),)).get
    return {puts[n][0] for n in json.loads(found)}


def names(work: Work, keys: list[tuple[int, Key]]) -> Named:
    """What the keys that are known stand for: an id and a digest."""
    if not keys:
        return {}
    asked = json.dumps([name_of(key).hex() for _, key in keys])
    found = json.loads(work.connection.execute(KEYS, (asked,)).get)
    return {keys[n][0]: (bytes.fromhex(id).decode(errors="replace"), bytes.fromhex(digest)) for n, id, digest in found}


def answer_known(work: Work, known: Named) -> None:
    """Say what these keys name. Where a key stands for another payload, only its digest matters to who asks."""
    if not known:
        return
    found = find(work.connection, [id for id, _ in known.values()])
    for index, (id, digest) in known.items():
        what = found.get(id)
        record = what.record if isinstance(what, Standing) else None
        work.answers[index] = Kept(known=Known(id, digest, record, what if isinstance(what, Past) else None))


def name_of(key: Key) -> bytes:
    """A key's name in the table: a digest, so that every row is short. The lengths keep the fields apart."""
    parts = [part.encode() for part in (key.publisher, key.agent, key.key)]
    return blake2b(b"".join(len(part).to_bytes(4, "big") + part for part in parts), digest_size=16).digest()
