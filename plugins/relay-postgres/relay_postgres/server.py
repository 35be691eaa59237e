"""Where the database is, and how long it is waited for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

SCHEMA: Final = "relay"
CONNECT_SECONDS: Final = 5
ANSWER_SECONDS: Final = 30

#: What a URL may set otherwise. A connection that is gone without a word is noticed within half a minute: the kernel
#: asks after an idle one, and does not wait for ever for what it sent.
DEFAULTS: Final[Mapping[str, Any]] = {
    "application_name": "relay",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "target_session_attrs": "read-write",  # of several hosts the one that takes writes
}


@dataclass(frozen=True)
class Server:
    """A database and the schema in it. ``parameters`` are those of libpq, as the URL has them.

    ``password_file``, where there is one, is read at each connection: a changed password needs no restart.
    ``connect_seconds`` is for each address; a server that answers nothing for ``answer_seconds`` is given up.
    """

    parameters: Mapping[str, Any] = field(repr=False)
    schema: str = SCHEMA
    password_file: str = ""
    connect_seconds: int = CONNECT_SECONDS
    answer_seconds: int = ANSWER_SECONDS

    def connection_parameters(self) -> dict[str, Any]:
        """What libpq is given. Raises OSError or UnicodeDecodeError where the password cannot be read."""
        found = {**DEFAULTS, "connect_timeout": self.connect_seconds, **self.parameters, "client_encoding": "UTF8"}
        if self.password_file:
            found["password"] = Path(self.password_file).read_text("utf-8").strip("\r\n")
        return found

    def __str__(self) -> str:
        """For people: no password, whatever the URL has."""
        host = self.parameters.get("host") or self.parameters.get("hostaddr") or "the local socket"
        port = f":{self.parameters['port']}" if self.parameters.get("port") else ""
        name = self.parameters.get("dbname") or self.parameters.get("user") or "the default database"
        return f"PostgreSQL {host}{port}/{name} (schema {self.schema})"

    def told(self, error: BaseException) -> str:
        """An error in one line, without the password."""
        text = " ".join(str(error).split())[:500] or type(error).__name__
        secret = self.parameters.get("password")
        return text.replace(str(secret), "***") if secret else text
