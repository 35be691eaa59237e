"""The two that are compared, each a process of its own on a port that the kernel chooses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PEER: Final = Path(__file__).parent / "peers" / "fastify-ws"
LISTENING: Final = re.compile(r"(?:relay|peer) listening on http://127\.0\.0\.1:(\d+)")
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.01


class CannotStart(Exception):
    """A server does not run. The text says why, or what it said last."""


@dataclass(frozen=True)
class Server:
    """A server that listens."""

    name: str
    pid: int
    port: int
    log: Path
    started: float  #: seconds from its first instruction until it listened

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2000:]


def relay_command(folder: Path) -> list[str]:
    """The relay as it is installed: its own defaults, and its store on the disk."""
    twistd = str(Path(sys.executable).with_name("twistd"))
    listen, store = "tcp:0:interface=127.0.0.1", f"sqlite:{folder / 'relay.db'}"
    return [twistd, "-n", "--pidfile=", "relay", "--listen", listen, "--store", store]


def peer_command(_folder: Path) -> list[str]:
    """The peer; its packages are installed first if they are not there. Raises CannotStart."""
    install_peer()
    return ["node", str(PEER / "relay.mjs")]


SERVERS: Final[dict[str, Callable[[Path], list[str]]]] = {"relay": relay_command, "peer": peer_command}


def install_peer() -> None:
    """Install the peer's packages, unless those of its lock file are there already. Raises CannotStart."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise CannotStart("the peer needs Node.js and npm: install them, or measure the relay alone (--servers relay)")
    lock, installed = PEER / "package-lock.json", PEER / "node_modules" / ".package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=PEER, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise CannotStart(f"npm ci in {PEER} failed:\n{done.stderr[-2000:]}")


@contextmanager
def running(name: str, folder: Path) -> Iterator[Server]:
    """A server of that name, with ``folder`` for its files, until the block ends. Raises CannotStart."""
    with serving(name, SERVERS[name](folder), folder) as server:
        yield server


@contextmanager
def serving(name: str, command: Sequence[str], folder: Path) -> Iterator[Server]:
    """The same, started by a command of one's own."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            port = await_port(process, log)
            yield Server(name, process.pid, port, log, time.monotonic() - began)
        finally:
            stop(process)


def environment() -> dict[str, str]:
    """Ours, without what would configure a server, and with the checkout importable."""
    kept = {name: value for name, value in os.environ.items() if name != "PORT" and not name.startswith("RELAY_")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "NODE_ENV": "production"}


def await_port(process: subprocess.Popen[bytes], log: Path) -> int:
    """The port, as soon as the server says it. Raises CannotStart."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        ended = process.poll() is not None
        text = log.read_text(errors="replace")
        found = LISTENING.search(text)
        if found is not None:
            return int(found[1])
        if ended:
            raise CannotStart(f"{process.args!r} ended with status {process.returncode}:\n{text[-2000:]}")
        time.sleep(POLL_SECONDS)
    raise CannotStart(f"{process.args!r} does not listen after {START_SECONDS:g} s:\n{text[-2000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and past ``STOP_SECONDS`` SIGKILL, to this process alone."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
