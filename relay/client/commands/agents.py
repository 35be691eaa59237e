"""``relay agents``: who is known to a relay."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

import click
import msgspec

from relay.client.address import Address
from relay.client.commands.common import DELIVERED, Run, Shift, one_line, say, url_option
from relay.client.door import Door, Unreachable

PAGE: Final = 1000
TIMEOUT: Final = 30.0  #: seconds for a page

HEADINGS: Final = ("AGENT", "STATE", "QUEUED", "IN FLIGHT", "SINCE", "LAST SEEN", "CLIENT", "REMOTE")
_NUMBERS: Final = (2, 3)  # the columns of these


class Row(msgspec.Struct):
    """An agent, as far as it is printed."""

    agent: str
    connected: bool = False
    queued: int = 0
    in_flight: int = 0
    since: str | None = None
    last_seen: str | None = None
    client: str | None = None
    remote: str | None = None

    def cells(self) -> tuple[str, ...]:
        """What stands in its line."""
        state = "connected" if self.connected else "away"
        numbers = (str(self.queued), str(self.in_flight))
        texts = (self.since, self.last_seen, self.client, self.remote)
        return (self.agent, state, *numbers, *(one_line(text) if text else "-" for text in texts))


_row: Final = msgspec.json.Decoder(Row).decode


class _Page(msgspec.Struct):
    items: list[msgspec.Raw]
    next: str | None = None


@click.command(
    short_help="List the known agents.",
    epilog="""\b
Examples:
  relay agents
  relay agents --connected --prefix desk-
  relay agents --json | jq -r 'select(.queued > 0) | .agent'""",
)
@click.option("--connected/--away", default=None, help="Only those who are connected, or only those who are not.")
@click.option("--prefix", default="", help="Only those whose name begins so.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=10_000, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@url_option
@click.pass_obj
def agents(run: Run, connected: bool | None, prefix: str, limit: int, as_json: bool, url: str) -> int:
    """List the agents that the relay knows, in the order of their names."""

    async def job(shift: Shift) -> int:
        door = Door(Address.parse(url), reactor=shift.reactor, token=shift.token)
        try:
            found, more = await _fetch(door, connected, prefix, limit)
        finally:
            await door.close()
        for line in found if as_json else _table(found):
            click.echo(line)
        if more:
            say(f"there are more than {limit}: see --limit")
        return DELIVERED

    return run(job)


async def _fetch(door: Door, connected: bool | None, prefix: str, limit: int) -> tuple[list[bytes], bool]:
    """The agents, each as its JSON, and whether there are more."""
    found: list[bytes] = []
    cursor: str | None = None
    while len(found) < limit:
        query = {"limit": str(min(PAGE, limit - len(found)))}
        query |= {"connected": str(connected).lower()} if connected is not None else {}
        query |= {"prefix": prefix} if prefix else {}
        query |= {"cursor": cursor} if cursor is not None else {}
        page = _read((await door.request("GET", f"/v1/agents?{urlencode(query)}", timeout=TIMEOUT)).body)
        found += [bytes(item) for item in page.items]
        if page.next is None or not page.items:
            return found, False
        cursor = page.next
    return found, True


def _read(body: bytes) -> _Page:
    try:
        page = msgspec.json.decode(body, type=_Page)
        for item in page.items:
            _row(item)
        return page
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreachable(f"what answered is not a relay: {error}") from None


def _table(found: list[bytes]) -> list[str]:
    """Aligned lines under their headings; texts to the left, numbers to the right."""
    if not found:
        return ["no agents"]
    rows = [HEADINGS, *(_row(each).cells() for each in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return ["  ".join(_align(row, widths)).rstrip() for row in rows]


def _align(row: tuple[str, ...], widths: list[int]) -> list[str]:
    return [
        cell.rjust(width) if column in _NUMBERS else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
