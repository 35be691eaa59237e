"""The load generator's process: a job comes in by stdin, in a line; its sample goes out by stdout; both as JSON.

A process of its own, so that its garbage, its caches and its CPU seconds are nobody else's.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import msgspec

from bench.beside import BESIDE
from bench.job import Job, Sample
from bench.stage import Stage
from bench.workloads import WORKLOADS

ROOT = Path(__file__).parents[1]
PATIENCE = 1800.0  #: seconds; every step of a job has a time limit of its own


class LoadFailed(Exception):
    """A job could not be done. The text is what the generator said."""


def generate(job: Job) -> Sample:
    """Have a job done by a process of its own. Raises LoadFailed."""
    command = [sys.executable, "-m", "bench.generator"]
    done = subprocess.run(command, input=msgspec.json.encode(job), capture_output=True, cwd=ROOT, timeout=PATIENCE)
    if done.returncode:
        raise LoadFailed(done.stderr.decode(errors="replace")[-4000:])
    return msgspec.json.decode(done.stdout, type=Sample)


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    # Nothing here makes cycles that matter, and a collection in mid-run would be seen in p99.
    gc.disable()
    stage = Stage(job)
    try:
        act = BESIDE.get(job.workload) or WORKLOADS[job.workload].acts[job.act]
        sample = act(stage)
    finally:
        stage.loop.close()
    sys.stdout.buffer.write(msgspec.json.encode(sample))


if __name__ == "__main__":
    main()
