"""A relay as a stranger meets it: a process, a port and a log.

The relay is started by ``twistd`` in a folder of its own, with a port that the kernel chooses. Nothing here polls:
a thread reads the process' output as it comes, and whoever waits for a line is woken by it. Every process is ended by
its own id, whatever became of the test.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
LISTENING = re.compile(r"relay listening on http://127\.0\.0\.1:(\d+)")
COMPLAINTS = re.compile(r"Traceback|Unhandled|#critical|Exception ignored")
START_SECONDS = 30.0
STOP_SECONDS = 30.0


def python_script(name: str) -> str:
    """The path of a console script that belongs to the Python which runs the tests."""
    return str(Path(sys.executable).with_name(name))


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment without ``RELAY_*``, with the checkout importable, and with ``extra``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    path = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1", **(extra or {})}


def mortal() -> list[str]:
    """What makes a process end with ours, even when ours is killed and has no chance to see to it. Not everywhere."""
    return ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []


class Output:
    """What a process wrote, line by line, kept by a thread until the stream ends. The newest 20,000 lines are kept."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: deque[str] = deque(maxlen=20_000)
        self._process = process
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def search(self, pattern: str | re.Pattern[str]) -> re.Match[str] | None:
        """The first match in what has come so far."""
        return next(filter(None, (re.search(pattern, line) for line in list(self.lines))), None)

    def wait_for(self, pattern: str | re.Pattern[str], timeout: float) -> re.Match[str]:
        """The first match, as soon as it is there. Raises AssertionError if the output ends or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self.search(pattern) is not None, timeout)
            found = self.search(pattern)
        assert found is not None, f"no line with {pattern!r} in:\n{self.text()}"
        return found

    def wait_for_count(self, pattern: str | re.Pattern[str], count: int, timeout: float) -> None:
        """Wait until so many lines match. Raises AssertionError if the output ends or the time is over."""

        def enough() -> bool:
            return sum(re.search(pattern, line) is not None for line in self.lines) >= count

        with self._changed:
            self._changed.wait_for(lambda: self._ended or enough(), timeout)
            assert enough(), f"not {count} lines with {pattern!r} in:\n{self.text()}"

    def finish(self, timeout: float = 10.0) -> None:
        """Wait until all that the process wrote has been read."""
        self._thread.join(timeout)

    def text(self) -> str:
        return "\n".join(self.lines)


class Daemon:
    """One relay, which may be stopped, killed and started again on its store and its port.

    ``options`` go to ``twistd relay``, ``environment`` is added to ours. ``port`` 0 lets the kernel choose at the first
    start; later starts use the same one. ``command`` replaces the whole ``twistd`` command line.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        port: int = 0,
        store: str = "sqlite:relay.db",
        command: Sequence[str] | None = None,
    ) -> None:
        self.folder = folder
        self.options = options
        self.environment = dict(environment or {})
        self.port = port
        self.store = store
        self.command = command
        self.past = ""  #: what earlier processes wrote
        self.foreseen = re.compile("(?!)")  #: complaints that the test is about
        self._process: subprocess.Popen[str] | None = None
        self._output: Output | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None, "the relay was not started"
        return self._process

    @property
    def output(self) -> Output:
        assert self._output is not None, "the relay was not started"
        return self._output

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/connect"

    def command_line(self) -> list[str]:
        """``twistd -n relay`` with our options; without a pid file, which a killed process would leave behind."""
        if self.command is not None:
            return list(self.command)
        listen = f"tcp:{self.port}:interface=127.0.0.1"
        twistd = [python_script("twistd"), "-n", "--pidfile=", "relay"]
        return [*twistd, "--listen", listen, "--store", self.store, *self.options]

    def launch(self) -> Output:
        """Start the process without waiting for anything."""
        self.stop()
        self._process = subprocess.Popen(
            [*mortal(), *self.command_line()],
            cwd=self.folder,
            env=clean_environment(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # a group of its own: what it starts can be ended with it
        )
        self._output = Output(self._process)
        return self._output

    def start(self) -> Self:
        """Start it and return once it listens: the store is open by then."""
        try:
            self.port = int(self.launch().wait_for(LISTENING, START_SECONDS)[1])
        except BaseException:
            self.stop()
            raise
        return self

    def wait(self, timeout: float = STOP_SECONDS) -> int:
        """The exit code, once the process has ended by itself. One that does not is killed, and the test fails."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the relay did not end in {timeout} s:\n{self.output.text()}") from None
        self.output.finish()
        return code

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def terminate(self, timeout: float = STOP_SECONDS) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """``kill -9``, for what it started too: it can do nothing about it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(10)
        self.output.finish()

    def stop(self) -> None:
        """Make sure that no process is left, and keep what it said."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self.kill()
        self.output.finish()
        self.past += self.output.text() + "\n"
        self._process = self._output = None

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def complaints(self) -> list[str]:
        """Lines in the log, of all its processes, that tell of something nobody has foreseen."""
        now = self._output.text() if self._output is not None else ""
        lines = (self.past + now).splitlines()
        return [line for line in lines if COMPLAINTS.search(line) and not self.foreseen.search(line)]

    def resident(self) -> int:
        """Its memory in RAM, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def peak(self) -> int:
        """The most memory in RAM that it has had since ``forget_peak``, in bytes."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024

    def forget_peak(self) -> None:
        """Let ``peak`` begin anew, from what it has now (proc(5), clear_refs)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def descriptors(self) -> int:
        """How many files and sockets it holds open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))
