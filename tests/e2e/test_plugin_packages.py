"""The plugins as strangers get them: wheels beside the relay's, found, used over a real relay, and removed again.

One clean environment for all of it. Nothing here may find the checkout: ``PYTHONPATH`` is empty, and every command runs
in a folder of its own.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from relay.core.webhooks import signatures
from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import get, post
from tests.e2e.support import ROOT, Daemon
from tests.e2e.test_callbacks import Receiver
from tests.e2e.test_packaging import ALONE, INSTALL_SECONDS, LOOPBACK, NOT_SOURCE, run, succeed
from tests.servers.mosquitto import Mosquitto
from tests.servers.mqtt_device import Device
from tests.servers.postgres import PASSWORD, PostgresServer

pytestmark = pytest.mark.e2e

SECRET = b"s" * 32
NOBODY = 65534


class Servers:
    """Programs of others, each started when it is first asked for."""

    @cached_property
    def postgres(self) -> PostgresServer:
        return PostgresServer()

    @cached_property
    def mosquitto(self) -> Mosquitto:
        return Mosquitto().start()

    def remove(self) -> None:
        for server in vars(self).values():
            server.remove()


@dataclass
class Around:
    """What a plugin may need of the world: a folder, a receiver of POSTs, and servers."""

    folder: Path
    receiver: Receiver
    servers: Servers


Use = Callable[[Daemon, Around], None]


def webhook_table(around: Around) -> str:
    secret = around.folder / "secrets"
    secret.write_text(f"whsec_{base64.b64encode(SECRET).decode()}\n")
    return (
        f'url = "{around.receiver.url}"\nca_file = "{around.receiver.certificate}"\nsecret_file = "{secret}"\n'
        'agents = ["desk-1"]\nbatch_seconds = 0\n'
    )


def use_webhook(relay: Daemon, around: Around) -> None:
    """It posts what became of a message over TLS, signed, and again when it was not taken."""
    around.receiver.statuses = [503, 204]
    queued = post(relay.port, "desk-1", '"hello"', wait=0)
    first, again = around.receiver.next(), around.receiver.next()
    assert (first.body, first.headers["webhook-id"]) == (again.body, again.headers["webhook-id"])
    at = int(again.headers["webhook-timestamp"])
    assert again.headers["webhook-signature"] == signatures((SECRET,), again.headers["webhook-id"], at, again.body)
    events = events_of(again.body)
    while not any(each["event"] == "message.queued" for each in events):
        events += events_of(around.receiver.next().body)
    assert {(each["agent"], each["id"]) for each in events} == {("desk-1", queued.json["id"])}


def events_of(body: bytes) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(body)["events"]
    return events


def redact_table(_: Around) -> str:
    return 'ready = ["card"]\n[[extensions.redact.rules]]\nready = "email"\naction = "refuse"\nagents = ["lab"]\n'


def use_redact(relay: Daemon, _: Around) -> None:
    """What it replaces is not kept, and what it refuses is answered so."""
    assert post(relay.port, "lab", '"joe@example.org"', wait=0).problem == "rejected"
    assert post(relay.port, "desk-2", '{"n": 1.0, "card": "4111 1111 1111 1111"}', wait=0).status == 200
    (kept,) = get(relay.port, "/v1/agents/desk-2/messages?payload=true").json["items"]
    assert kept["payload"] == {"n": 1.0, "card": "[card]"}


def mqtt_table(around: Around) -> str:
    return f'url = "{around.servers.mosquitto.url}"\nclient_id = "{around.folder.name}"\n'


def use_mqtt(relay: Daemon, around: Around) -> None:
    """It takes in what is published, and publishes what it is sent."""
    relay.output.wait_for("MQTT broker .* is reached", 30)
    with Device(around.servers.mosquitto) as device, Agent(relay.port, "lamp", acknowledge) as lamp:
        device.publish("relay/to/lamp", '"on"')
        assert lamp.next()["payload"] == "on"
        headers = {"Relay-Meta-Mqtt-From": "lamp"}
        assert post(relay.port, "mqtt", '"it is on"', headers=headers).outcome == "delivered"
        heard = device.next()
        assert (heard.topic, heard.payload) == ("relay/from/lamp", b'"it is on"')


def postgres_table(around: Around) -> str:
    password = around.folder / "password"
    password.write_text(PASSWORD)
    return f'schema = "{around.folder.name}"\npassword_file = "{password}"\n'


def postgres_store(around: Around) -> str:
    return f"postgresql://relay@/postgres?host={around.servers.postgres.folder}"


def use_postgres(relay: Daemon, around: Around) -> None:
    """It keeps what is queued in its database, and the relay finds it there again."""
    kept = post(relay.port, "desk-3", '"kept"', wait=0).json["id"]
    rows = around.servers.postgres.ask(f'SELECT id FROM "{around.folder.name}".messages WHERE agent = %s', ("desk-3",))
    assert rows == [(kept,)]
    relay.kill()
    relay.start()
    with Agent(relay.port, "desk-3", acknowledge) as desk:
        assert desk.next()["id"] == kept


@dataclass(frozen=True)
class Package:
    """A plugin's package, the name of its plugin, its table in the configuration, and what shows that it is used.

    ``store``: the relay's store, where that is what the plugin brings.
    """

    package: str
    plugin: str
    table: Callable[[Around], str]
    use: Use
    store: Callable[[Around], str] | None = None

    @property
    def module(self) -> str:
        return self.package.replace("-", "_")


PACKAGES = (
    Package("relay-redact", "redact", redact_table, use_redact),
    Package("relay-webhook", "webhook", webhook_table, use_webhook),
    Package("relay-mqtt", "mqtt", mqtt_table, use_mqtt),
    Package("relay-postgres", "postgres", postgres_table, use_postgres, postgres_store),
)
each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: str(package.package))


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that others than we can look into: pytest's own are closed."""
    place = Path(tempfile.mkdtemp(prefix="relay-plugins-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def wheels(place: Path) -> dict[str, Path]:
    """package -> its wheel; built from a copy of the source in which nothing was made before."""
    source = shutil.copytree(ROOT, place / "source", ignore=NOT_SOURCE)
    sources = [source, *(source / "plugins" / each.package for each in PACKAGES)]
    pip = (sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--wheel-dir", place / "dist")
    succeed(*pip, *sources, folder=place, seconds=INSTALL_SECONDS)
    return {path.name.split("-")[0].replace("_", "-"): path for path in (place / "dist").glob("*.whl")}


@pytest.fixture(scope="module")
def commands(place: Path, wheels: dict[str, Path]) -> Path:
    """The commands of a clean environment with the relay's wheel and what it needs."""
    succeed(sys.executable, "-m", "venv", "--without-pip", "env", folder=place)
    install(place / "env" / "bin", wheels["txrelay"])
    return place / "env" / "bin"


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    servers = Servers()
    yield servers
    servers.remove()


@pytest.fixture
def around(place: Path, servers: Servers) -> Iterator[Around]:
    """A folder in which everybody may write."""
    folder = Path(tempfile.mkdtemp(dir=place))
    folder.chmod(0o777)
    receiver = Receiver(folder)
    receiver.certificate.chmod(0o644)
    yield Around(folder, receiver, servers)
    receiver.close()


def pip(commands: Path, *words: str | Path) -> None:
    line = (sys.executable, "-m", "pip", "--python", commands / "python", words[0], "-qq", *words[1:])
    succeed(*line, folder=commands, seconds=INSTALL_SECONDS)


def install(commands: Path, *wheels: Path) -> None:
    pip(commands, "install", *wheels)


def remove(commands: Path, *packages: str) -> None:
    pip(commands, "uninstall", "--yes", *packages)


def listed(commands: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """What ``relay plugins`` says, by name."""
    told = succeed(commands / "relay", "plugins", "--json", folder=folder)
    return {each["name"]: each for each in map(json.loads, told.splitlines())}


def packages_in(commands: Path) -> Path:
    (folder,) = (commands.parent / "lib").glob("python*/site-packages")
    return folder


def configure(around: Around, *packages: Package) -> Path:
    file = around.folder / "relay.toml"
    tables = [f"[extensions.{each.plugin}]\n{each.table(around)}" for each in packages]
    file.write_text("\n".join(tables))
    file.chmod(0o644)
    return file


def relay_with(commands: Path, around: Around, *packages: Package, by: tuple[str, ...] = ()) -> Daemon:
    twistd = [str(commands / "twistd"), "--nodaemon", "--pidfile=", "relay"]
    line = [*by, *twistd, "--config", str(configure(around, *packages))]
    store = next((each.store(around) for each in packages if each.store), "sqlite:relay.db")
    environment = ALONE | {"RELAY_LISTEN": LOOPBACK, "RELAY_STORE": store}
    return Daemon(around.folder, environment=environment, command=line)


@each_package
def test_a_wheel_holds_its_package_its_description_and_nothing_of_the_relay(
    wheels: dict[str, Path], place: Path, package: Package
) -> None:
    names = succeed(sys.executable, "-m", "zipfile", "--list", wheels[package.package], folder=place)
    files = {line.split()[0] for line in names.splitlines()[1:]}
    ours = {name for name in files if ".dist-info/" not in name}
    assert {name for name in ours if name.startswith("relay/")} == {f"relay/plugins/{package.module}.py"}
    assert {name.split("/")[0] for name in ours} == {"relay", package.module}
    assert any(name.endswith("LICENSE") for name in files)
    modules = {str(path.relative_to(ROOT / "plugins" / package.package)) for path in sources_of(package)}
    assert modules <= ours


def sources_of(package: Package) -> list[Path]:
    return sorted((ROOT / "plugins" / package.package / package.module).rglob("*.py"))


@each_package
def test_a_plugin_is_found_and_used_when_it_is_installed_and_missed_when_it_is_removed(
    commands: Path, wheels: dict[str, Path], around: Around, package: Package
) -> None:
    assert package.plugin not in listed(commands, around.folder)
    install(commands, wheels[package.package])
    try:
        found = listed(commands, around.folder)[package.plugin]
        assert (found["state"], found["why"]) == ("not enabled", "")
        assert found["where"] == str(packages_in(commands) / "relay" / "plugins" / f"{package.module}.py")
        with relay_with(commands, around, package) as relay:
            package.use(relay, around)
            assert relay.terminate() == 0
            assert relay.complaints() == []
    finally:
        remove(commands, package.package)
    assert package.plugin not in listed(commands, around.folder)
    assert not list(packages_in(commands).glob(f"{package.module}*"))
    assert {path.name for path in (packages_in(commands) / "relay/plugins").iterdir()} <= {"__init__.py", "__pycache__"}


def test_what_is_configured_and_was_removed_is_missed_at_the_start(commands: Path, around: Around) -> None:
    words = (commands / "twistd", "-n", "--pidfile=", "relay", "--config", configure(around, PACKAGES[0]))
    done = run(*words, folder=around.folder)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"relay: extensions.{PACKAGES[0].plugin}: no plugin of that name is installed")


def test_a_cache_that_somebody_left_changes_nothing(commands: Path, wheels: dict[str, Path], around: Around) -> None:
    """``twisted.plugin.getPlugins`` writes one beside the plugins: whoever calls it for ours, we do not read it."""
    package = PACKAGES[0]
    install(commands, wheels[package.package])
    look = "import relay.plugins, twisted.plugin as p; print(len(list(p.getPlugins(p.IPlugin, relay.plugins))))"
    cache = packages_in(commands) / "relay" / "plugins" / "dropin.cache"
    try:
        assert int(succeed(commands / "python", "-c", look, folder=around.folder)) >= 1
        assert cache.exists()
        assert package.plugin in listed(commands, around.folder)
    finally:
        remove(commands, package.package)
    try:
        assert package.plugin not in listed(commands, around.folder)
    finally:
        cache.unlink()


def closed(folder: Path) -> Iterator[Path]:
    """Nobody may write in the folder, or in anything below it."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
            yield path


def contents(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


def test_all_plugins_together_run_from_an_installation_that_cannot_be_written(
    commands: Path, wheels: dict[str, Path], around: Around
) -> None:
    install(commands, *(wheels[each.package] for each in PACKAGES))
    changed = list(closed(commands.parent))
    before = contents(commands.parent)
    # For root nothing is closed: then as somebody else.
    somebody = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")
    by = ("setpriv", *somebody) if os.geteuid() == 0 else ()
    try:
        with relay_with(commands, around, *PACKAGES, by=by) as relay:
            for package in PACKAGES:
                package.use(relay, around)
            assert relay.terminate() == 0
            assert relay.complaints() == []
        assert {each.plugin for each in PACKAGES} <= set(listed(commands, around.folder))
        assert contents(commands.parent) == before
    finally:
        for path in changed:
            path.chmod(path.stat().st_mode | 0o200)
        remove(commands, *(each.package for each in PACKAGES))
