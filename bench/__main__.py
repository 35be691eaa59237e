"""``python -m bench``: measure, print, keep the figures, and hold them against those that were landed."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import click

from bench.gate import MARGIN, comparable, falls
from bench.generator import LoadFailed, generate
from bench.job import QUICK, Job, Sample, Sizes
from bench.page import PAGE, PLOT, renew
from bench.plot import draw
from bench.proc import machine, raise_descriptors
from bench.profile import CannotProfile, profiled
from bench.report import Result, Run
from bench.servers import SERVERS, CannotStart, running
from bench.workloads import WORKLOADS

RESULTS: Final = Path(__file__).parent / "results"
LATEST: Final = RESULTS / "latest.json"  #: what was landed: kept in the repository
LAST: Final = RESULTS / "last.json"  #: the last whole run
SPARE: Final = 500  #: descriptors beside the connections


def measure(
    workload: str, servers: Sequence[str], sizes: Sizes, rounds: int, progress: Callable[[], None] = lambda: None
) -> Result:
    """Put a workload on each server in turn, round by round; ``progress`` is called after each time.

    Raises CannotStart, LoadFailed.
    """
    concerned = [server for server in servers if server in WORKLOADS[workload].servers]
    result = Result(workload, sizes, {server: [] for server in concerned})
    for _ in range(rounds):
        for name in concerned:
            result.samples[name].append(once(workload, name, sizes))
            progress()
    return result


def once(workload: str, name: str, sizes: Sizes, flames: Path | None = None) -> Sample:
    """Put a workload on a server, with a flame graph where there is a path for it.

    Each time a fresh process and an empty store: nothing that one round leaves behind helps or burdens the next.
    Raises CannotStart, LoadFailed, CannotProfile.
    """
    sample = Sample({})
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for act, _ in enumerate(WORKLOADS[workload].acts):
            with ExitStack() as stack:
                server = stack.enter_context(running(name, Path(folder)))
                if flames is not None:
                    path = flames if act == 0 else flames.with_stem(f"{flames.stem}-{act + 1}")
                    stack.enter_context(profiled(server.pid, path))
                try:
                    sample += generate(Job(workload, sizes, name, server.port, server.pid, act, server.started))
                except LoadFailed as error:
                    raise LoadFailed(f"{error}\nwhat the {name} said last:\n{server.said()}") from error
    return sample


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
@click.option("--quick", is_flag=True, help="Small numbers, one round: a first impression in two minutes.")
@click.option("--only", type=Some(WORKLOADS), default=",".join(WORKLOADS), help="Workloads.")
@click.option("--servers", type=Some(SERVERS), default=",".join(SERVERS), help="Which of the two.")
@click.option("--rounds", type=click.IntRange(1, 100), help="How often each is measured; each workload has its own.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there, as JSON.")
@click.option(
    "--profile", type=click.Choice(list(WORKLOADS)), help="Only a flame graph of the relay under this workload."
)
@click.option("--accept", is_flag=True, help="Measure nothing: land the figures of the last whole run.")
def main(
    quick: bool,
    only: list[str],
    servers: list[str],
    rounds: int | None,
    output: Path | None,
    profile: str | None,
    accept: bool,
) -> None:
    """Measure the relay and its peer in turn, and print min, median and max.

    A whole run (all workloads, both servers, no --quick) is written to bench/results/last.json, and for people into
    docs/performance.md. Whatever was measured in the same sizes as what was landed is held against it: the status is 1
    if the relay has become worse beside the peer by more than the margin.
    """
    signal.signal(signal.SIGTERM, _leave)
    sizes = QUICK if quick else Sizes()
    try:
        raise_descriptors(max(sizes.storm, sizes.idle) + SPARE)
        if accept:
            land()
        elif profile is not None:
            flames(profile, sizes)
        else:
            run = Run({"when": datetime.now(UTC).isoformat(timespec="seconds"), **machine()})
            measure_all(run, only, servers, sizes, 1 if quick and rounds is None else rounds)
            if output is not None:
                run.write(output)
                click.echo(f"\nwritten to {output}")
            if not quick and set(only) == set(WORKLOADS) and set(servers) == set(SERVERS):
                publish(run)
            sys.exit(judged(run))
    except (CannotStart, CannotProfile, LoadFailed, ValueError) as error:
        sys.exit(f"bench: {error}")


def measure_all(run: Run, only: Sequence[str], servers: Sequence[str], sizes: Sizes, rounds: int | None) -> None:
    """Measure these workloads, print each and add it to the run. Raises CannotStart, LoadFailed."""
    click.echo("\n".join(f"{name:10}{value}" for name, value in run.about.items()))
    for letter in only:
        times = rounds or WORKLOADS[letter].rounds
        result = measure(letter, servers, sizes, times, lambda: click.echo(".", nl=False, err=True))
        if result.samples:
            run.results[letter] = result
            click.echo(f"\n{result.text()}")


def publish(run: Run) -> None:
    """Keep a whole run: for ``--accept``, and for people."""
    run.write(LAST)
    PAGE.write_text(renew(PAGE.read_text(encoding="utf-8"), run), encoding="utf-8")
    draw(run, PAGE.with_name(PLOT))
    click.echo(f"\nwritten to {LAST}, and into {PAGE}")


def judged(run: Run) -> int:
    """Hold the run against what was landed, and say so. Returns the exit status."""
    if not LATEST.exists():
        click.echo("\nNothing has been landed yet: make bench-accept")
        return 0
    landed = Run.read(LATEST)
    held = [letter for letter, result in run.results.items() if comparable(landed, result)]
    fallen = falls(landed, run)
    for sentence in fallen:
        click.echo(f"worse: {sentence}", err=True)
    if held and not fallen:
        click.echo(f"\n{', '.join(held)}: nothing is worse than what was landed by more than {MARGIN:.0%}")
    return 1 if fallen else 0


def land() -> None:
    """Make the last whole run the one that later ones are held against. Raises ValueError if there is none."""
    if not LAST.exists():
        raise ValueError(f"there is no {LAST}: first a whole run, by make bench")
    run = Run.read(LAST)
    run.write(LATEST)
    PAGE.write_text(renew(PAGE.read_text(encoding="utf-8"), run), encoding="utf-8")
    draw(run, PAGE.with_name(PLOT))
    click.echo(f"landed {LATEST}: version {run.about['commit']} of {run.about['when']}")


def flames(workload: str, sizes: Sizes) -> None:
    """A flame graph of the relay under a workload."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"profile-{workload}.svg"
    once(workload, "relay", sizes, path)
    click.echo(f"written to {path}")


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    # The blocks on the way out end the servers.
    sys.exit("bench: SIGTERM")


if __name__ == "__main__":
    main()
