"""Programs that a test needs from the system: installed where that can be done, otherwise the test is skipped."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
from functools import cache

import pytest

#: a program -> the Debian packages that bring it
PACKAGES = {
    "node": ("nodejs",),
    "npm": ("npm",),
    "curl": ("curl",),
    "git": ("git",),
    "make": ("make",),
    "systemd-analyze": ("systemd",),
    "initdb": ("postgresql",),
    "pg_ctl": ("postgresql",),
    "mosquitto": ("mosquitto",),
}
#: where Debian keeps programs that are not for everybody's path
ASIDE = ("/usr/lib/postgresql/*/bin", "/usr/sbin")


def needs(*programs: str) -> None:
    """Have these programs, or skip the test with one line that names what is missing. With CI=true that fails it."""
    missing = [program for program in programs if not available(program)]
    if missing:
        packages = " ".join(package for program in missing for package in PACKAGES.get(program, (program,)))
        pytest.skip(f"needs {', '.join(missing)}: apt install {packages}")


@cache
def available(program: str) -> bool:
    """Is it there, or could it be installed now?"""
    return found(program) is not None or (install(program) and found(program) is not None)


def found(program: str) -> str | None:
    """Where it is, if it is there."""
    aside = [folder for places in ASIDE for folder in sorted(glob.glob(places), reverse=True)]
    return shutil.which(program) or shutil.which(program, path=os.pathsep.join(aside))


def where(program: str) -> str:
    """The path of a program that the test needs."""
    path = found(program)
    assert path is not None, f"{program} is not there"
    return path


def install(program: str) -> bool:
    """Install the package of a program: as root, by apt-get. Returns whether that went well."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    packages = PACKAGES.get(program, (program,))
    return quietly("apt-get", "-qq", "update") and quietly(
        "apt-get", "-qq", "install", "--yes", "--no-install-recommends", *packages
    )


def quietly(*command: str) -> bool:
    """Run a command without a word, for five minutes at most. Returns whether it went well."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    null = subprocess.DEVNULL
    try:
        done = subprocess.run(command, env=environment, stdin=null, stdout=null, stderr=null, timeout=300)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
