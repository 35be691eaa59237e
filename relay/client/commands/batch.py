"""``relay send --batch``: a file of messages, and what became of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO, Final

import click
from twisted.internet.defer import CancelledError

from relay.client.address import Address
from relay.client.batch import Batch, Line, lines_of, pieces_of
from relay.client.commands.common import DELIVERED, FAILED, QUEUED, Shift, say
from relay.client.door import Door, Refused, Unreachable

DRAW_SECONDS: Final = 0.2  #: between two drawings of the progress


async def send_file(shift: Shift, url: str, path: Path) -> int:
    """Send the lines of a file; those that the relay refuses go to ``FILE.failed``, with their keys. The exit code."""
    door = Door(Address.parse(url), reactor=shift.reactor, token=shift.token)
    beside = path.with_name(path.name + ".failed")
    try:
        with path.open("rb") as file, beside.open("wb") as failed:
            batch = await _send(shift, door, file, failed, str(path.resolve()))
    except (CancelledError, Refused, Unreachable):
        say("type the same again to go on: what has arrived is not sent twice")
        raise
    finally:
        await door.close()
        if beside.exists() and not beside.stat().st_size:
            beside.unlink()
    click.echo(_summary(batch) + (f" (see {beside})" if batch.counts["failed"] else ""))
    if batch.counts["failed"]:
        return FAILED
    return DELIVERED if batch.counts["delivered"] == batch.counts.total() else QUEUED


async def _send(shift: Shift, door: Door, file: BinaryIO, failed: BinaryIO, name: str) -> Batch:
    def keep(line: Line) -> None:
        failed.write(line.data + b"\n")

    size = max(1, file.seek(0, 2))
    file.seek(0)
    begun = drawn = shift.reactor.seconds()

    def draw() -> None:
        nonlocal drawn
        now = shift.reactor.seconds()
        if now - drawn >= DRAW_SECONDS and sys.stderr.isatty():
            drawn = now
            rate = batch.counts.total() / (now - begun)
            click.echo(
                f"\r{file.tell() * 100 // size:3d} %  {rate:,.0f}/s  {_summary(batch)}\x1b[K", err=True, nl=False
            )

    batch = Batch(door, keep, draw)
    for piece in pieces_of(lines_of(file, name)):
        await batch.send(piece)
    if drawn != begun:
        click.echo("\r\x1b[K", err=True, nl=False)
    return batch


def _summary(batch: Batch) -> str:
    """How many lines there were, and what became of them."""
    each = ", ".join(f"{count} {status}" for status, count in sorted(batch.counts.items()) if count)
    return f"{batch.counts.total()} lines: {each}" if each else "no lines"
