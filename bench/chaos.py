"""``python -m bench.chaos``: what others notice of a plugin that goes wrong in each of its hooks.

POSTs come at a steady rate to agents that acknowledge them, and a few to the victims of ``bench/unruly/``. Each harm
has a relay of its own; what is measured is how long the POSTs to the others took. A minute for each round; on a busy
machine under ``chrt -f 10``.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final

import click

from bench.beside import ENDLESS
from bench.job import Job, Sizes
from bench.proc import raise_descriptors
from bench.publishers import Aim, Arrivals
from bench.servers import relay_command, serving
from bench.stage import Stage, names, percentiles
from bench.tally import Tally

UNRULY: Final = Path(__file__).parent / "unruly"
CASES: Final = ("no plugin", "raises", "hangs", "rubbish", "blocks")
VICTIMS: Final = ("victim-in", "victim-out", "victim-inside")
RATE: Final = 300.0  #: POSTs a second to others …
HARMED: Final = 20.0  #: … and to the victims
CONNECTIONS: Final = 32
WAITING: Final = 200  #: connections to victims: some wait for 5 s


def command(folder: Path, case: str) -> list[str]:
    """A relay with the plugin, or without it."""
    config = folder / "relay.toml"
    if case != CASES[0]:
        config.write_text(f'plugin_path = ["{UNRULY}"]\n[extensions.unruly]\nharm = "{case}"\n')
    return [*relay_command(folder), *(["--config", str(config)] if config.exists() else [])]


def measure(case: str, sizes: Sizes) -> tuple[dict[str, float], Tally]:
    """Percentiles of the POSTs to others in milliseconds, and what was counted of these. Raises CannotStart."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        server = stack.enter_context(serving("relay", command(folder, case), folder))
        stage = Stage(Job("chaos", sizes, "relay", server.port, server.pid))
        stack.callback(stage.loop.close)
        return loaded(stage), stage.tally


def loaded(stage: Stage) -> dict[str, float]:
    desks = names("desk", stage.sizes.agents)
    stage.agents([*desks, *VICTIMS[:2]])
    aim = stage.aim(desks)
    arrivals = Arrivals(stage.loop, aim, CONNECTIONS, RATE)
    harmed = Aim(stage.job.port, VICTIMS, Tally())  # whose answers are as they may be
    victims = Arrivals(stage.loop, harmed, WAITING, HARMED)
    stage.ready(arrivals.count)
    stage.until(lambda: harmed.tally.publishers == WAITING, lambda: "publishers are to connect")
    harmed.budget.left = ENDLESS
    victims.start()
    stage.drive(aim, [arrivals], stage.sizes.warm_up, stage.sizes.warm_up_seconds)
    del aim.seconds[:]
    stage.drive(aim, [arrivals], stage.sizes.timed, stage.sizes.timed_seconds)
    return percentiles("others", aim.seconds)


@click.command()
@click.option("--rounds", type=click.IntRange(1, 20), default=3, show_default=True)
def main(rounds: int) -> None:
    """Measure each case in turn, so often, and print the medians."""
    raise_descriptors(1000)
    found: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
    for _ in range(rounds):
        for case in CASES:
            figures, tally = measure(case, Sizes(timed_seconds=6.0))
            if tally.other:
                raise click.ClickException(f"{case}: others were answered {tally.other}")
            found[case].append(figures)
    click.echo("| the plugin | p50, ms | p99, ms | p99.9, ms |\n| --- | --- | --- | --- |")
    for case, rows in found.items():
        cells = [f"{median(row[f'others.{key}'] for row in rows):.2f}" for key in ("p50", "p99", "p999")]
        click.echo(f"| {case} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
