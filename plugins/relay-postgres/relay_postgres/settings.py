"""The table ``[extensions.postgres]`` and the URL of the store, checked, and the store made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from relay.extensions import Settings, SettingsError
from relay.kinds import count, text
from relay.store.retention import bounds_of
from relay_postgres.server import ANSWER_SECONDS, CONNECT_SECONDS, SCHEMA, Server
from relay_postgres.store import PostgresStore

A_SCHEMA: Final = text(
    r"(?!pg_)[a-z_][a-z0-9_]{0,50}", "lower case letters, digits and '_', no digit and no 'pg_' in front, at most 51"
)
A_FILE: Final = text(r"/[^\0-\x1f]+", "the path of a file, from '/'")
A_URL: Final = (
    "for `store` postgresql://USER@HOST:PORT/DATABASE, with '%' before what has a meaning of its own in a URL"
)


@dataclass(frozen=True, slots=True)
class Read:
    """The table as it was read."""

    schema: str = SCHEMA
    password_file: str = ""
    connect_seconds: int = CONNECT_SECONDS
    answer_seconds: int = ANSWER_SECONDS


def read(table: dict[str, Any]) -> Read:
    """Check the table. Raises SettingsError."""
    settings = Settings(table)
    found = Read(
        schema=settings.take("schema", A_SCHEMA, SCHEMA),
        password_file=settings.take("password_file", A_FILE, ""),
        connect_seconds=settings.take("connect_seconds", count(2, 60), CONNECT_SECONDS),
        answer_seconds=settings.take("answer_seconds", count(5, 600), ANSWER_SECONDS),
    )
    settings.done()
    return found


def make_store(url: str, settings: Read, relay: Any) -> PostgresStore:
    """The store that the URL names; nothing is touched yet. Raises SettingsError."""
    try:
        parameters = conninfo_to_dict(url)
    except psycopg.Error:
        # What libpq says of it may have the password in it, and so has the URL.
        raise SettingsError("", None, A_URL) from None
    if settings.password_file and parameters.get("password"):
        raise SettingsError("password_file", settings.password_file, "a password there or in the URL, not in both")
    server = Server(
        parameters,
        schema=settings.schema,
        password_file=settings.password_file,
        connect_seconds=settings.connect_seconds,
        answer_seconds=settings.answer_seconds,
    )
    return PostgresStore(
        server,
        reactor=relay.reactor,
        clock=relay.reactor,
        wall=relay.wall,
        bounds=bounds_of(relay.limits),
    )
