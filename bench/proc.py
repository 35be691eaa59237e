"""What the kernel says of a process, and of the machine."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU seconds that the process has used so far: user and system, all its threads, those that have ended too."""
    # The name, in parentheses, may hold blanks: what counts comes after it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int) -> int:
    """The process' share of the memory in RAM (Pss), in bytes."""
    found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/{pid}/smaps_rollup has no Pss")
    return int(found[1]) * 1024


def raise_descriptors(needed: int) -> None:
    """Let this process and its children open as many files as they may. Raises ValueError if that is too few."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ValueError(f"{needed} open files are needed, and {hard} are allowed: see `ulimit -Hn`")


def machine() -> dict[str, str | int | float]:
    """Where the figures come from."""
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": model[1] if model else platform.machine(),
        "load": round(os.getloadavg()[0], 1),  # before the run: whose machine was it?
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "node": said_by("node", "--version"),
        "commit": said_by("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"),
    }


def said_by(*command: str) -> str:
    """The line that a command prints; empty where there is no such command, or it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
