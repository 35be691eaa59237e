"""``relay send``: one message, and what became of it."""

from __future__ import annotations

import mimetypes
import sys
from pathlib import Path
from typing import Final

import click
from click.core import ParameterSource

from relay.client.commands.batch import send_file
from relay.client.commands.common import AGENT, DELIVERED, FAILED, QUEUED, Place, Run, Shift, at_relay, one_line, say
from relay.client.outgoing import TEXT, Answer
from relay.client.refusal import Refused
from relay.core.limits import MIB
from relay.core.model import Reason

LARGEST: Final = 64 * MIB  #: bytes that are read at all; how many are taken is for the relay to say

WHY: Final[dict[str, str]] = {
    Reason.DRAINING: "the relay is shutting down, and sends it when it is back",
    Reason.AWAY: "{agent} is away, and gets it when it comes back",
    Reason.LOST: "{agent} went away meanwhile, and gets it when it comes back",
    Reason.NACKED: "{agent} did not process it, and gets it again",
    Reason.SENT: "it was sent to {agent}, and nobody waited for the acknowledgement",
    Reason.SILENT: "it was sent to {agent}, which has not acknowledged it yet",
    Reason.SLOW: "{agent} takes nothing at the moment",
    Reason.WINDOW: "{agent} has as much in hand as it asked for",
    Reason.BEHIND: "others are ahead of it",
}


@click.command(
    short_help="Send a message.",
    epilog="""\b
Examples:
  relay send desk-1 "Good morning"
  relay send desk-1 --file order.json
  date | relay send desk-1 --wait 10
  relay send --batch orders.ndjson
\b
Exit codes: 0 delivered, 3 queued or accepted, 1 failed.""",
)
@click.argument("agent", type=AGENT, required=False)
@click.argument("text", required=False)
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Send what stands in this file.",
)
@click.option(
    "--batch",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Send the messages of this file, one JSON object a line.",
)
@click.option(
    "--content-type", help="What the message is; otherwise told from the file's name, or text where it can be."
)
@click.option("--wait", type=click.IntRange(0, 30), help="Seconds to wait for the acknowledgement.  [relay: 5]")
@click.option("--async", "respond_async", is_flag=True, help="Be content once the relay has it on its disk.")
@click.option("--ttl", type=click.IntRange(0), help="Seconds after which it is not sent any more; 0 = now or never.")
@click.option("--topic", help="It replaces an undelivered message of this topic.")
@click.option("--key", help="One key names one message, however often it is sent.")
@click.option(
    "--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header for the agent; several may be."
)
@click.option("--callback", metavar="URL", help="Where the relay tells what became of it.")
@click.option("--json", "as_json", is_flag=True, help="Print the relay's answer as it came.")
@at_relay
@click.pass_obj
def send(
    run: Run,
    agent: str | None,
    text: str | None,
    path: Path | None,
    batch: Path | None,
    content_type: str | None,
    wait: int | None,
    respond_async: bool,
    ttl: int | None,
    topic: str | None,
    key: str | None,
    headers: tuple[str, ...],
    callback: str | None,
    as_json: bool,
    place: Place,
) -> int:
    """Send a message to AGENT: TEXT, a file, or what comes on standard input."""
    if batch is not None:
        _alone("batch", "url", "token_file")
        return run(lambda shift: send_file(shift, place, batch))
    if agent is None:
        raise click.UsageError("Missing argument 'AGENT'.")
    payload, guessed = _payload(text, path)
    given = _headers(headers)

    async def job(shift: Shift) -> int:
        publisher = place.publisher(shift)
        try:
            answer = await publisher.send(
                agent,
                payload,
                content_type=content_type or guessed,
                wait=wait,
                respond_async=respond_async,
                ttl=ttl,
                topic=topic,
                key=key,
                callback=callback,
                headers=given,
            )
        except Refused as refused:
            if as_json and refused.problem.body:
                click.echo(refused.problem.body)
                return FAILED
            raise
        finally:
            await publisher.close()
        if not answer.durable:
            say("this relay keeps its queue in memory only: it does not survive a restart")
        click.echo(answer.body if as_json else one_line(what_became_of(answer)))
        return DELIVERED if answer.delivered else QUEUED

    return run(job)


def what_became_of(answer: Answer) -> str:
    """The answer as a line for people."""
    if answer.delivered:
        replied = f": {answer.reply.decode()}" if answer.reply is not None else ""
        return f"delivered to {answer.agent} ({answer.id}){replied}"
    reason = WHY.get(answer.reason or "", answer.reason or "no reason was given").format(agent=answer.agent)
    return f"{answer.status} for {answer.agent} ({answer.id}): {reason}"


def _alone(*allowed: str) -> None:
    """The lines of a batch say themselves what they want."""
    context = click.get_current_context()
    given = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    if any(context.params[name] is not None for name in given - set(allowed)):
        raise click.UsageError("--batch goes alone: each line names its agent and what it asks for")


def _headers(given: tuple[str, ...]) -> dict[str, str]:
    """``NAME=VALUE``, each name once."""
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name or name.lower() in found:
            raise click.UsageError(f"--header is NAME=VALUE, and each name is given once, not {each[:100]!r}")
        found[name.lower()] = value
    return found


def _payload(text: str | None, path: Path | None) -> tuple[bytes, str]:
    """The message and its content type, as far as that can be told."""
    if text is not None:
        if path is not None:
            raise click.UsageError("TEXT and --file exclude each other")
        return _not_empty(_encoded(text)), TEXT
    if path is not None:
        with path.open("rb") as file:
            payload = _not_empty(file.read(LARGEST + 1))
        return payload, _type_of(payload, mimetypes.guess_type(path.name)[0] or "")
    stdin = sys.stdin.buffer
    if stdin.isatty():
        say("the message is read from here; end it with Ctrl-D")
    payload = _not_empty(stdin.read(LARGEST + 1))
    return payload, _type_of(payload, "")


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise click.UsageError("TEXT is not valid UTF-8: send it with --file") from None


def _not_empty(payload: bytes) -> bytes:
    if not payload:
        raise click.UsageError("the message is empty")
    if len(payload) > LARGEST:
        raise click.UsageError(f"the message is larger than {LARGEST} bytes")
    return payload


def _type_of(payload: bytes, guess: str) -> str:
    """The type by the file's name; without one that says it, text where it is text."""
    if guess and not guess.startswith("text/"):
        return guess
    try:
        payload.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return f"{guess}; charset=utf-8" if guess else TEXT
