"""A file of messages, one JSON object a line, for the batch door (protocol 1.2): in pieces, and in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from relay.client import outgoing, refusal
from relay.client.door import Door
from relay.client.outgoing import Answer
from relay.client.refusal import Refused, Unreachable
from relay.core.limits import MIB

# So much the relay takes without waiting until its results are read: a piece is written before they are.
PIECE_LINES: Final = 10_000
PIECE_BYTES: Final = 8 * MIB
LONGEST_LINE: Final = 4 * MIB  #: bytes, well above what a relay takes
PIECE_SECONDS: Final = 600.0  #: for the last result of a piece
LONGEST_RESULT: Final = MIB  #: bytes, well above what a relay answers to a line
TRIES: Final = 8  #: of what the relay does not take, in a row and without a line decided
LONGEST_PAUSE: Final = 30.0  #: seconds between two of them


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it is sent."""

    number: int  #: in the file, from 1
    data: bytes  #: with its key, without its end
    keyed: bool = True  #: may it be sent twice, and be one message all the same?
    size: int = 0  #: bytes in the file, with its end


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
            keyed, line = _with_key(line, name, number)
            yield Line(number, line, keyed, len(data))


def _with_key(line: bytes, name: str, number: int) -> tuple[bool, bytes]:
    try:
        fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False, line  # the relay says what is wrong with it
    if not fields or "idempotency_key" in fields:
        return bool(fields), line
    key = hashlib.sha256(b"\0".join((name.encode(errors="surrogateescape"), str(number).encode(), line))).hexdigest()
    # Put in front, so that no other byte of the line changes.
    return True, b'{"idempotency_key":"' + key.encode() + b'",' + line[1:]


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
    """Sends pieces. ``decided`` is told of each line once: with its Answer, or with Refused.

    What the relay kept nothing of is sent again, and so is what nobody knows of, where the line has a key: after the
    time that the relay asks for, or 1 s, 2 s, 4 s … 30 s, up to eight times in a row without a line decided.
    ``pausing`` is told why, and for how many seconds.
    """

    def __init__(
        self,
        door: Door,
        decided: Callable[[Line, Answer | Refused], object],
        *,
        clock: IReactorTime,
        pausing: Callable[[str, float], object] | None = None,
    ) -> None:
        self._door = door
        self._tell = decided
        self._clock = clock
        self._pausing = pausing or (lambda why, seconds: None)
        self._decided = 0

    async def send(self, piece: list[Line]) -> None:
        """Send a piece until all of it is decided. Raises Refused or Unreachable when that cannot be."""
        tries = 0
        while True:
            before = self._decided
            again, why, at_least = await self._once(piece, last=tries == TRIES)
            if not again:
                return
            tries = 1 if self._decided > before else tries + 1
            piece = again
            seconds = max(at_least, min(LONGEST_PAUSE, 2.0 ** (tries - 1)))
            self._pausing(why, seconds)
            await deferLater(self._clock, seconds)

    async def _once(self, piece: list[Line], *, last: bool) -> tuple[list[Line], str, float]:
        """One request: the lines to be sent again, why, and not before how many seconds. None, if it is the last."""
        reading = _Reading(piece, self._take, repeats=not last)
        body = b"".join(line.data + b"\n" for line in piece)
        headers = {"Content-Type": "application/x-ndjson"}
        try:
            await self._door.stream(
                "POST", "/v1/messages", headers=headers, body=body, timeout=PIECE_SECONDS, take=reading.take
            )
            if reading.open:
                raise Unreachable(f"{len(reading.open)} lines had no result, the first of them line {reading.first}")
        except Refused as refused:
            # Before there was any result: a relay that was never heard of does not get the benefit of the doubt.
            if last or not (self._decided and refused.problem.nothing_kept):
                raise
            return piece, str(refused), refused.problem.retry_after or 0.0
        except Unreachable as error:
            if last or not self._decided or not all(line.keyed for line in reading.open.values()):
                raise
            return [*reading.again, *reading.open.values()], str(error), reading.at_least
        return reading.again, reading.why, reading.at_least

    def _take(self, line: Line, outcome: Answer | Refused) -> None:
        self._decided += 1
        self._tell(line, outcome)


class _Result(msgspec.Struct):
    line: int
    problem: msgspec.Raw = msgspec.Raw(b"")
    retry_after: float | None = None


class _Reading:
    """The results of one request, as they come."""

    def __init__(
        self, piece: list[Line], decided: Callable[[Line, Answer | Refused], object], *, repeats: bool
    ) -> None:
        self.open = dict(enumerate(piece, 1))
        self.again: list[Line] = []
        self.why = ""
        self.at_least = 0.0  #: seconds
        self._decided = decided
        self._repeats = repeats
        self._rest = b""

    @property
    def first(self) -> int:
        """The number, in the file, of the first line without a result."""
        return min(line.number for line in self.open.values())

    def take(self, data: bytes) -> None:
        """A part of the answer."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_RESULT:
            raise Unreachable(f"what answered is not a relay: a result of more than {LONGEST_RESULT} bytes")
        for each in whole:
            self._result(each)

    def _result(self, data: bytes) -> None:
        try:
            result = msgspec.json.decode(data, type=_Result)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unreachable(f"what answered is not a relay: {error}") from None
        line = self.open.pop(result.line, None)
        if line is None:
            return
        if not bytes(result.problem):
            self._decided(line, outgoing.read(data))
            return
        problem = refusal.read(bytes(result.problem), retry_after=result.retry_after)
        if self._repeats and (problem.nothing_kept or (problem.unknown and line.keyed)):
            self.again.append(line)
            self.why = str(problem)
            self.at_least = max(self.at_least, min(LONGEST_PAUSE, problem.retry_after or 0.0))
        else:
            self._decided(line, Refused(problem))
