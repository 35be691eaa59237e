"""Topics in the database: what a newer message takes the place of, at once or when its agent has it no more."""

from __future__ import annotations

import json
from typing import Any, Final

import apsw

from relay.core.model import Kept, Put
from relay.store.ending import replacement, settlement
from relay.store.ends import Found, conclude
from relay.store.pruning import trim
from relay.store.rows import text
from relay.store.work import Work

SUPERSEDED: Final = (
    "SELECT json_group_array(json_array(asked.key, found.place, found.size, hex(CAST(found.id AS BLOB))))"
    " FROM json_each(?) AS asked CROSS JOIN messages AS found INDEXED BY topics ON found.agent = asked.value ->> 0"
    " AND found.topic = asked.value ->> 1 AND found.place < asked.value ->> 2 AND found.status = 'queued'"
)
# The reason of one that is queued is what is to take its place: it is in flight, and is not called back.
SPARE: Final = (
    "UPDATE messages SET reason = new.column2 FROM (VALUES {}) AS new WHERE place = new.column1 AND reason = ''"
)
SPARED: Final = (
    "SELECT place, size, CAST(id AS BLOB), CAST(agent AS BLOB), CAST(reason AS BLOB) FROM messages INDEXED BY topics"
    " WHERE status = 'queued' AND topic IS NOT NULL AND reason <> ''"
)


def supersede(work: Work, puts: list[tuple[int, Put]]) -> dict[str, int]:
    """End what these take the place of. Returns the ids of that, each with the index of the write that ended it."""
    if not puts:
        return {}
    messages = [op.record.message for _, op in puts]
    asked = [(message.agent, message.topic, op.record.place) for message, (_, op) in zip(messages, puts, strict=True)]
    ended: list[Found] = []
    spared: list[tuple[int, str]] = []
    replaced: dict[int, list[tuple[str, int]]] = {}
    for n, place, size, name in json.loads(work.connection.execute(SUPERSEDED, (json.dumps(asked),)).get):
        index, op = puts[n]
        id = bytes.fromhex(name).decode(errors="replace")
        if id in op.spared:
            spared.append((place, op.record.message.id))
        else:
            ended.append((index, replacement(op, id), place, size, True))
            replaced.setdefault(index, []).append((id, size))
    work.execute(SPARE, spared)
    conclude(work, ended)
    for index, gone in replaced.items():
        work.answers[index] = Kept(tuple(gone))
    return {op.id: index for index, op, _, _, _ in ended}


def left(connection: apsw.Connection) -> bool:
    """Is there anything to settle?"""
    return bool(connection.execute(SPARED).fetchall())


def settle(connection: apsw.Connection, now: float, *, lean: bool) -> None:
    """After a start nothing is in flight: what was spared for that ends ``replaced`` instead of being sent again.

    Called in a transaction. ``lean``: as for ``Work``.
    """
    work = Work(connection, lean=lean)
    rows: list[Any] = connection.execute(SPARED).fetchall()
    ends = [settlement(text(agent), text(id), text(by), now) for _, _, id, agent, by in rows]
    conclude(work, [(0, end, place, size, True) for (place, size, *_), end in zip(rows, ends, strict=True)])
    trim(work)
    work.count()
