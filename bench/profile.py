"""A flame graph of a server under load, by py-spy: where its CPU seconds go."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

RATE: Final = 200  #: samples a second
WRITE_SECONDS: Final = 60.0


class CannotProfile(Exception):
    """There is no flame graph. The text says why."""


@contextmanager
def profiled(pid: int, path: Path) -> Iterator[None]:
    """Look at the process while the block runs, and write ``path`` (SVG). Raises CannotProfile."""
    program = Path(sys.executable).with_name("py-spy")
    found = str(program) if program.exists() else shutil.which("py-spy")
    if found is None:
        raise CannotProfile("py-spy is not installed: pip install -e '.[bench]'")
    command = [
        found,
        "record",
        "--nonblocking",
        "--rate",
        str(RATE),
        "--threads",
        "--output",
        str(path),
        "--pid",
        str(pid),
    ]
    watcher = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        watcher.send_signal(signal.SIGINT)  # then it writes what it has
        try:
            _, said = watcher.communicate(timeout=WRITE_SECONDS)
        except subprocess.TimeoutExpired:
            watcher.kill()
            watcher.wait()
            raise
    if watcher.returncode or not path.exists():
        # Without being root it may not look at a process that it has not started, unless the kernel is told so.
        raise CannotProfile(f"py-spy: {said.strip()[-1000:]} (as root, or with kernel.yama.ptrace_scope=0?)")
