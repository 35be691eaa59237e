"""``relay status`` and ``relay cancel``: one message, by its id."""

from __future__ import annotations

import click

from relay.client.commands.common import (
    DONE,
    FAILED,
    QUEUED,
    Place,
    Run,
    Shift,
    at_relay,
    json_option,
    one_line,
    table,
)
from relay.client.views import MessageView


@click.command(
    short_help="Say what became of a message.",
    epilog="""\b
Examples:
  relay status 01a20b21-6875-7749-afb1-531d03de53e3
  relay status 01a20b21-6875-7749-afb1-531d03de53e3 --wait 30 && echo delivered
\b
Exit codes: 0 delivered, 3 on its way (queued or sent), 1 it ended otherwise,
or the relay does not know it.""",
)
@click.argument("id")
@click.option("--wait", type=click.IntRange(0, 30), default=0, help="Seconds to wait until it has ended.")
@json_option
@at_relay
@click.pass_obj
def status(run: Run, id: str, wait: int, as_json: bool, place: Place) -> int:
    """Say what became of the message ID, and when."""

    async def job(shift: Shift) -> int:
        publisher = place.publisher(shift)
        try:
            view = await publisher.message(id, wait=wait)
        finally:
            await publisher.close()
        for line in [view.body] if as_json else _story(view):
            click.echo(line)
        if view.status == "delivered":
            return DONE
        return FAILED if view.ended else QUEUED

    return run(job)


@click.command(
    short_help="Take a queued message back.",
    epilog="""\b
Examples:
  relay cancel 01a20b21-6875-7749-afb1-531d03de53e3
\b
Exit codes: 0 cancelled, 1 it was too late, or the relay does not know it.""",
)
@click.argument("id")
@at_relay
@click.pass_obj
def cancel(run: Run, id: str, place: Place) -> int:
    """Take the message ID back, if it is queued and not with its agent."""

    async def job(shift: Shift) -> int:
        publisher = place.publisher(shift)
        try:
            await publisher.cancel(id)
        finally:
            await publisher.close()
        click.echo(f"cancelled {one_line(id)}")
        return DONE

    return run(job)


def _story(view: MessageView) -> list[str]:
    """What became of it in a line, and below that its history."""
    times = f"{view.attempts} attempt{'' if view.attempts == 1 else 's'}"
    more = [bytes(view.reply).decode()] if bytes(view.reply) else [view.reason] if view.reason else []
    first = f"{view.status} for {view.agent} ({view.id}), {times}" + "".join(f": {each}" for each in more)
    rows = [(moment.at, moment.event, one_line(moment.detail or "")) for moment in view.timeline]
    return [one_line(first), *(f"  {line}" for line in (table(rows[0], rows[1:]) if rows else []))]
