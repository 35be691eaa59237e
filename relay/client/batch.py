"""A file of messages, one JSON object a line, for the batch door (protocol 1.2): in pieces, and in constant memory."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import msgspec

from relay.client.door import Door, Unreachable
from relay.core.limits import MIB

# So much the relay takes without waiting until its results are read: a piece is written before they are.
PIECE_LINES: Final = 10_000
PIECE_BYTES: Final = 8 * MIB
LONGEST_LINE: Final = 4 * MIB  #: bytes, well above what a relay takes
PIECE_SECONDS: Final = 600.0  #: for the last result of a piece


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it is sent."""

    number: int  #: in the file, from 1
    data: bytes  #: with its key, without its end


class Result(msgspec.Struct, frozen=True):
    """What became of a line, as far as it is counted."""

    line: int
    status: str = "failed"


def lines_of(file: BinaryIO, name: str) -> Iterator[Line]:
    """The lines that are not empty. One without an ``idempotency_key`` gets one, made of ``name``, number and content.

    So the same file may be sent again after an interruption, and each of its messages is one message all the same.
    Raises ValueError for a line that is longer than 4 MiB.
    """
    number = 0
    while data := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(data) > LONGEST_LINE:
            raise ValueError(f"line {number} is longer than {LONGEST_LINE} bytes")
        if line := data.strip():
            yield Line(number, _with_key(line, name, number))


def _with_key(line: bytes, name: str, number: int) -> bytes:
    try:
        fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line  # the relay says what is wrong with it
    if not fields or "idempotency_key" in fields:
        return line
    key = hashlib.sha256(b"\0".join((name.encode(errors="surrogateescape"), str(number).encode(), line))).hexdigest()
    # Put in front, so that no other byte of the line changes.
    return b'{"idempotency_key":"' + key.encode() + b'",' + line[1:]


def pieces_of(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """The lines in pieces of at most 10,000 and 8 MiB."""
    piece: list[Line] = []
    size = 0
    for line in lines:
        if piece and (len(piece) >= PIECE_LINES or size + len(line.data) + 1 > PIECE_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(line)
        size += len(line.data) + 1
    if piece:
        yield piece


class Batch:
    """Sends pieces and counts what became of their lines, by status; ``failed`` is told of each that was refused."""

    def __init__(self, door: Door, failed: Callable[[Line], object], progress: Callable[[], object]) -> None:
        self._door = door
        self._failed = failed
        self._progress = progress
        self.counts: Counter[str] = Counter()

    async def send(self, piece: list[Line]) -> None:
        """Send a piece. Raises Refused, or Unreachable when not every line has its result."""
        open_lines = dict(enumerate(piece, 1))
        rest = bytearray()

        def take(data: bytes) -> None:
            rest.extend(data)
            *whole, last = bytes(rest).split(b"\n")
            rest[:] = last
            for each in whole:
                self._decided(_read(each), open_lines)
            self._progress()

        await self._door.stream(
            "POST",
            "/v1/messages",
            headers={"Content-Type": "application/x-ndjson"},
            body=b"".join(line.data + b"\n" for line in piece),
            timeout=PIECE_SECONDS,
            take=take,
        )
        if open_lines:
            raise Unreachable(f"{len(open_lines)} lines had no result, the first of them line {_first(open_lines)}")

    def _decided(self, result: Result, open_lines: dict[int, Line]) -> None:
        line = open_lines.pop(result.line, None)
        if line is None:
            return
        self.counts[result.status] += 1
        if result.status == "failed":
            self._failed(line)


def _first(lines: dict[int, Line]) -> int:
    """The number, in the file, of the first of these lines."""
    return min(line.number for line in lines.values())


def _read(data: bytes) -> Result:
    try:
        return msgspec.json.decode(data, type=Result)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"what answered is not a relay: {error}") from None
