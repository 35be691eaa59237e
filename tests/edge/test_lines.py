"""How the bytes of a batch are cut into lines."""

from __future__ import annotations

from typing import SupportsIndex

from hypothesis import given
from hypothesis import strategies as st

from relay.edge.lines import Lines


def cut(pieces: list[bytes], most: int = 10) -> list[bytes | None]:
    """The lines, None for one that is too long."""
    lines, found = Lines(most), []
    for piece in pieces:
        lines.feed(piece)
        while (line := lines.next()) is not None:
            found.append(None if lines.too_long else line)
    rest = lines.rest()
    return found if rest is None else [*found, None if lines.too_long else rest]


@given(st.lists(st.text("ab\n", max_size=30).map(str.encode), max_size=20))
def test_however_they_come_they_are_the_same(pieces: list[bytes]) -> None:
    *whole, rest = b"".join(pieces).split(b"\n")
    expected = [*whole, rest] if rest else whole
    assert cut(pieces) == [line if len(line) <= 10 else None for line in expected]


def cut_in_lots(pieces: list[bytes], count: int, size: int, most: int = 10) -> list[bytes | None]:
    """The same, several at a time where that may be."""
    lines = Lines(most)
    found: list[bytes | None] = []
    for piece in pieces:
        lines.feed(piece)
        while True:
            before = lines.number
            some = lines.some(count, size)
            assert len(some) <= count
            assert sum(map(len, some)) <= size
            found += some
            if not some:
                if (line := lines.next()) is None:
                    break
                found.append(None if lines.too_long else line)
            assert lines.number == before + max(len(some), 1)
    rest = lines.rest()
    return found if rest is None else [*found, None if lines.too_long else rest]


@given(st.lists(st.text("ab\n", max_size=30).map(str.encode), max_size=20), st.integers(1, 5), st.integers(0, 20))
def test_several_at_a_time_they_are_the_same_too(pieces: list[bytes], count: int, size: int) -> None:
    assert cut_in_lots(pieces, count, size) == cut(pieces)


class Counting(bytearray):
    """Counts the bytes that are searched."""

    searched = 0

    def find(self, what: bytes, start: SupportsIndex = 0) -> int:  # type: ignore[override]  # as it is called here
        found = super().find(what, start)
        self.searched += (found if found >= 0 else len(self)) - int(start)
        return found


def test_a_long_line_in_small_pieces_is_searched_once() -> None:
    # In chunks of a byte, of which a publisher may send as many as it likes, two megabytes would take minutes.
    lines = Lines(10_000)
    counting = lines._data = Counting()
    for _ in range(9_000):
        lines.feed(b"x")
        assert lines.next() is None
    lines.feed(b"\n")
    assert lines.next() == b"x" * 9_000
    assert counting.searched <= 9_100
