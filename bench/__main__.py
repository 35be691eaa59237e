"""``python -m bench``: measure, print, keep the figures."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
import msgspec

from bench.generator import LoadFailed, generate
from bench.page import PAGE, renew
from bench.proc import machine, raise_descriptors
from bench.report import Result
from bench.servers import SERVERS, CannotStart, running
from bench.workloads import QUICK, WORKLOADS, Job, Sizes

LATEST = Path(__file__).parent / "results" / "latest.json"
SPARE = 500  #: descriptors beside the connections


def measure(
    workload: str, servers: Sequence[str], sizes: Sizes, rounds: int, progress: Callable[[], None] = lambda: None
) -> Result:
    """Put a workload on each server in turn, round by round; ``progress`` is called after each time.

    Each time a fresh process and an empty store: nothing that one round leaves behind helps or burdens the next.
    Raises CannotStart, LoadFailed.
    """
    result = Result(workload, sizes, {server: [] for server in servers})
    for _ in range(rounds):
        for name in servers:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder, running(name, Path(folder)) as server:
                try:
                    sample = generate(Job(workload, sizes, server.port, server.pid))
                except LoadFailed as error:
                    raise LoadFailed(f"{error}\nwhat the {name} said last:\n{server.said()}") from error
                result.samples[name].append(sample)
            progress()
    return result


class Some(click.ParamType[list[str]]):
    """Some of the names that there are, separated by commas."""

    def __init__(self, names: Collection[str]) -> None:
        self.name = ",".join(names)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        names = value.split(",")
        for name in names:
            if name not in self.name.split(","):
                self.fail(f"{name!r} is none of {self.name}", param, ctx)
        return names


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Small numbers: a first impression in a minute.")
@click.option("--only", type=Some(WORKLOADS), default=",".join(WORKLOADS), help="Workloads.")
@click.option("--servers", type=Some(SERVERS), default=",".join(SERVERS), help="Which of the two.")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True, help="How often each is measured.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there, as JSON.")
def main(quick: bool, only: list[str], servers: list[str], rounds: int, output: Path | None) -> None:
    """Measure the relay and its peer in turn, and print min, median and max.

    A whole run (all workloads, both servers, no --quick) is kept: in bench/results/latest.json, and for people in
    docs/performance.md.
    """
    signal.signal(signal.SIGTERM, _leave)
    sizes = QUICK if quick else Sizes()
    about = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "rounds": rounds, **machine()}
    click.echo("\n".join(f"{name:10}{value}" for name, value in about.items()))
    results: list[Result] = []
    try:
        raise_descriptors(max(sizes.storm, sizes.idle) + SPARE)
        for workload in only:
            results.append(measure(workload, servers, sizes, rounds, lambda: click.echo(".", nl=False, err=True)))
            click.echo(f"\n{results[-1].text()}")
    except (CannotStart, LoadFailed, ValueError) as error:
        sys.exit(f"bench: {error}")
    whole = not quick and set(only) == set(WORKLOADS) and set(servers) == set(SERVERS)
    if output or whole:
        workloads = {result.workload: result.document() for result in results}
        document = {**about, "sizes": msgspec.to_builtins(sizes), "workloads": workloads}
        (output or LATEST).write_text(json.dumps(document, indent=1) + "\n")
        click.echo(f"\nwritten to {output or LATEST}")
    if whole:
        PAGE.write_text(renew(PAGE.read_text(encoding="utf-8"), about, results), encoding="utf-8")
        click.echo(f"written into {PAGE}")


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    # The blocks on the way out end the servers.
    sys.exit("bench: SIGTERM")


if __name__ == "__main__":
    main()
