"""The plugins that come with the relay stand on what any plugin may stand on, and keep the measure of the house."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.test_walls import CLASS_LINES, FUNCTION_LINES, MODULE_LINES, ROOT, imports, length, parsed, wall_clocks

PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("relay-*/pyproject.toml"))
MODULES = sorted(path for plugin in PLUGINS for path in plugin.rglob("*.py") if "tests" not in path.parts)
DESCRIPTIONS = [path for path in MODULES if path.parent.name == "plugins"]

#: what a plugin may import of the relay: its interfaces, its words, the kinds of settings
OPEN = ("relay.extensions", "relay.core", "relay.kinds")
#: the store on PostgreSQL takes from the one on SQLite what knows nothing of SQLite; who posts, how that is done
MORE = {"relay_postgres": ("relay.store",), "relay_webhook": ("relay.outward.post",)}


def own(plugin: Path) -> str:
    return plugin.name.replace("-", "_")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_plugins() -> None:
    assert {"relay-redact", "relay-webhook"} <= {plugin.name for plugin in PLUGINS}


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: str(plugin.name))
def test_a_plugin_is_a_package_of_its_own(plugin: Path) -> None:
    for part in ("README.md", "LICENSE", f"{own(plugin)}/__init__.py", f"relay/plugins/{own(plugin)}.py", "tests"):
        assert (plugin / part).exists(), part
    # Folders that many packages share: a file of this name in them would hide all others.
    assert not list((plugin / "relay").rglob("__init__.py"))


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_plugin_imports_of_the_relay_what_is_open_to_all(path: Path) -> None:
    of_ours = [name for name in imports(path) if name.split(".")[0] == "relay"]
    allowed = OPEN + MORE.get(path.parent.name, ())
    assert not [name for name in of_ours if not name.startswith(allowed)]


@pytest.mark.parametrize("path", DESCRIPTIONS, ids=named)
def test_a_description_is_quick_to_import(path: Path) -> None:
    # At the top: what is imported where it is needed is imported only where the plugin is configured.
    heavy = [
        ast.unparse(node)
        for node in parsed(path).body
        if isinstance(node, ast.Import | ast.ImportFrom) and not ast.unparse(node).endswith("import __version__")
        if getattr(node, "module", None)
        not in {"__future__", "typing", "collections.abc", "twisted.plugin", "zope.interface", "relay.extensions"}
    ]
    assert heavy == []


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_plugin_is_given_its_reactor_and_its_clock(path: Path) -> None:
    assert not [name for name in imports(path) if name.startswith("twisted.internet.reactor")]
    assert not list(wall_clocks(path))


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_nothing_in_a_plugin_is_too_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MODULE_LINES
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ClassDef):
            assert length(node) <= CLASS_LINES, node.name
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert length(node) <= FUNCTION_LINES, node.name
