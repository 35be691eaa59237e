"""Tells the relay of the plugin ``redact``. The code is imported only where it is configured."""

from __future__ import annotations

from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from relay.extensions import IMessageFilterPlugin
from relay_redact import __version__


@implementer(IPlugin, IMessageFilterPlugin)
class Redact:
    """A filter: ``[extensions.redact]``."""

    name = "redact"
    version = __version__
    description = "replaces card numbers, addresses, tokens and patterns of your own in messages, or refuses them"

    def read(self, settings: dict[str, Any]) -> Any:
        from relay_redact.settings import read

        return read(settings)

    def filter(self, settings: Any, relay: Any) -> Any:
        from relay_redact.redactor import make_filter

        return make_filter(settings, relay)


redact = Redact()
