"""What is found of plugins, and why one is not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from relay import builtin
from relay.config import Config
from relay.extensions.loader import Catalogue, add_folders, look
from relay.extensions.settings import NotUsable

GOOD = """
from twisted.plugin import IPlugin
from zope.interface import implementer
from relay.extensions import IMessageFilterPlugin

@implementer(IPlugin, IMessageFilterPlugin)
class Plugin:
    version = "1"
    description = "it is there"
    def __init__(self, name):
        self.name = name
    def read(self, settings):
        return settings
    def filter(self, settings, relay):
        raise NotImplementedError

plugin = Plugin({name!r})
"""


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package as ``relay.plugins`` is one; it, and what was imported from it, is gone afterwards."""
    package = ModuleType("plugged")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "plugged", package)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield package
    for name in [name for name in sys.modules if name.startswith("plugged.")]:
        del sys.modules[name]


def found_in(package: ModuleType, folder: Path, **modules: str) -> Catalogue:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    add_folders(package, [str(folder)])
    return look(package)


def test_a_module_in_the_folder_is_found_with_its_name_and_its_file(package: ModuleType, tmp_path: Path) -> None:
    catalogue = found_in(package, tmp_path, mine=GOOD.format(name="my-filter"))
    assert [(each.name, each.where) for each in catalogue.found] == [("my-filter", str(tmp_path / "mine.py"))]
    assert not catalogue.broken


def test_a_folder_like_an_installation_is_found_with_what_stands_beside_it(package: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "plugged").mkdir()
    (tmp_path / "code_of_mine.py").write_text("NAME = 'beside'\n", encoding="utf-8")
    text = "from code_of_mine import NAME\n" + GOOD.replace("{name!r}", "NAME")
    (tmp_path / "plugged" / "mine.py").write_text(text, encoding="utf-8")
    add_folders(package, [str(tmp_path)])
    assert [each.name for each in look(package).found] == ["beside"]
    sys.modules.pop("code_of_mine")


def test_a_folder_that_is_not_there_is_named(package: ModuleType) -> None:
    with pytest.raises(NotUsable, match="plugin_path: /not/there is not a folder"):
        add_folders(package, ["/not/there"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import not_installed_at_all", "ModuleNotFoundError: No module named 'not_installed_at_all'"),
        ("def f(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero (line 1 of"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        (GOOD.format(name="No Name"), "its name is 'No Name'; allowed are lower case letters, digits and '-'"),
        (GOOD.format(name=5), "its name is 5"),
    ],
)
def test_a_broken_one_says_why_and_the_others_are_there(
    package: ModuleType, tmp_path: Path, text: str, why: str
) -> None:
    catalogue = found_in(package, tmp_path, bad=text, good=GOOD.format(name="good"))
    assert [each.name for each in catalogue.found] == ["good"]
    [broken] = catalogue.broken
    assert broken.module == "bad"
    assert broken.why.startswith(why)
    assert "\n" not in broken.why


def test_a_name_that_is_taken_twice_is_the_first_ones(package: ModuleType, tmp_path: Path) -> None:
    catalogue = found_in(package, tmp_path, a=GOOD.format(name="same"), b=GOOD.format(name="same"))
    assert [each.where for each in catalogue.found] == [str(tmp_path / "a.py")]
    assert [(each.module, each.why) for each in catalogue.broken] == [
        ("b", f"its name same is taken by {tmp_path / 'a.py'}")
    ]


def test_nothing_is_written_into_the_folder(
    package: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    found_in(package, tmp_path, mine=GOOD.format(name="mine"))
    assert os.listdir(tmp_path) == ["mine.py"]


def test_what_came_with_the_relay_is_found_by_the_same_interfaces() -> None:
    catalogue = builtin.catalogue(())
    names = {each.name: each.where for each in catalogue.found if each.builtin}
    assert names == dict.fromkeys(("jwt", "memory", "sqlite", "token-file"), "came with the relay")


def test_a_name_that_is_not_installed_is_answered_with_what_is() -> None:
    with pytest.raises(NotUsable, match=r"nope: no plugin .* installed are .*jwt.*memory.*sqlite.*token-file"):
        builtin.catalogue(()).configured("nope")


def test_short_names_are_the_tables_of_what_came_with_the_relay() -> None:
    config = Config(store="memory:", auth_file="tokens.toml", extensions={"mine": {"a": 1}})
    assert builtin.tables(config) == {"token-file": {"file": "tokens.toml"}, "memory": {}, "mine": {"a": 1}}
    more = Config(extensions={"sqlite": {"reserve": "1MiB"}}, jwt_jwks="keys.json", store_min_free=5)
    assert builtin.tables(more) == {"jwt": {"jwks": "keys.json"}, "sqlite": {"min_free": 5, "reserve": "1MiB"}}
