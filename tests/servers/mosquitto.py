"""A Mosquitto of the tests' own: in a temporary folder, on a socket there or a port, and mortal."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.e2e.support import Output, mortal
from tests.support_system import needs, where

STARTED_SECONDS = 30.0
PORTS = range(20_000, 32_000)  #: the kernel gives these to nobody by itself
USER, PASSWORD = "relay", "p4ss word"


class Mosquitto:
    """``start`` and ``stop`` it as often as you like; ``remove`` leaves nothing behind.

    It listens on a socket in its folder; with ``certificate`` (a file in PEM that holds the key too) also on a port
    with TLS, where everybody needs a password.
    """

    def __init__(self, *, certificate: Path | None = None, conf: str = "") -> None:
        needs("mosquitto")
        self.folder = Path(tempfile.mkdtemp(prefix="relay-mqtt-"))
        self.folder.chmod(0o755)
        self.socket = self.folder / "broker"
        self.port = 0
        self._certificate = certificate
        self.conf = conf
        self._process: subprocess.Popen[str] | None = None
        self.output: Output | None = None

    @property
    def url(self) -> str:
        return f"mqtt+unix://{self.socket}"

    def configuration(self) -> str:
        lines = [
            "per_listener_settings true",
            "persistence true",
            f"persistence_location {self.folder}/",
            # It would become somebody else, who may not write here.
            "user root",
            "log_type all",
            "max_queued_messages 0",
            f"listener 0 {self.socket}",
            "allow_anonymous true",
            self.conf,
        ]
        if self._certificate is not None:
            self.port = self.port or free_port()
            words = self.folder / "words"
            if not words.exists():
                words.touch(mode=0o600)
                subprocess.run([where("mosquitto_passwd"), "-b", words, USER, PASSWORD], check=True)
            lines += [
                f"listener {self.port} 127.0.0.1",
                f"certfile {self._certificate}",
                f"keyfile {self._certificate}",
                "allow_anonymous false",
                f"password_file {words}",
            ]
        return "\n".join(lines) + "\n"

    def start(self) -> Mosquitto:
        """Start it, and wait until it listens."""
        self.socket.unlink(missing_ok=True)
        file = self.folder / "mosquitto.conf"
        file.write_text(self.configuration())
        self._process = subprocess.Popen(
            [*mortal(), where("mosquitto"), "-c", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
        )
        self.output = Output(self._process)
        self.output.wait_for(r"mosquitto version \S+ running", STARTED_SECONDS)
        self.socket.chmod(0o777)
        return self

    def stop(self) -> None:
        """Let it end in order: it writes down what it keeps."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def freeze(self, frozen: bool) -> None:
        """Let it answer nothing, or go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def _end(self, which: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            # It says that it runs before it has looked for signals: one that comes between is lost.
            for seconds in (1.0, 1.0, STARTED_SECONDS):
                process.send_signal(which)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(seconds)
                    break
            else:
                raise RuntimeError(f"the broker does not end by signal {which}")
            assert self.output is not None
            self.output.finish()

    def remove(self) -> None:
        """End it, and take its folder away."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")
