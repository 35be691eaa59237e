"""Tells the relay of the store on PostgreSQL. The code is imported only where ``store`` names one."""

from __future__ import annotations

from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from relay.extensions import IMessageStorePlugin
from relay_postgres import __version__


@implementer(IPlugin, IMessageStorePlugin)
class Postgres:
    """A store: ``store = "postgresql://…"``, and perhaps ``[extensions.postgres]``."""

    name = "postgres"
    version = __version__
    description = "keeps messages in a PostgreSQL database"
    schemes = ("postgresql", "postgres")

    def read(self, settings: dict[str, Any]) -> Any:
        from relay_postgres.settings import read

        return read(settings)

    def store(self, url: str, settings: Any, relay: Any) -> Any:
        from relay_postgres.settings import make_store

        return make_store(url, settings, relay)


postgres = Postgres()
