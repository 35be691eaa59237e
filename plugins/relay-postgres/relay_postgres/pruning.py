"""Forgetting by age and number, in slices: none of them holds up a commit for more than a moment."""

from __future__ import annotations

from typing import Final

from relay.store.retention import SEEN_COUNT, SEEN_SECONDS
from relay_postgres.ends import FORGET
from relay_postgres.work import Many, Work

SMALL_ROWS: Final = 1000  #: in one slice
PASTS: Final = 500  #: in one slice
LETTERS: Final = 100  #: in one slice: their payloads may be large

OLD_AGENTS: Final = (
    "DELETE FROM agents WHERE agent IN"
    " (SELECT agent FROM agents WHERE last_seen < %s::float8 ORDER BY last_seen LIMIT %s) RETURNING 1"
)
EXCESS_AGENTS: Final = (
    "DELETE FROM agents WHERE agent IN (SELECT agent FROM agents ORDER BY last_seen"
    " LIMIT least(%s, greatest(0, (SELECT count(*) FROM agents) - %s))) RETURNING 1"
)
OLD_KEYS: Final = (
    "DELETE FROM keys WHERE name IN"
    " (SELECT name FROM keys WHERE until < %s::float8 ORDER BY until LIMIT %s) RETURNING 1"
)
FIRST_LETTERS: Final = (
    "SELECT place, size, ended_at FROM messages WHERE ended_at IS NOT NULL ORDER BY ended_at, place LIMIT %s"
)
FIRST_PASTS: Final = "SELECT number, size, ended_at FROM past ORDER BY ended_at, number LIMIT %s"
FORGET_PASTS: Final = Many("DELETE FROM past AS old USING {} AS new(number) WHERE old.number = new.number", "bigint")


def prune(work: Work, now: float) -> bool:
    """Forget one slice of what is too old at Unix time ``now``, or too much. Is there more? Called in a transaction."""
    more = [
        prune_agents(work, now) >= SMALL_ROWS,
        prune_keys(work, now) >= SMALL_ROWS,
        prune_letters(work, now - work.bounds.letter_seconds, LETTERS) >= LETTERS,
        prune_pasts(work, now - work.bounds.ended_seconds, PASTS) >= PASTS,
    ]
    work.count()
    return any(more)


def trim(work: Work) -> None:
    """Forget what this work made too much, so that no load outruns the slices."""
    if work.tally.pasts > 0:
        prune_pasts(work, float("-inf"), 2 * work.tally.pasts)
    if work.tally.letters > 0:
        prune_letters(work, float("-inf"), 2 * work.tally.letters)


def prune_agents(work: Work, now: float) -> int:
    """Forget a slice of the agents that were not seen for long, or that are too many. How many?"""
    gone = len(work.ask(OLD_AGENTS, now - SEEN_SECONDS, SMALL_ROWS))
    return gone + len(work.ask(EXCESS_AGENTS, SMALL_ROWS, SEEN_COUNT))


def prune_keys(work: Work, now: float) -> int:
    """Forget a slice of the keys whose time is over. How many?"""
    gone = len(work.ask(OLD_KEYS, now, SMALL_ROWS))
    work.tally.keys -= gone
    return gone


def prune_letters(work: Work, before: float, most: int) -> int:
    """Forget the first dead letters that ended before that time, or are too much. How many?"""
    totals = work.totals()
    count = totals.letters + work.tally.letters - work.bounds.letter_count
    size = totals.letter_bytes + work.tally.letter_bytes - work.bounds.letter_bytes
    places, bytes = first(work, FIRST_LETTERS, most, before, count, size)
    work.do_many(FORGET, [(place,) for place in places])
    work.tally.letters -= len(places)
    work.tally.letter_bytes -= bytes
    return len(places)


def prune_pasts(work: Work, before: float, most: int) -> int:
    """Forget the first ends before that time, or of too many. How many?"""
    totals = work.totals()
    count = totals.pasts + work.tally.pasts - work.bounds.ended_count
    size = totals.reply_bytes + work.tally.reply_bytes - work.bounds.ended_bytes
    numbers, bytes = first(work, FIRST_PASTS, most, before, count, size)
    work.do_many(FORGET_PASTS, [(number,) for number in numbers])
    work.tally.pasts -= len(numbers)
    work.tally.reply_bytes -= bytes
    return len(numbers)


def first(work: Work, sql: str, most: int, before: float, count: int, size: int) -> tuple[list[int], int]:
    """Of the first ``most`` rows those that are too old, or ``count`` or ``size`` too much; and their bytes."""
    if before == float("-inf") and count <= 0 and size <= 0:
        return [], 0
    gone, bytes = [], 0
    for number, each, ended_at in work.ask(sql, most):
        if ended_at >= before and count <= 0 and size <= 0:
            break
        gone.append(number)
        count, size, bytes = count - 1, size - each, bytes + each
    return gone, bytes
