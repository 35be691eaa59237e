"""How the store is found, configured and made by the relay."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from relay.core.limits import Limits
from relay.core.model import Depth, Put
from relay.core.ports import StoreRefused
from relay.extensions import IMessageStorePlugin, SettingsError
from relay.extensions.loader import look
from relay_postgres.server import Server
from relay_postgres.settings import Read, make_store, read
from relay_postgres.store import PostgresStore
from tests.servers.postgres import PASSWORD, PostgresServer
from tests.store.support import NOW, record

FOLDER = Path(__file__).parent.parent


def place() -> Any:
    """What the plugin is given of the relay."""
    from twisted.internet import reactor

    return SimpleNamespace(reactor=reactor, wall=lambda: NOW, limits=Limits())


def test_it_is_found_by_its_schemes() -> None:
    package: Any = SimpleNamespace(__path__=[str(FOLDER / "relay" / "plugins")], __name__="relay.plugins")
    [found] = [each for each in look(package).providing(IMessageStorePlugin) if each.name == "postgres"]
    assert found.plugin.schemes == ("postgresql", "postgres")
    assert not look(package).broken


def test_every_setting_in_the_readme_is_one_and_has_the_default_that_stands_there() -> None:
    lines = [line.split("|")[1:3] for line in (FOLDER / "README.md").read_text().splitlines() if line.startswith("| `")]
    table = {key.strip(" `"): value.strip(" `") for key, value in lines}
    assert set(table) == set(Read.__dataclass_fields__)
    defaults = {key: getattr(Read(), key) for key in table}
    assert {key: str(value) or "none" for key, value in defaults.items()} == table


@pytest.mark.parametrize(
    "table, key",
    [
        ({"schema": "pg_relay"}, "schema"),
        ({"schema": 'x"; DROP'}, "schema"),
        ({"password_file": "relative"}, "password_file"),
        ({"connect_seconds": 1}, "connect_seconds"),
        ({"answer_seconds": "soon"}, "answer_seconds"),
        ({"scheme": "relay"}, "scheme"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(table: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(table)
    assert refused.value.key == key


@pytest.mark.parametrize(
    "url", ["postgresql://ann:se%zzcret@host/db", "postgres://h/db?secret=1", "postgresql://[::1/x"]
)
def test_a_url_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        make_store(url, Read(), place())
    assert "secret" not in str(refused.value) and "zz" not in str(refused.value)
    assert refused.value.value is None


def test_a_password_stands_in_one_place() -> None:
    with pytest.raises(SettingsError, match="not in both"):
        make_store("postgresql://a:b@c/d", Read(password_file="/x"), place())


def test_for_people_a_server_has_no_password() -> None:
    server = Server({"host": "h", "port": "5433", "dbname": "d", "password": PASSWORD})
    assert str(server) == "PostgreSQL h:5433/d (schema relay)"
    assert PASSWORD not in repr(server)
    assert PASSWORD not in server.told(ValueError(f"so {PASSWORD}\nit is"))


@pytest_twisted.ensureDeferred
async def test_a_password_is_read_at_each_connection(postgres: PostgresServer, schema: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    url = f"postgresql://relay@/postgres?host={postgres.folder}"
    settings = read({"schema": schema, "password_file": str(file)})
    with pytest.raises(StoreRefused, match="password"):
        await make_store(url, settings, place()).open()
    file.write_text(PASSWORD + "\n")
    store = make_store(url, settings, place())
    await store.open()
    await store.write(Put(record(1)))
    await store.close()
    again = make_store(url, settings, place())
    assert (await again.open()).depths == {"desk": Depth(1, 9)}
    await again.close()


def test_the_package_says_what_it_needs() -> None:
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())
    assert "relay.plugins" in project["tool"]["setuptools"]["packages"]
    assert not os.path.exists(FOLDER / "relay" / "plugins" / "__init__.py")
    assert not os.path.exists(FOLDER / "relay" / "__init__.py")


@pytest_twisted.ensureDeferred
async def test_nothing_is_touched_before_it_is_opened() -> None:
    store = PostgresStore(Server({"host": "/nowhere"}), reactor=place().reactor, clock=Clock(), wall=lambda: NOW)
    await store.close()
    with pytest.raises(StoreRefused, match="/nowhere"):
        await PostgresStore(
            Server({"host": "/nowhere", "dbname": "d"}), reactor=place().reactor, clock=Clock(), wall=lambda: NOW
        ).open()
