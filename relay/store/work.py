"""A batch of changes under way: its transaction, its answers, and the counts that it moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from itertools import chain
from typing import Final

import apsw

from relay.core.model import Depth, Kept
from relay.core.ports import StoreUnavailable
from relay.store.retention import DEFAULTS, Bounds
from relay.store.rows import Row

Answer = Depth | Kept | None | StoreUnavailable

#: Rows of one statement. Each power of two below it is a prepared statement of its own: few, whatever the batch.
MOST_ROWS: Final = 64


@dataclass(slots=True)
class Tally:
    """How much there is of what is bounded as a whole: the columns of ``store``, or what is to be added to them."""

    keys: int = 0
    callbacks: int = 0  #: owed, or promised to what is queued
    pasts: int = 0
    reply_bytes: int = 0
    letters: int = 0
    letter_bytes: int = 0


COUNTS: Final = tuple(each.name for each in fields(Tally))
COUNTED: Final = f"SELECT {', '.join(COUNTS)} FROM store"
COUNT: Final = f"UPDATE store SET {', '.join(f'{name} = {name} + ?' for name in COUNTS)}"


@dataclass(slots=True)
class Work:
    """Changes in a transaction. ``lean``: the disk is full, and ends are recorded without remembering them."""

    connection: apsw.Connection
    answers: list[Answer] = field(default_factory=list)
    bounds: Bounds = DEFAULTS
    lean: bool = False
    tally: Tally = field(default_factory=Tally)  #: what this work has added

    def totals(self) -> Tally:
        """The counts as they stand now."""
        return Tally(*self.connection.execute(COUNTED).get)

    def room_for_callbacks(self) -> int:
        """How many more may be promised."""
        return self.bounds.callbacks - self.totals().callbacks - self.tally.callbacks

    def count(self) -> None:
        """Add what was tallied to the counts."""
        if self.tally != Tally():
            added = tuple(getattr(self.tally, name) for name in COUNTS)
            self.connection.execute(COUNT, added)
            self.tally = Tally()

    def execute(self, template: str, rows: Sequence[Row]) -> None:
        """Execute ``template`` with ``rows`` as its VALUES, in as few statements as their bound allows."""
        at, count = 0, MOST_ROWS
        while at < len(rows):
            while count > len(rows) - at:
                count //= 2
            part = rows[at : at + count]
            self.connection.execute(statement(template, count, len(part[0])), tuple(chain.from_iterable(part)))
            at += count


@lru_cache(maxsize=128)
def statement(template: str, count: int, width: int) -> str:
    """``template`` for so many rows of so many values."""
    row = f"({', '.join('?' * width)})"
    return template.format(", ".join([row] * count))
