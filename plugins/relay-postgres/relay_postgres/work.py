"""A batch of changes under way: its transaction, its answers, and the counts that it moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from relay.store.retention import DEFAULTS, Bounds
from relay.store.work import COUNTS, Answer, Tally
from relay_postgres.link import Connection

Row = Sequence[Any]

COUNTED: Final = f"SELECT {', '.join(COUNTS)} FROM store"
COUNT: Final = "UPDATE store SET last_place = greatest(last_place, %s::bigint), " + ", ".join(
    f"{name} = {name} + %s" for name in COUNTS
)


class Many:
    """A statement about many rows at once: ``{}`` in it is the table of them.

    They go to the server as one array for each column, so that whatever their number the statement is the same, is
    prepared once, and costs one message.
    """

    def __init__(self, sql: str, *types: str) -> None:
        self.sql = sql.format(f"unnest({', '.join(f'%b::{each}[]' for each in types)})")
        self._floats = [each == "float8" for each in types]

    def columns(self, rows: Sequence[Row]) -> list[list[Any]]:
        """The rows as its parameters."""
        # An array of numbers that are partly whole has no type.
        return [
            [None if value is None else float(value) for value in column] if is_float else list(column)
            for is_float, column in zip(self._floats, zip(*rows, strict=True), strict=True)
        ]


@dataclass(slots=True)
class Work:
    """Changes in a transaction. What is asked is sent at once; what is only done waits for that (a pipeline)."""

    connection: Connection
    answers: list[Answer] = field(default_factory=list)
    bounds: Bounds = DEFAULTS
    tally: Tally = field(default_factory=Tally)  #: what this work has added
    last_place: int = 0

    def ask(self, sql: str, *parameters: Any) -> list[Any]:
        """The rows of one statement."""
        return self.connection.execute(sql, parameters, binary=True).fetchall()

    def ask_many(self, many: Many, rows: Sequence[Row]) -> list[Any]:
        """The rows that a statement about many gives."""
        return self.ask(many.sql, *many.columns(rows)) if rows else []

    def do_many(self, many: Many, rows: Sequence[Row]) -> None:
        """A statement about many, whose result does not matter."""
        if rows:
            self.connection.execute(many.sql, many.columns(rows))

    def totals(self) -> Tally:
        """The counts as they stand now."""
        [counts] = self.ask(COUNTED)
        return Tally(*counts)

    def room_for_callbacks(self) -> int:
        """How many more may be promised."""
        return self.bounds.callbacks - self.totals().callbacks - self.tally.callbacks

    def count(self) -> None:
        """Add what was tallied to the counts."""
        if self.tally != Tally() or self.last_place:
            self.connection.execute(COUNT, (self.last_place, *(getattr(self.tally, name) for name in COUNTS)))
            self.tally, self.last_place = Tally(), 0


def plain(text: str) -> str:
    """The text as the server can keep it: of all characters only NUL is none there."""
    return text.replace("\0", "\u2400") if "\0" in text else text
