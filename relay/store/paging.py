"""A page of a queue, filled row by row: the bounds are the same for every store."""

from __future__ import annotations

from relay.core.model import Page, Record


class PageMaker:
    """Takes rows in the order of places until the page is full.

    Ask ``fits`` before each row; once it says no, nothing more is added.
    """

    def __init__(self, after: int, limit: int, max_bytes: int) -> None:
        self._last = after
        self._rows_left = limit
        self._bytes_left = max_bytes
        self._records: list[Record] = []
        self._delayed: list[tuple[int, str, float]] = []
        self._corrupt: list[str] = []

    def fits(self, size: int) -> bool:
        """Is there room for a row with ``size`` bytes of payload? One row of any size alone has it."""
        return self._rows_left > 0 and (size <= self._bytes_left or not self._records)

    def add(self, record: Record) -> None:
        """This one may be sent."""
        self._records.append(record)
        self._bytes_left -= len(record.message.payload)
        self._last = record.place
        self._rows_left -= 1

    def delay(self, place: int, id: str, not_before: float) -> None:
        """The time of this one has not come."""
        self._delayed.append((place, id, not_before))
        self._looked_at(place)

    def spoil(self, place: int, id: str) -> None:
        """This one is not what was put."""
        self._corrupt.append(id)
        self._looked_at(place)

    def _looked_at(self, place: int) -> None:
        self._last = place
        self._rows_left -= 1

    def page(self, more: bool) -> Page:
        """The page; ``more`` says whether a row did not fit."""
        return Page(tuple(self._records), tuple(self._delayed), tuple(self._corrupt), self._last, more)
