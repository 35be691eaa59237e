"""Keeping new messages, with their idempotency keys and the end of what they supersede."""

from __future__ import annotations

from typing import Final

from relay.core.model import Kept, Key, Known, Past, Put, Standing
from relay.core.ports import KeysFull
from relay.store.ending import no_room_for_callbacks
from relay.store.puts import name_of, rows_of
from relay.store.rows import PUT_COLUMNS, Row, text
from relay_postgres.finding import find
from relay_postgres.superseding import supersede
from relay_postgres.work import Many, Work

Puts = list[tuple[int, Put]]
Named = dict[int, tuple[str, bytes]]  #: by index in the batch: an id and a digest

NOTHING_ELSE: Final = Kept()

PUT_TYPES: Final = (
    *(
        "bigint",
        "text",
        "text",
        "text",
        "text",
        "float8",
        "float8",
        "integer",
        "integer",
        "integer",
        "float8",
        "float8",
    ),
    *("integer", "bytea", "bytea", "text", "text", "text", "text", "text"),
)

# The id is the message's identity for ever: whoever repeats a write that he heard nothing of finds it done.
PUT: Final = Many(
    f"INSERT INTO messages ({PUT_COLUMNS}) SELECT new.* FROM {{}} AS new({PUT_COLUMNS})"
    " WHERE NOT EXISTS (SELECT 1 FROM past WHERE past.id = new.id) ON CONFLICT (id) DO NOTHING",
    *PUT_TYPES,
)
KEY: Final = Many("INSERT INTO keys SELECT * FROM {}", "bytea", "text", "bytea", "float8")
KEYS: Final = Many(
    "SELECT asked.n, found.id, found.digest FROM {} WITH ORDINALITY AS asked(name, n)"
    " JOIN keys AS found ON found.name = asked.name",
    "bytea",
)
THERE: Final = Many(
    "SELECT asked.n FROM {} WITH ORDINALITY AS asked(id, n) WHERE EXISTS (SELECT 1 FROM messages WHERE id = asked.id)"
    " OR EXISTS (SELECT 1 FROM past WHERE id = asked.id)",
    "text",
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
    work.do_many(PUT, list(rows_of(puts)))
    for index, op in puts:
        work.answers[index] = work.answers[index] or NOTHING_ELSE
        work.last_place = max(work.last_place, op.record.place)


def accept(work: Work, puts: Puts) -> Named:
    """Answer those which are known already, or for whose key or callback there is no room; remember the other keys.

    Returns what the known keys name.
    """
    there = {puts[n - 1][0] for (n,) in work.ask_many(THERE, [(op.record.message.id,) for _, op in puts])}
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
    work.do_many(KEY, rows)
    work.tally.keys += len(rows)
    answer_known(work, known)
    return known


def names(work: Work, keys: list[tuple[int, Key]]) -> Named:
    """What the keys that are known stand for: an id and a digest."""
    found = work.ask_many(KEYS, [(name_of(key),) for _, key in keys])
    return {keys[n - 1][0]: (text(id), digest) for n, id, digest in found}


def answer_known(work: Work, known: Named) -> None:
    """Say what these keys name. Where a key stands for another payload, only its digest matters to who asks."""
    if not known:
        return
    found = find(work.connection, [id for id, _ in known.values()])
    for index, (id, digest) in known.items():
        what = found.get(id)
        record = what.record if isinstance(what, Standing) else None
        work.answers[index] = Kept(known=Known(id, digest, record, what if isinstance(what, Past) else None))
