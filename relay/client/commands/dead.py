"""``relay dead``: the messages that did not end well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import click

from relay.client.admin import LETTERS_PAGE, Admin
from relay.client.commands.common import (
    DONE,
    FAILED,
    Job,
    Place,
    Run,
    Shift,
    at_relay,
    json_option,
    limited,
    one_line,
    say,
    table,
)
from relay.client.refusal import Refused
from relay.client.views import MessageView

HEADINGS: Final = ("ID", "AGENT", "REASON", "ATTEMPTS", "BYTES", "ENDED", "DETAIL")
NUMBERS: Final = (3, 4)


@click.group(short_help="Dead letters: list, send again, put away.")
def dead() -> None:
    """The messages that did not end well: those that expired, were rejected, or were tried too often."""


@dead.command(
    "list",
    short_help="List the dead letters.",
    epilog="""\b
Examples:
  relay dead list
  relay dead list --json | jq -r 'select(.reason == "expired") | .id' | xargs relay dead requeue""",
)
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="At most so many.")
@json_option
@at_relay
@click.pass_obj
def list_letters(run: Run, limit: int, as_json: bool, place: Place) -> int:
    """List the dead letters; with --json also what they say."""

    async def job(shift: Shift) -> int:
        admin = place.admin(shift)
        try:
            found = await limited(limit)(admin.dead_letters(page=min(LETTERS_PAGE, limit + 1)))
        finally:
            await admin.close()
        for line in [view.body for view in found] if as_json else _table(found):
            click.echo(line)
        return DONE

    return run(job)


@dead.command(
    short_help="Send dead letters again.",
    epilog="""\b
Examples:
  relay dead requeue 01a20b21-6875-7749-afb1-531d03de53e3
\b
Exit codes: 0 all of them are queued, 1 one is not.""",
)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@at_relay
@click.pass_obj
def requeue(run: Run, ids: tuple[str, ...], place: Place) -> int:
    """Send dead letters again: under the same id, at the end of their agent's order, with a fresh time to live."""

    async def again(admin: Admin, id: str) -> str:
        view = await admin.requeue(id)
        return f"{view.status} for {view.agent} ({view.id})"

    return run(_each(ids, place, again))


@dead.command(
    short_help="Put dead letters away.",
    epilog="""\b
Examples:
  relay dead remove 01a20b21-6875-7749-afb1-531d03de53e3
\b
Exit codes: 0 all of them are gone, 1 one was not there.""",
)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@at_relay
@click.pass_obj
def remove(run: Run, ids: tuple[str, ...], place: Place) -> int:
    """Put dead letters away for good."""

    async def away(admin: Admin, id: str) -> str:
        await admin.discard(id)
        return f"removed {id}"

    return run(_each(ids, place, away))


def _each(ids: tuple[str, ...], place: Place, do: Callable[[Admin, str], Awaitable[str]]) -> Job:
    """Do it to each; one that is refused does not stop the others."""

    async def job(shift: Shift) -> int:
        admin, code = place.admin(shift), DONE
        try:
            for id in ids:
                try:
                    click.echo(one_line(await do(admin, id)))
                except Refused as refused:
                    say(f"{id}: {refused}")
                    code = FAILED
        finally:
            await admin.close()
        return code

    return job


def _table(found: list[MessageView]) -> list[str]:
    return table(HEADINGS, [_cells(view) for view in found], NUMBERS) if found else ["no dead letters"]


def _cells(view: MessageView) -> tuple[str, ...]:
    numbers = (str(view.attempts), str(view.size))
    texts = (view.ended_at or "-", view.detail or "-")
    return (view.id, view.agent, view.reason or view.status, *numbers, *map(one_line, texts))
