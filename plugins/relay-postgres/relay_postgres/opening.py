"""Opening a database: may we use it, is nobody else there, do we know its version? Every refusal is one line."""

from __future__ import annotations

import secrets
from importlib import resources
from typing import Final

from psycopg import errors, sql
from twisted.logger import Logger

from relay.core.ports import StoreRefused, StoreUnavailable
from relay_postgres.link import Connection
from relay_postgres.server import Server

OLDEST: Final = 140000  #: the oldest server that has what is used here
LOCK_CLASS: Final = 0x524C4159  #: "RLAY"

LOCK: Final = "SELECT pg_advisory_lock(%s, hashtext(%s))"
HOLDER: Final = (
    "SELECT concat(coalesce(host(client_addr), 'its own host'), ', session ', pid, ', since ',"
    " backend_start::timestamp(0))"
    " FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted"
    " AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND classid::bigint = %s AND objid::bigint = hashtext(%s)::bigint & 4294967295 AND objsubid = 2"
)
SERVER: Final = (
    "SELECT current_setting('server_encoding') = 'UTF8', current_setting('fsync') = 'on',"
    " current_setting('transaction_read_only') = 'on', pg_backend_pid()"
)
THERE: Final = (
    "SELECT to_regnamespace(%(schema)s) IS NOT NULL, to_regclass('store') IS NOT NULL,"
    " EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = to_regnamespace(%(schema)s)::oid)"
)
VERSION: Final = "SELECT version FROM store"
ENTER: Final = "UPDATE store SET opened = opened + 1 RETURNING opened"
OPENED: Final = "SELECT opened FROM store"

log = Logger()


class Locked(StoreUnavailable):
    """Another relay uses this store, or our own last session is not gone yet."""


def lock(connection: Connection, server: Server) -> None:
    """Keep every other relay off this schema for as long as the connection lives. Raises Locked, naming who has it."""
    asked = (LOCK_CLASS, server.schema)
    try:
        connection.execute(LOCK, asked)
    except errors.LockNotAvailable:
        found = connection.execute(HOLDER, asked).fetchall()
        whose = found[0][0].decode(errors="replace") if found else "a session that has just ended"
        raise Locked(f"another relay uses this store: {server} is held by {whose}") from None


def check(connection: Connection, server: Server) -> None:
    """Refuse a server on which what is answered would not be durable, or could not be kept as it is."""
    if connection.info.server_version < OLDEST:
        raise StoreRefused(f"{server}: PostgreSQL 14 or later is needed, this is {connection.info.server_version}")
    [(utf8, fsync, read_only, session)] = connection.execute(SERVER).fetchall()
    if session != connection.info.backend_pid:
        raise StoreRefused(f"{server} is reached through a pooler, which may share the session: connect to it directly")
    if not utf8:
        raise StoreRefused(f"{server}: the encoding of the database must be UTF8")
    if not fsync:
        raise StoreRefused(f"{server}: fsync is off there, so that nothing would be durable: turn it on")
    if read_only:
        raise StoreRefused(f"{server} takes no writes: it is a standby, or read-only")


def migrate(connection: Connection, server: Server) -> None:
    """Make the schema, or bring it up to date. Called in a transaction. Raises StoreRefused or psycopg.Error."""
    known = scripts()
    version = version_of(connection, server)
    if version > len(known):
        raise StoreRefused(
            f"{server} has version {version}, made by a newer relay-postgres: this one knows up to {len(known)}"
        )
    for script in known[version:]:
        connection.execute(script)
    if version == 0:
        connection.execute("INSERT INTO store (version, secret) VALUES (%s, %s)", (len(known), secrets.token_bytes(32)))
    elif version < len(known):
        connection.execute("UPDATE store SET version = %s", (len(known),))
        log.info("{server} is brought from version {old} to {new}", server=str(server), old=version, new=len(known))


def version_of(connection: Connection, server: Server) -> int:
    """The number of the last script that was run here; 0 where there is nothing."""
    [(schema, store, anything)] = connection.execute(THERE, {"schema": f'"{server.schema}"'}).fetchall()
    if not schema:  # who may not make one can have it made
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(server.schema)))
    if not store:
        if anything:
            raise StoreRefused(f"{server} belongs to another program: name another schema")
        return 0
    try:
        versions = connection.execute(VERSION).fetchall()
    except errors.UndefinedColumn:
        raise StoreRefused(f"{server} belongs to another program: name another schema") from None
    if len(versions) != 1 or versions[0][0] < 1:
        raise StoreRefused(f"{server} is damaged: it does not say of which version it is")
    version: int = versions[0][0]
    return version


def scripts() -> list[str]:
    """The schema's scripts: 001.sql, 002.sql and so on, without a gap."""
    folder = resources.files("relay_postgres") / "schema"
    found = sorted((each for each in folder.iterdir() if each.name.endswith(".sql")), key=lambda each: each.name)
    return [each.read_text("utf-8") for each in found]


def enter(connection: Connection) -> int:
    """Count this opening. Returns its number."""
    [(number,)] = connection.execute(ENTER).fetchall()
    return int(number)


def opened(connection: Connection) -> int:
    """The number of the last opening."""
    [(number,)] = connection.execute(OPENED).fetchall()
    return int(number)
