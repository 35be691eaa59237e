"""``relay listen``: the messages of an agent, printed or handed to a program."""

from __future__ import annotations

import base64
import os
import sys
from typing import Any, BinaryIO, Final

import click
import msgspec
from twisted.internet.defer import CancelledError

from relay import __version__
from relay.client.agent import Agent
from relay.client.commands.common import AGENT, DELIVERED, FAILED, Place, Run, Shift, at_relay, harmless, say
from relay.client.desk import Handler
from relay.client.message import Message, Nack
from relay.client.presence import Joined, Parted
from relay.client.program import Shell
from relay.client.settings import Settings

_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")  # in JSON these stand between values only


@click.command(
    short_help="Receive messages.",
    epilog="""\b
Examples:
  relay listen desk-1
  relay listen desk-1 --json | jq .payload
  relay listen desk-1 --exec 'xargs -0 notify-send "$RELAY_AGENT"'
\b
A program finds the message on its standard input, and RELAY_MESSAGE_ID,
RELAY_AGENT, RELAY_CONTENT_TYPE and RELAY_ATTEMPT in its environment.
Exit code 0 acknowledges the message; any other gives it back to the relay,
which sends it again later.""",
)
@click.argument("agent", type=AGENT)
@click.option("--exec", "command", metavar="CMD", help="Run CMD by the shell for each message, one at a time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option("--count", type=click.IntRange(1), help="Stop after so many messages.")
@click.option(
    "--on-duplicate", type=click.Choice(["reject", "replace"]), help="What if this agent is connected already?"
)
@click.option("--ack-wait", type=click.FloatRange(0, 3600), default=30.0, show_default=True,
              help="Seconds until the relay sends a message again.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(1, 86400), default=3600.0, show_default=True,
              help="Seconds that CMD may take; then it is ended, and the message given back.")  # fmt: skip
@click.option("--poll", is_flag=True, help="By long polls, where no WebSocket gets through.")
@at_relay
@click.pass_obj
def listen(
    run: Run,
    agent: str,
    command: str | None,
    as_json: bool,
    count: int | None,
    on_duplicate: str | None,
    ack_wait: float,
    timeout: float,
    poll: bool,
    place: Place,
) -> int:
    """Receive the messages of AGENT: print them, or run a program for each.

    It connects again whenever that makes sense, and says on standard error why a connection ended. Ctrl-C stops it in
    order: the message in hand is finished first.
    """
    if command is not None and as_json:
        raise click.UsageError("--exec and --json exclude each other")
    settings = Settings(
        client=f"relay listen/{__version__}",
        # One at a time in order where a program runs, and where no message more may come than will be handled.
        max_in_flight=1 if command is not None or count is not None else 100,
        ack_wait=ack_wait,
        on_duplicate=on_duplicate,
        patience=timeout,
        poll=poll,
    )

    async def job(shift: Shift) -> int:
        handler = (
            _runner(Shell(shift.reactor, command)) if command is not None else _printer(as_json, sys.stdout.buffer)
        )
        listener = Listener(place, agent, handler, settings, count, shift)
        return await listener.listen()

    return run(job)


class Listener:
    """One run of the command: an agent, and how many messages it still wants."""

    def __init__(
        self, place: Place, agent: str, handler: Handler, settings: Settings, count: int | None, shift: Shift
    ) -> None:
        self._url = place.url
        self._handler = handler
        self._left = count
        self._shift = shift
        self._code = DELIVERED
        self._agent = Agent(
            place.url,
            agent,
            self._handle,
            reactor=shift.reactor,
            settings=settings,
            token=place.token(shift),
            notice=self._notice,
        )

    async def listen(self) -> int:
        """Until it is interrupted, has had enough, or may not come back. The exit code."""
        stopped = self._agent.when_stopped()
        self._shift.on_interrupt(self._agent.stopService)
        self._agent.startService()
        return FAILED if await stopped is not None else self._code

    async def _handle(self, message: Message) -> None:
        try:
            await self._handler(message)
        except OSError as error:
            say(f"cannot go on: {error.strerror or error}")
            self._code = FAILED
            self._agent.stopService()
            # Not given back, which would count against it: it is left alone, and goes back with the session's end.
            raise CancelledError() from error
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self._agent.stopService()

    def _notice(self, event: Joined | Parted) -> None:
        match event:
            case Joined(frame):
                waiting = f" ({frame.queued} waiting)" if frame.queued else ""
                say(f"listening as {frame.agent} at {self._url}{waiting}")
            case Parted(verdict, None):
                say(f"{verdict.sentence}; not trying again")
            case Parted(verdict, again_in):
                say(f"{verdict.sentence}; trying again in {again_in:.1f} s")


def _printer(as_json: bool, stream: BinaryIO) -> Handler:
    async def write(message: Message) -> None:
        stream.write((_as_json(message) if as_json else _plain(message, stream.isatty())) + b"\n")
        stream.flush()  # acknowledged only when it is out of our hands

    return write


def _plain(message: Message, on_terminal: bool) -> bytes:
    """The text of a message; of bytes that are none, their base64."""
    try:
        text = message.text
    except UnicodeDecodeError:
        return base64.b64encode(message.body)
    return (harmless(text) if on_terminal else text).encode()


def _as_json(message: Message) -> bytes:
    """The message as an object on one line; its payload is byte for byte what came, but for line breaks around it."""
    fields: dict[str, Any] = {
        "id": message.id,
        "agent": message.agent,
        "payload": msgspec.Raw(message.raw.translate(_ONE_LINE)),
        "content_type": message.content_type,
        "encoding": message.encoding,
        "queued": message.queued,
        "attempt": message.attempt,
        "created_at": message.created_at,
        "expires_at": message.expires_at,
    }
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def _runner(shell: Shell) -> Handler:
    async def execute(message: Message) -> None:
        facts = {
            "RELAY_MESSAGE_ID": message.id,
            "RELAY_AGENT": message.agent,
            "RELAY_CONTENT_TYPE": message.content_type,
            "RELAY_ATTEMPT": str(message.attempt),
        }
        clean = {name: value.replace("\0", "") for name, value in facts.items()}
        code = await shell.run(message.body, {**os.environ, **clean})
        if code:
            raise Nack(f"exit code {code}" if code > 0 else f"ended by signal {-code}")

    return execute
