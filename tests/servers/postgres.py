"""A PostgreSQL server of the tests' own: in a temporary folder, on a socket there, with a password, and mortal."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from relay_postgres.server import Server
from tests.support_system import needs, where

PASSWORD = "p%ss w/rd:'"
STARTED_SECONDS = 60
MEMORY = "/dev/shm"


class PostgresServer:
    """``start`` and ``stop`` or ``kill`` it as often as you like; ``remove`` leaves nothing behind."""

    def __init__(self) -> None:
        needs("initdb", "pg_ctl")
        # In memory, where there is room: what is held here against kill -9 is in the kernel, and fsync costs nothing.
        self.folder = Path(tempfile.mkdtemp(prefix="relay-pg-", dir=MEMORY if roomy(MEMORY) else None))
        self.folder.chmod(0o755)  # whoever connects need not be who we are
        # The server does not run as root.
        self._user = None if os.geteuid() else pwd.getpwnam("postgres").pw_uid
        if self._user is not None:
            os.chown(self.folder, self._user, -1)
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        os.chmod(secret, 0o644)
        self._run("initdb", "--username=relay", "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8")
        options = f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\nmax_connections = 50\n"
        with (self.folder / "data" / "postgresql.conf").open("a") as conf:
            conf.write(options)
        self.start()

    @property
    def parameters(self) -> dict[str, Any]:
        return {"host": str(self.folder), "user": "relay", "dbname": "postgres", "password": PASSWORD}

    def server(self, schema: str, **options: Any) -> Server:
        """Where a store in this schema is."""
        return Server(self.parameters, schema, **options)

    def _run(self, program: str, *arguments: str) -> None:
        command = [where(program), "-D", str(self.folder / "data"), *arguments]
        done = subprocess.run(
            command,
            user=self._user,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=STARTED_SECONDS,
            env={"LC_ALL": "C"},
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout} {done.stderr} {self.log()[-2000:]}")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        # Its output must not be our pipe: it would be waited for until the server ends.
        self._run("pg_ctl", "-l", str(self.folder / "data" / "log"), "-w", "-t", str(STARTED_SECONDS), "start")

    def stop(self) -> None:
        """Let it end in order, cutting its connections."""
        self._run("pg_ctl", "-w", "-m", "fast", "stop")

    def processes(self) -> list[int]:
        """The server's process, and those that it made."""
        try:
            first = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
            children = Path(f"/proc/{first}/task/{first}/children").read_text()
        except (OSError, IndexError):
            return []
        return [first, *map(int, children.split())]

    def kill(self) -> None:
        """Take it away in the middle of whatever it does, as a power cut does but for the kernel."""
        processes = self.processes()
        for process in processes:
            self._signal(process, signal.SIGKILL)
        end = time.monotonic() + STARTED_SECONDS
        while any(alive(process) for process in processes):
            assert time.monotonic() < end, "the killed server does not go"
            time.sleep(0.01)  # its processes are not our children: nobody tells us
        # Where nobody takes in orphans, the dead keep their numbers, and the files would say that it still runs.
        for name in ("data/postmaster.pid", ".s.PGSQL.5432.lock"):
            (self.folder / name).unlink(missing_ok=True)

    def freeze(self, frozen: bool) -> None:
        """Let it answer nothing, or go on."""
        for process in self.processes():
            self._signal(process, signal.SIGSTOP if frozen else signal.SIGCONT)

    def _signal(self, process: int, which: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, which)

    def ask(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Ask it past every store."""
        with psycopg.connect(**self.parameters, autocommit=True) as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def log(self) -> str:
        """What it said."""
        log = self.folder / "data" / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def remove(self) -> None:
        """End it, and take its folder away."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def alive(process: int) -> bool:
    """Is there such a process, that is not a corpse?"""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def roomy(folder: str) -> bool:
    """Has it room for a database?"""
    return os.path.isdir(folder) and shutil.disk_usage(folder).free > 1 << 30
