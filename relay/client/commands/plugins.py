"""``relay plugins``: what is installed here. The relay's own rooms say it, so another program takes our place."""

from __future__ import annotations

import os
import sys

import click


def command_line(config: str, folders: tuple[str, ...], as_json: bool) -> list[str]:
    """``python -m relay.listing …`` by the Python that runs us."""
    return [sys.executable, "-m", "relay.listing", *(["--json"] if as_json else []), config, *folders]


@click.command(
    short_help="List the plugins.",
    epilog="""\b
Examples:
  relay plugins
  relay plugins --config /etc/relay/relay.toml --json""",
)
@click.option("-c", "--config", default="", help="The settings of the relay (RELAY_CONFIG).")
@click.option("--plugin-path", multiple=True, help="A folder that holds plugins; may be given again.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def plugins(config: str, plugin_path: tuple[str, ...], as_json: bool) -> None:
    """List the plugins that are installed here: which are used, and why one cannot be.

    The exit code is 1 if one of them cannot be used.
    """
    line = command_line(config, plugin_path, as_json)
    sys.stdout.flush()
    os.execv(line[0], line)
