"""Which plugins are installed: every module of ``relay.plugins``, and why one of them could not be loaded.

``twisted.plugin.getPlugins`` finds the same, but keeps a cache in each folder that it looks at (which goes stale, and
cannot be written into a read-only installation), and only logs why a module did not load. There are a few modules at
most, each a description that is quick to import: so they are simply imported.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from twisted.plugin import IPlugin

from relay.extensions.interfaces import IRelayPlugin
from relay.extensions.settings import NotUsable


@dataclass(frozen=True, slots=True)
class Found:
    """One plugin: the object, and the file that it stands in."""

    plugin: Any
    where: str
    builtin: bool = False  #: it came with the relay

    @property
    def name(self) -> str:
        name: str = self.plugin.name
        return name


@dataclass(frozen=True, slots=True)
class Broken:
    """A module that holds no usable plugin, and why, in one line."""

    module: str
    where: str
    why: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is installed, in the order of names. A name that is taken twice is the first one's; the other is broken."""

    found: tuple[Found, ...]
    broken: tuple[Broken, ...]

    def named(self, name: str) -> Found | None:
        """The plugin of that name."""
        return next((each for each in self.found if each.name == name), None)

    def configured(self, name: str) -> Found:
        """The plugin that the configuration names. Raises NotUsable, with what is installed."""
        found = self.named(name)
        if found is not None:
            return found
        broken = "; ".join(f"{each.module} ({each.why})" for each in self.broken)
        installed = ", ".join(each.name for each in self.found) or "none"
        note = f"; broken: {broken}" if broken else ""
        raise NotUsable(f"extensions.{name}: no plugin of that name is installed; installed are {installed}{note}")

    def providing(self, interface: Any) -> list[Found]:
        """Those that provide an interface."""
        return [each for each in self.found if interface.providedBy(each.plugin)]


def add_folders(package: ModuleType, folders: Sequence[str]) -> None:
    """Look for plugins in these folders too: in ``relay/plugins`` of each, if it has one, else in the folder itself.

    In the first case what else stands in the folder can be imported by the plugins. Raises NotUsable.
    """
    for folder in folders:
        if not os.path.isdir(folder):
            raise NotUsable(f"plugin_path: {folder} is not a folder")
        inner = os.path.join(folder, *package.__name__.split("."))
        if os.path.isdir(inner) and folder not in sys.path:
            # Last: nothing that is installed is ever replaced by it.
            sys.path.append(folder)
        place = inner if os.path.isdir(inner) else folder
        if place not in package.__path__:
            package.__path__.append(place)


def look(package: ModuleType, builtin: Sequence[Found] = ()) -> Catalogue:
    """Import every module of a package and collect the plugins in them. Never raises."""
    found: dict[str, Found] = {each.name: each for each in builtin}
    broken: list[Broken] = []
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        where = getattr(info.module_finder, "path", "")
        try:
            module = importlib.import_module(f"{package.__name__}.{info.name}")
        # A stranger's module may do anything at all, sys.exit included; only an interrupt is not its own.
        except (Exception, SystemExit) as error:
            broken.append(Broken(info.name, where, _why(error)))
            continue
        for plugin in _plugins(module):
            why = _unusable(plugin, found)
            place = module.__file__ or where
            if why:
                broken.append(Broken(info.name, place, why))
            else:
                found[plugin.name] = Found(plugin, place)
    return Catalogue(tuple(found[name] for name in sorted(found)), tuple(broken))


def _plugins(module: ModuleType) -> Iterator[Any]:
    """What the module offers, each once, in the order in which it stands there."""
    seen: set[int] = set()
    for each in vars(module).values():
        if id(each) not in seen and IPlugin.providedBy(each) and IRelayPlugin.providedBy(each):
            seen.add(id(each))
            yield each


def _unusable(plugin: Any, found: dict[str, Found]) -> str:
    name = getattr(plugin, "name", None)
    if not isinstance(name, str) or not name.replace("-", "").isalnum() or name != name.lower() or len(name) > 64:
        return f"its name is {name!r}; allowed are lower case letters, digits and '-'"
    if name in found:
        return f"its name {name} is taken by {found[name].where}"
    return ""


def _why(error: BaseException) -> str:
    """The error, and where in the module it happened, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" (line {frames[-1].lineno} of {frames[-1].filename})" if frames else ""
    return " ".join(f"{type(error).__name__}: {error}{place}".split())
