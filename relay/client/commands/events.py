"""``relay events``: what happens, as it happens."""

from __future__ import annotations

import click
import msgspec
from twisted.internet.defer import Deferred, succeed

from relay.client.commands.common import AGENT, DONE, Place, Run, Shift, at_relay, one_line, say
from relay.client.events import Event


@click.command(
    short_help="Watch what happens.",
    epilog="""\b
Examples:
  relay events
  relay events --agent desk-1 --types message.queued,message.dead
  relay events --json | jq 'select(.type == "agent.conflict")'
\b
It goes on until Ctrl-C, and comes back when the relay does. Exit codes:
0 interrupted, 1 the relay said no.""",
)
@click.option("--agent", type=AGENT, help="Only what happens to this agent.")
@click.option("--types", metavar="TYPE,...", default="", help="Only these: message.delivered, agent.connected …")
@click.option("--since", metavar="ID", help="First what happened after this event, as far as the relay remembers.")
@click.option("--count", type=click.IntRange(1), help="Stop after so many events.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@at_relay
@click.pass_obj
def events(
    run: Run, agent: str | None, types: str, since: str | None, count: int | None, as_json: bool, place: Place
) -> int:
    """Print what happens on the relay, an event a line."""

    async def job(shift: Shift) -> int:
        admin, left = place.admin(shift), count
        wanted = tuple(filter(None, (each.strip() for each in types.split(","))))
        watching = admin.events(agent=agent, types=wanted, since=since, pausing=_pausing)

        def interrupt() -> Deferred[None]:
            watching.stop()
            return succeed(None)

        shift.on_interrupt(interrupt)
        try:
            async for event in watching:
                if event.type == "hello":
                    say(f"watching {place.url}" + (": some events are lost" if event.lost else ""))
                    continue
                click.echo(_as_json(event) if as_json else _plain(event))
                left = None if left is None else left - 1
                if left == 0:
                    watching.stop()
        finally:
            await admin.close()
        return DONE

    return run(job)


def _pausing(why: str, seconds: float) -> None:
    say(f"{why}; trying again in {seconds:.1f} s")


def _as_json(event: Event) -> bytes:
    return msgspec.json.encode({"type": event.type, "event_id": event.id, **event.fields})


def _plain(event: Event) -> str:
    rest = {name: value for name, value in event.fields.items() if name not in ("at", "agent")}
    said = (f"{name}={value if isinstance(value, str) else msgspec.json.encode(value).decode()}"
            for name, value in rest.items())  # fmt: skip
    return one_line(f"{event.at}  {event.type:<20}  {event.agent or '-'}  " + " ".join(said)).rstrip()
