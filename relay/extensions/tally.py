"""What is counted of plugins: how often each failed, what it was not told, and what it counts itself."""

from __future__ import annotations

import re
from typing import Final

from relay.core.counters import Counters

MOST: Final = 100  #: counters of one plugin

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Tally:
    """Numbers by (plugin, counter). ``counters`` are the relay's own: they are told when a plugin reached a limit."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self._numbers: dict[str, dict[str, int]] = {}

    def add(self, plugin: str, name: str, number: int = 1) -> None:
        """Raises ValueError: the name is none, or the plugin has too many counters."""
        of_plugin = self._numbers.setdefault(plugin, {})
        if name not in of_plugin and (not _NAME.fullmatch(name) or len(of_plugin) >= MOST):
            raise ValueError(f"a counter's name is a-z, 0-9 and _, 64 at most, and a plugin has {MOST}: not {name!r}")
        of_plugin[name] = of_plugin.get(name, 0) + number

    def of(self, plugin: str) -> dict[str, int]:
        """The counters of one plugin."""
        return dict(self._numbers.get(plugin, {}))

    def table(self) -> dict[tuple[str, str], int]:
        """All of them."""
        return {(plugin, name): number for plugin, each in self._numbers.items() for name, number in each.items()}
