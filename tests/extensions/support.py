"""Plugins for the tests, and what they are given: a world with a fake clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.plugin import IPlugin
from zope.interface import directlyProvides

from relay.auth.audit import AuditLog
from relay.core.counters import Counters
from relay.core.limits import Limits
from relay.extensions import Settings
from relay.extensions.loader import Catalogue, Found
from relay.extensions.place import World
from relay.extensions.roster import Roster
from relay.extensions.tally import Tally
from relay.kinds import text

WALL = 1_700_000_000.0


class Plugin:
    """A plugin of any interface. ``makes``: what its methods make, by their names."""

    version = "1.0"
    description = "for the tests"
    scope = "admin"
    schemes = ("test",)

    def __init__(self, name: str = "test", **makes: Any) -> None:
        self.name = name
        self.relay: Any = None
        self.made_with: list[Any] = []
        self._makes = makes

    def read(self, settings: dict[str, Any]) -> dict[str, str]:
        table = Settings(settings)
        read = {"word": table.take("word", text("[a-z]+", "a word"), "none")}
        table.done()
        return read

    def _make(self, what: str, *args: Any) -> Any:
        self.relay = args[-1]
        self.made_with.append(args[:-1])
        made = self._makes[what]
        if isinstance(made, Exception):
            raise made
        return made

    def __getattr__(self, what: str) -> Callable[..., Any]:
        if what.startswith("_") or what not in self._makes:
            raise AttributeError(what)
        return lambda *args: self._make(what, *args)


def plugin(interface: Any, name: str = "test", **makes: Any) -> Plugin:
    """One that provides an interface."""
    made = Plugin(name, **makes)
    directlyProvides(made, IPlugin, interface)
    return made


@dataclass
class Outside:
    """What the plugins are given, and a roster of them."""

    plugins: list[Any]
    limits: Limits = field(default_factory=Limits)
    tables: dict[str, dict[str, Any]] | None = None
    clock: MemoryReactorClock = field(default_factory=MemoryReactorClock)
    watched: list[Any] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self.tally = Tally(self.counters)
        found = tuple(Found(each, "here") for each in self.plugins)
        world = World(self.clock, self.wall, self.limits, AuditLog(200), self.tally, self._watch)
        tables = {each.name: {} for each in self.plugins} if self.tables is None else self.tables
        self.roster = Roster(Catalogue(found, ()), tables, world)

    def _watch(self, *looks: Any) -> None:
        self.watched.append(looks)

    def wall(self) -> float:
        return WALL + self.clock.seconds()
