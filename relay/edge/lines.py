"""The lines of a batch: cut out of what came, and read, together where nothing is wrong with any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypedDict

import msgspec

from relay.core import access, posting
from relay.core.access import Grant, Need
from relay.core.limits import Limits
from relay.core.model import Submission
from relay.core.problems import Problem


class Lines:
    """Cuts bytes into lines. A line of more than ``most`` bytes is skipped, and only its number is given."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._data = bytearray()
        self._searched = 0  #: so far there is no end of a line: looked for once, however small the pieces are
        self._skipping = False
        self.number = 0  #: of the last line that was given, from 1
        self.too_long = False  #: was that one too long?
        self._fed = 0  #: bytes, in all

    @property
    def is_empty(self) -> bool:
        """Is nothing left of what was fed?"""
        return not self._data and not self._skipping

    def feed(self, data: bytes) -> None:
        self._data += data
        self._fed += len(data)

    def are_few(self, limits: Limits) -> bool:
        """Is it a small batch, so far?"""
        return self.number <= limits.small_count and self._fed <= limits.small_bytes

    def next(self) -> bytes | None:
        """The next whole line without its end, empty if it was too long to keep; None when there is none yet."""
        end = self._data.find(b"\n", self._searched)
        if end < 0:
            if len(self._data) > self._most:
                self._skipping = True
                self._data.clear()
            self._searched = len(self._data)
            return None
        return self._cut(end, end + 1)

    def some(self, count: int, size: int) -> list[bytes]:
        """The next whole lines, at most so many and of at most so many bytes; none where ``next`` must look at each."""
        if self._skipping or self._data.find(b"\n", self._searched) < 0:
            return []
        *lines, rest = bytes(self._data).split(b"\n", count)
        after = len(self._data) - len(rest)
        if after > size or max(map(len, lines)) > self._most:
            return []
        del self._data[:after]
        self._searched = 0
        self.number += len(lines)
        self.too_long = False
        return lines

    def rest(self) -> bytes | None:
        """At the end of all: the last line, if it had no end."""
        return self._cut(len(self._data), len(self._data)) if self._data or self._skipping else None

    def _cut(self, end: int, after: int) -> bytes:
        too_long, self._skipping = self._skipping or end > self._most, False
        line = b"" if too_long else bytes(self._data[:end])
        del self._data[:after]
        self._searched = 0
        self.number += 1
        self.too_long = too_long
        return line


@dataclass(frozen=True, slots=True)
class Settings:
    """What a line may ask for. ``ack_timeout`` is the wait, in seconds, of a line that names none."""

    ack_timeout: float
    callback_hosts: frozenset[str]


class Line(msgspec.Struct, frozen=True, gc=False):
    """A line that was read: what is to be known of it until it is decided."""

    number: int
    ref: str | None
    size: int
    submission: Submission


class Manner(TypedDict):
    """How a publisher's lines are read: see ``core.posting``."""

    default_wait: float
    publisher: str
    hosts: frozenset[str]


class Publisher(Protocol):
    """Whoever sent them. What it may do can change meanwhile."""

    grant: Grant


#: Is told a line that was refused: its number, its ``ref`` as far as it is known, and why.
Refuse = Callable[[int, str | None, Problem], object]


class Reading:
    """Reads the lines of one publisher, in their order."""

    def __init__(self, limits: Limits, settings: Settings, publisher: Publisher, refuse: Refuse) -> None:
        self._limits = limits
        self._settings = settings
        self._publisher = publisher
        self._refuse = refuse
        self._lines = Lines(limits.frame)

    @property
    def is_empty(self) -> bool:
        """Is nothing left of what was fed?"""
        return self._lines.is_empty

    @property
    def are_few(self) -> bool:
        """Is it a small batch, so far?"""
        return self._lines.are_few(self._limits)

    def feed(self, data: bytes) -> None:
        self._lines.feed(data)

    def read(self, count: int, size: int) -> list[Line] | None:
        """Some of the next lines, those that are to be submitted; the others were refused, or are blank.

        At most ``count``, and no further one once they have ``size`` bytes. None: there is no whole line yet.
        """
        lines = self._lines.some(count, size)
        if lines:
            return self._read_all(lines)
        data = self._lines.next()
        return None if data is None else self._read(data, self._lines.number)

    def read_rest(self) -> list[Line] | None:
        """At the end of all: the last line, if it had no end."""
        data = self._lines.rest()
        return None if data is None else self._read(data, self._lines.number)

    def _read_all(self, lines: list[bytes]) -> list[Line]:
        """Read lines that came together: at once if nothing is wrong with any of them, as nearly always."""
        first, grant = self._lines.number - len(lines) + 1, self._publisher.grant
        read = posting.read_all(lines, self._limits, **self._manner())
        if read is not None and all(map(grant.may_publish, {submission.agent for _, submission in read})):
            return [
                Line(number, ref, len(data), submission)
                for number, data, (ref, submission) in zip(range(first, first + len(lines)), lines, read, strict=True)
            ]
        return [line for number, data in enumerate(lines, first) for line in self._read(data, number)]

    def _read(self, data: bytes, number: int) -> list[Line]:
        """The line, unless it is refused or blank."""
        too_long = self._lines.too_long
        if not too_long and not data.strip():
            return []
        ref = None
        try:
            if too_long:
                raise Problem("payload-too-large", f"a line may have {self._limits.frame} bytes", limit="frame")
            ref = posting.ref_of(data)
            submission = posting.read(data, self._limits, **self._manner())
            access.check(Need.PUBLISH, self._publisher.grant, submission.agent)
        except Problem as problem:
            self._refuse(number, ref, problem)
            return []
        return [Line(number, ref, len(data), submission)]

    def _manner(self) -> Manner:
        settings = self._settings
        return {
            "default_wait": settings.ack_timeout,
            "publisher": self._publisher.grant.name,
            "hosts": settings.callback_hosts,
        }
