"""``relay agents`` and ``relay disconnect``: who is known to a relay, and who is to leave."""

from __future__ import annotations

from typing import Final

import click

from relay.client.commands.common import (
    AGENT,
    DONE,
    FAILED,
    Place,
    Run,
    Shift,
    at_relay,
    json_option,
    limited,
    one_line,
    table,
)
from relay.client.views import PAGE, AgentView

HEADINGS: Final = ("AGENT", "STATE", "QUEUED", "IN FLIGHT", "SINCE", "LAST SEEN", "CLIENT", "REMOTE")
NUMBERS: Final = (2, 3)  # the columns of these


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
@json_option
@at_relay
@click.pass_obj
def agents(run: Run, connected: bool | None, prefix: str, limit: int, as_json: bool, place: Place) -> int:
    """List the agents that the relay knows, in the order of their names."""

    async def job(shift: Shift) -> int:
        admin = place.admin(shift)
        try:
            found = await limited(limit)(admin.agents(connected=connected, prefix=prefix, page=min(PAGE, limit + 1)))
        finally:
            await admin.close()
        for line in [agent.body for agent in found] if as_json else _table(found):
            click.echo(line)
        return DONE

    return run(job)


@click.command(
    short_help="Close the session of an agent.",
    epilog="""\b
Examples:
  relay disconnect desk-1
\b
Exit codes: 0 it was connected, and is no more, 1 it was not connected, or the
relay said no.""",
)
@click.argument("agent", type=AGENT)
@at_relay
@click.pass_obj
def disconnect(run: Run, agent: str, place: Place) -> int:
    """Close the session of AGENT, which may come back after 30 seconds. What is with it goes back to its queue."""

    async def job(shift: Shift) -> int:
        admin = place.admin(shift)
        try:
            was_there = await admin.disconnect(agent)
        finally:
            await admin.close()
        click.echo(f"{agent} is disconnected" if was_there else f"{agent} was not connected")
        return DONE if was_there else FAILED

    return run(job)


def _table(found: list[AgentView]) -> list[str]:
    return table(HEADINGS, [_cells(agent) for agent in found], NUMBERS) if found else ["no agents"]


def _cells(agent: AgentView) -> tuple[str, ...]:
    """What stands in its line."""
    state = "connected" if agent.connected else "away"
    numbers = (str(agent.queued), str(agent.in_flight))
    texts = (agent.since, agent.last_seen, agent.client, agent.remote)
    return (agent.agent, state, *numbers, *(one_line(text) if text else "-" for text in texts))
