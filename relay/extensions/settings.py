"""The table of a plugin, read: each key once, and every error names the key and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

from relay.kinds import Kind

_NEEDED: Final = object()


class SettingsError(Exception):
    """A table ``[extensions.NAME]`` cannot be used. The relay does not start, and says so in one line.

    ``key`` is the key within the table ("" for the table as a whole), ``value`` what stood there (None where it must
    not be shown, or nothing did), ``allowed`` what is allowed, in words.
    """

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(f"{key}: {said(value)}; allowed: {allowed}")
        self.key = key
        self.value = value
        self.allowed = allowed


class NotUsable(Exception):
    """The configured plugins cannot be used. The text is one line."""


class Settings:
    """A plugin's table. ``take`` each key, and say ``done``: what is left then is a mistake of whoever wrote it.

    Kinds are those of ``relay.kinds``: ``seconds(0, 60)``, ``text(pattern, words)``, ``several(…)``, ``flag()`` …
    """

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._left = dict(table)
        self._known: list[str] = []

    def take(self, key: str, kind: Kind, default: Any = _NEEDED) -> Any:
        """The value of a key, checked; without a ``default`` it must be there. Raises SettingsError."""
        self._known.append(key)
        if key not in self._left:
            if default is _NEEDED:
                raise SettingsError(key, None, kind.allowed)
            return default
        value = self._left.pop(key)
        try:
            return kind.parse(value)
        except (ValueError, OverflowError):
            raise SettingsError(key, None if kind.secret else value, kind.allowed) from None

    def done(self) -> None:
        """Raises SettingsError if the table has other keys too."""
        for key, value in self._left.items():
            near = difflib.get_close_matches(key, self._known, n=1)
            known = ", ".join(self._known) or "none"
            raise SettingsError(key, value, f"did you mean {near[0]}?" if near else f"only the keys {known}")


def said(value: object) -> str:
    """A value in an error: one line, and not a long one."""
    if value is None:
        return "what stands there, or that nothing does, is not allowed"
    line = " ".join(repr(value).split())
    return (line if len(line) <= 100 else line[:99] + "…") + " is not allowed"
