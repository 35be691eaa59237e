"""``relay send --batch``: a file of messages, how far it is, and what became of them."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import BinaryIO, Final

import click
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from relay.client.address import Address
from relay.client.batch import Batch, Line, lines_of, pieces_of
from relay.client.commands.common import DELIVERED, FAILED, QUEUED, Place, Shift, say
from relay.client.door import Door
from relay.client.outgoing import Answer
from relay.client.refusal import Refused, Unreachable

DRAW_SECONDS: Final = 0.2  #: between two drawings of the progress
BAR: Final = 20  #: characters, where there is room


async def send_file(shift: Shift, place: Place, path: Path) -> int:
    """Send the lines of a file; those that the relay refuses go to ``FILE.failed``, with their keys. The exit code."""
    door = Door(Address.parse(place.url), reactor=shift.reactor, token=place.token(shift))
    beside = path.with_name(path.name + ".failed")
    progress = Progress(shift.reactor, path.stat().st_size)
    try:
        with path.open("rb") as file, beside.open("wb") as failed:
            await _send(shift, door, file, failed, str(path.resolve()), progress)
    except (CancelledError, Refused, Unreachable):
        progress.wipe()
        say(f"{progress.summary()} until now; type the same again to go on: what has arrived is not sent twice")
        raise
    finally:
        progress.wipe()
        await door.close()
        if beside.exists() and not beside.stat().st_size:
            beside.unlink()
    counts = progress.counts
    click.echo(progress.summary() + (f" (see {beside})" if counts["failed"] else ""))
    if counts["failed"]:
        return FAILED
    return DELIVERED if counts["delivered"] == counts.total() else QUEUED


async def _send(shift: Shift, door: Door, file: BinaryIO, failed: BinaryIO, name: str, progress: Progress) -> None:
    def decided(line: Line, outcome: Answer | Refused) -> None:
        if isinstance(outcome, Refused):
            failed.write(line.data + b"\n")
        progress.add(line, "failed" if isinstance(outcome, Refused) else outcome.status)

    def pausing(why: str, seconds: float) -> None:
        progress.wipe()
        say(f"{why}; sending the rest again in {seconds:.0f} s")

    batch = Batch(door, decided, clock=shift.reactor, pausing=pausing)
    for piece in pieces_of(lines_of(file, name)):
        await batch.send(piece)


class Progress:
    """What became of the lines, and on a terminal a line of its own that says how far it is."""

    def __init__(self, clock: IReactorTime, size: int) -> None:
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._left = self._size = max(1, size)
        self._begun = self._drawn = clock.seconds()
        self._visible = False

    def add(self, line: Line, status: str) -> None:
        """A line is decided."""
        self.counts[status] += 1
        self._left -= line.size
        now = self._clock.seconds()
        if now - self._drawn >= DRAW_SECONDS and sys.stderr.isatty():
            self._drawn, self._visible = now, True
            click.echo(f"\r{self.line(now - self._begun, _columns())}\x1b[K", err=True, nl=False)

    def line(self, seconds: float, columns: int) -> str:
        """How far it is, in one line of a terminal: what does not fit is left out, from the least important on."""
        part = min(1.0, 1 - self._left / self._size)
        percent = f"{part:4.0%}"
        total = self.counts.total()
        rate = f"{total / seconds if seconds > 0 else 0:,.0f}/s"
        bar = "[" + ("#" * round(part * BAR)).ljust(BAR, ".") + "]"
        failed = f"{self.counts['failed']:,} failed" if self.counts["failed"] else ""
        each = ", ".join(f"{count:,} {status}" for status, count in sorted(self.counts.items()))
        for parts in (
            (bar, percent, rate, each),
            (percent, rate, each),
            (percent, rate, f"{total:,} lines", failed),
            (percent, rate, failed),
        ):
            line = "  ".join(filter(None, parts))
            if len(line) < columns:
                return line
        return percent[: max(0, columns - 1)]

    def wipe(self) -> None:
        """Leave the terminal's line empty, for somebody else."""
        if self._visible:
            self._visible = False
            click.echo("\r\x1b[K", err=True, nl=False)

    def summary(self) -> str:
        """How many lines there were, and what became of them."""
        each = ", ".join(f"{count} {status}" for status, count in sorted(self.counts.items()) if count)
        return f"{self.counts.total()} lines: {each}" if each else "no lines"


def _columns() -> int:
    """How wide the terminal is now: it may be made narrower while we draw."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        return 80
