"""``python -m bench.floor``: how near the relay is to the least that Twisted can do, and how near that is to the peer.

In turn, in one run, as everything here: CPU of the server for a confirmed round trip, by 32 publishers to 100 agents.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Final

import click

from bench.generator import generate
from bench.job import Job, Sizes
from bench.servers import SERVERS, serving

PUBLISHERS: Final = 32


def bare_command(_folder: Path) -> list[str]:
    """The least that Twisted can do."""
    return [sys.executable, "-m", "bench.bare"]


COMMANDS: Final = {**SERVERS, "bare Twisted": bare_command}


def trip(name: str, sizes: Sizes) -> float:
    """Microseconds of CPU for one round trip. Raises CannotStart, LoadFailed."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder)
        with serving("server", COMMANDS[name](path), path) as server:
            figures = generate(Job("a", sizes, name, server.port, server.pid)).figures
    return 1e6 / figures[f"{sizes.publishers[0]}.per_cpu_second"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
def main(rounds: int) -> None:
    """Measure the three in turn, and print min, median and max."""
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, each in found.items():
            each.append(trip(name, Sizes(publishers=(PUBLISHERS,))))
    for name, each in found.items():
        click.echo(f"{name:14}{min(each):7.1f}{statistics.median(each):7.1f}{max(each):7.1f} us")


if __name__ == "__main__":
    main()
