"""Forgetting by age and number, in slices: none of them holds up a commit for more than a moment."""

from __future__ import annotations

from typing import Any, Final

import apsw

from relay.store.changes import forget
from relay.store.retention import LETTER_BYTES, LETTER_COUNT, LETTER_SECONDS, SEEN_COUNT, SEEN_SECONDS

AGENTS: Final = 1000  #: in one slice
MESSAGES: Final = 100  #: in one slice: their payloads may be large

OLD_AGENTS: Final = (
    "DELETE FROM agents WHERE agent IN (SELECT agent FROM agents WHERE last_seen < ? ORDER BY last_seen LIMIT ?)"
)
EXCESS_AGENTS: Final = (
    "DELETE FROM agents WHERE agent IN (SELECT agent FROM agents ORDER BY last_seen"
    " LIMIT min(?2, max(0, (SELECT count(*) FROM agents) - ?1)))"
)
OLD_ENDS: Final = "SELECT place FROM messages WHERE ended_at < ? ORDER BY ended_at LIMIT ?"
ENDS: Final = "SELECT count(*), ifnull(sum(size), 0) FROM messages WHERE ended_at IS NOT NULL"
FIRST_ENDS: Final = "SELECT place, size FROM messages WHERE ended_at IS NOT NULL ORDER BY ended_at LIMIT ?"


def prune(connection: apsw.Connection, now: float) -> bool:
    """Forget one slice of what is too old at Unix time ``now``, or too much. Is there more? Called in a transaction."""
    execute = connection.execute
    execute(OLD_AGENTS, (now - SEEN_SECONDS, AGENTS))
    agents = connection.changes()
    execute(EXCESS_AGENTS, (SEEN_COUNT, AGENTS))
    agents += connection.changes()
    old: list[Any] = execute(OLD_ENDS, (now - LETTER_SECONDS, MESSAGES)).fetchall()
    places = [place for (place,) in old] or excess(connection)
    forget(connection, places)
    return agents >= AGENTS or len(places) >= MESSAGES


def excess(connection: apsw.Connection) -> list[int]:
    """The places of ended messages beyond their number and their bytes, those that ended first; one slice of them."""
    count, size = connection.execute(ENDS).get
    first: list[Any] = []
    if count > LETTER_COUNT or size > LETTER_BYTES:
        first = connection.execute(FIRST_ENDS, (MESSAGES,)).fetchall()
    places = []
    for place, bytes in first:
        if count <= LETTER_COUNT and size <= LETTER_BYTES:
            break
        places.append(place)
        count, size = count - 1, size - bytes
    return places
