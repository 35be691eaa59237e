"""The audit log: one structured line for each thing that somebody may have to answer for."""

from __future__ import annotations

import re
from typing import Any, Final

from twisted.logger import Logger

#: Its own namespace, so that an observer can put it apart.
NAMESPACE = "relay.audit"


#: What stands in a line without quotes: no blank, no quote, no equals sign.
_PLAIN: Final = re.compile(r"[A-Za-z0-9._~:@*/+\[\]-]+")


def _is_plain(value: Any) -> bool:
    return not isinstance(value, str) or _PLAIN.fullmatch(value) is not None


class AuditLog:
    """Implements ``relay.core.ports.Audit`` over Twisted's log. A field has at most ``longest`` characters."""

    log = Logger(namespace=NAMESPACE)

    def __init__(self, longest: int) -> None:
        self._longest = longest

    def note(self, event: str, **fields: Any) -> None:
        told = {name: self._bounded(value) for name, value in fields.items() if value is not None}
        # By their names too: who formats the line as JSON finds them as members. In quotes where a stranger's words
        # could be taken for a member that follows.
        words = " ".join(f"{name}={{{name}{'' if _is_plain(value) else '!r'}}}" for name, value in told.items())
        self.log.info(f"{{event}} {words}".rstrip(), event=event, **told)

    def _bounded(self, value: Any) -> Any:
        """One line, and not a long one: strangers wrote some of it."""
        if not isinstance(value, str):
            return value
        line = "".join(each if each.isprintable() else "?" for each in value[: self._longest + 1])
        return line if len(line) <= self._longest else line[: self._longest - 1] + "…"
