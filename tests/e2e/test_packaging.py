"""The package as strangers get it: a wheel in a clean environment, a fresh clone in a folder with a blank in its name.

Each environment is made once. Nothing here may find the checkout: ``PYTHONPATH`` is empty, and every command runs in
a folder of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.e2e.door import get
from tests.e2e.support import ROOT, Daemon, clean_environment
from tests.support_system import needs

pytestmark = pytest.mark.e2e

NOT_SOURCE = shutil.ignore_patterns(
    ".git",
    ".venv",
    "build",
    "dist",
    "*.egg-info",
    "node_modules",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    "relay.db*",
)
ALONE = {"PYTHONPATH": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHON": sys.executable}
LOOPBACK = "tcp:0:interface=127.0.0.1"
INSTALL_SECONDS = 300


def run(*command: str | Path, folder: Path, seconds: int = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=clean_environment(ALONE),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def succeed(*command: str | Path, folder: Path, seconds: int = 60) -> str:
    done = run(*command, folder=folder, seconds=seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source without anything that was made from it, in a folder with a blank in its name."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("fresh") / "a b" / "relay", ignore=NOT_SOURCE))


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("dist")
    pip = (sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--wheel-dir", to)
    succeed(*pip, source, folder=to, seconds=INSTALL_SECONDS)
    (built,) = to.glob("txrelay-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a clean environment with nothing but the wheel and what it needs."""
    place = tmp_path_factory.mktemp("installed")
    succeed(sys.executable, "-m", "venv", "--without-pip", "env", folder=place)
    commands = place / "env" / "bin"
    pip = (sys.executable, "-m", "pip", "--python", commands / "python", "install", "-qq")
    succeed(*pip, wheel, folder=place, seconds=INSTALL_SECONDS)
    return commands


@pytest.fixture(scope="module")
def made(source: Path) -> Path:
    """The commands of the environment that ``make run`` makes in a fresh clone."""
    needs("make")
    started = Daemon(source, environment=ALONE | {"RELAY_LISTEN": LOOPBACK}, command=["make", "run"])
    try:
        started.launch().wait_for("relay listening on", INSTALL_SECONDS)
        assert (source / "relay.db").exists()
    finally:
        started.stop()
    return source / ".venv" / "bin"


def listens_and_stops(commands: Path, *how: str, folder: Path) -> None:
    """Start a relay in another folder, ask how it is, and end it as a service manager would."""
    command = [str(commands / "twistd"), "--nodaemon", "--pidfile=", *how]
    environment = ALONE | {"RELAY_LISTEN": LOOPBACK, "RELAY_STORE": "sqlite:elsewhere.db"}
    with Daemon(folder, environment=environment, command=command) as relay:
        assert get(relay.port, "/healthz").status == 200
        assert (folder / "elsewhere.db").exists()
        assert relay.terminate() == 0


def test_the_wheel_holds_the_package_its_plugin_and_its_data_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {"twisted/plugins/relay_plugin.py", "relay/py.typed", "relay/tap.py"} <= names
    assert {f"relay/store/schema/{path.name}" for path in (ROOT / "relay/store/schema").glob("*.sql")} <= names
    assert {name.split("/")[0] for name in names} == {"relay", "twisted"}
    assert [name for name in names if name.startswith("twisted/")] == ["twisted/plugins/relay_plugin.py"]


def test_every_module_of_ours_is_in_the_wheel(wheel: Path) -> None:
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "relay").rglob("*.py")}
    assert ours - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_the_wheel_brings_twistd_its_plugin(installed: Path, tmp_path: Path) -> None:
    assert "Gets a message to a program which nobody can reach" in succeed(
        installed / "twistd", "--help", folder=tmp_path
    )
    told = succeed(installed / "twistd", "relay", "--help", folder=tmp_path)
    for option in ("--listen", "--store", "--ack-timeout", "--heartbeat", "--on-duplicate", "--config"):
        assert option in told


def test_the_wheel_brings_the_command_line(installed: Path, tmp_path: Path) -> None:
    told = succeed(installed / "relay", "--help", folder=tmp_path)
    for command in ("send", "listen", "serve"):
        assert command in told


def test_the_wheel_runs_in_another_folder(installed: Path, tmp_path: Path) -> None:
    listens_and_stops(installed, "relay", folder=tmp_path)


def test_a_fresh_clone_runs_from_another_folder_after_make_run(made: Path, tmp_path: Path) -> None:
    assert "--listen" in succeed(made / "twistd", "relay", "--help", folder=tmp_path)
    assert "send" in succeed(made / "relay", "--help", folder=tmp_path)
    listens_and_stops(made, "relay", folder=tmp_path)


def test_the_tac_file_runs_from_another_folder(made: Path, source: Path, tmp_path: Path) -> None:
    listens_and_stops(made, "--no_save", "--python", str(source / "relay.tac"), folder=tmp_path)


def test_make_run_does_nothing_twice(made: Path, source: Path) -> None:
    stamp = (source / ".venv" / "installed").stat().st_mtime_ns
    assert "pip" not in succeed("make", "--dry-run", "run", folder=source)
    assert "setup" not in succeed("make", "--dry-run", "run", folder=source)
    assert (source / ".venv" / "installed").stat().st_mtime_ns == stamp


def test_it_goes_into_the_background_and_leaves_its_pid(installed: Path, tmp_path: Path) -> None:
    place = ("--listen", LOOPBACK, "--store", "sqlite:relay.db")
    succeed(installed / "twistd", "--pidfile=relay.pid", "--logfile=relay.log", "relay", *place, folder=tmp_path)
    pid = int((tmp_path / "relay.pid").read_text())
    descriptor = os.pidfd_open(pid)
    try:
        log = tmp_path / "relay.log"
        succeed("sh", "-c", f"timeout 30 tail -n +1 -f '{log}' | grep -q -m1 'listening on'", folder=tmp_path)
    finally:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        os.close(descriptor)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ("--ack-timeout", "soon"),
            "ack_timeout (as --ack-timeout): 'soon' is not allowed; allowed: seconds from 0 to",
        ),
        (("--wavelength", "5"), "option --wavelength not recognized"),
        (("send",), "no arguments"),
        (("--listen", "tcp:8080"), "--insecure-open"),
        (
            ("--listen", "tcp:http-alt:interface=127.0.0.1"),
            "listen: tcp:http-alt:interface=127.0.0.1 is not an endpoint",
        ),
        (("--listen", "systemd:domain=INET:name=absent"), "is not an endpoint"),
        (("--store", "floppy:relay.db"), "floppy"),
        (("--config", "absent.toml"), "cannot read absent.toml: No such file"),
        (("--config", "unknown.toml"), "colour (in unknown.toml): there is no such setting"),
        (("--auth-file", "absent.toml"), "auth_file"),
        (("--listen", LOOPBACK, "--store", "sqlite:damaged.db"), "damaged.db"),
        (("--listen", LOOPBACK, "--store", "sqlite:absent/relay.db"), "absent"),
        (("--listen", "tcp:0:interface=192.0.2.1", "--insecure-open", "--store", "memory:"), "192.0.2.1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_on_stderr(
    installed: Path, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    (tmp_path / "unknown.toml").write_text("colour = 'red'\n")
    (tmp_path / "damaged.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    done = run(installed / "twistd", "-n", "--pidfile=", "relay", *options, folder=tmp_path)
    assert done.returncode == 1, done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("relay: ")
    assert told in line
    assert "Traceback" not in done.stdout
