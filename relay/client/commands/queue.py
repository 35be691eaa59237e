"""``relay queue``: what waits for an agent."""

from __future__ import annotations

from typing import Final

import click

from relay.client.commands.common import (
    AGENT,
    DONE,
    Place,
    Run,
    Shift,
    at_relay,
    json_option,
    limited,
    one_line,
    table,
)
from relay.client.views import PAGE, MessageView

HEADINGS: Final = ("ID", "STATUS", "ATTEMPTS", "BYTES", "CREATED", "EXPIRES", "TOPIC", "TYPE")
NUMBERS: Final = (2, 3)


@click.command(
    short_help="List, or empty, the queue of an agent.",
    epilog="""\b
Examples:
  relay queue desk-1
  relay queue desk-1 --json --payload | jq .payload
  relay queue desk-1 --empty
\b
Exit codes: 0 done, 1 the relay said no.""",
)
@click.argument("agent", type=AGENT)
@click.option("--empty", is_flag=True, help="Cancel all that is queued, but for what is with the agent now.")
@click.option("--payload", is_flag=True, help="With --json: what the messages say, too.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="At most so many.")
@json_option
@at_relay
@click.pass_obj
def queue(run: Run, agent: str, empty: bool, payload: bool, limit: int, as_json: bool, place: Place) -> int:
    """List what is queued for AGENT, oldest first."""
    if payload and not as_json:
        raise click.UsageError("--payload goes with --json")
    if empty and as_json:
        raise click.UsageError("--empty and --json exclude each other")

    async def job(shift: Shift) -> int:
        admin = place.admin(shift)
        try:
            if empty:
                lines: list[bytes] | list[str] = [f"{await admin.empty(agent)} cancelled"]
            else:
                found = await limited(limit)(admin.queue(agent, payload=payload, page=min(PAGE, limit + 1)))
                lines = [view.body for view in found] if as_json else _table(agent, found)
        finally:
            await admin.close()
        for line in lines:
            click.echo(line)
        return DONE

    return run(job)


def _table(agent: str, found: list[MessageView]) -> list[str]:
    return table(HEADINGS, [_cells(view) for view in found], NUMBERS) if found else [f"nothing waits for {agent}"]


def _cells(view: MessageView) -> tuple[str, ...]:
    numbers = (str(view.attempts), str(view.size))
    texts = (view.created_at, view.expires_at, view.topic or "-", view.content_type)
    return (view.id, view.status, *numbers, *map(one_line, texts))
