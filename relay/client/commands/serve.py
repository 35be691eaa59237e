"""``relay serve``: the daemon itself."""

from __future__ import annotations

import os
import sys

import click

_TWISTD = "from twisted.scripts.twistd import run; run()"


def command_line(options: tuple[str, ...]) -> list[str]:
    """``twistd -n relay …`` by the Python that runs us, wherever its scripts are.

    No pid file: one that a killed process leaves behind would keep the next one from starting.
    """
    return [sys.executable, "-c", _TWISTD, "-n", "--pidfile=", "relay", *options]


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="""\b
Examples:
  relay serve
  relay serve --listen tcp:9000:interface=127.0.0.1 --store sqlite:/var/lib/relay/relay.db
  relay serve -- --help""",
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def serve(options: tuple[str, ...]) -> None:
    """Start the relay, in the foreground.

    OPTIONS are those of `twistd -n relay`, which takes the place of this process.
    """
    line = command_line(options)
    os.execv(line[0], line)
