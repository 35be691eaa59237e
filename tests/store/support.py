"""What the tests of the store room share: records, and a SQLite store whose time is the test's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from relay.core.model import Form, Message, Page, Record, Trials
from relay.store.sqlite import SqliteStore

NOW = 1_800_000_000.0  #: Unix time in these tests
EVERYTHING: dict[str, Any] = {"after": 0, "before": 2**60, "now": NOW, "limit": 1000, "max_bytes": 1 << 30}


def record(place: int, agent: str = "desk", payload: bytes | None = None, *, id: str = "", **trials: Any) -> Record:
    """A record at this place; its id and payload tell the place unless they are given."""
    text = f"payload {place}".encode() if payload is None else payload
    message = Message(id or f"m{place}", agent, text, "text/plain", Form.TEXT, NOW - 1000 + place, NOW + 1000 + place)
    return Record(place, message, Trials(**trials))


def ids(page: Page) -> list[str]:
    """The ids of what may be sent."""
    return [each.message.id for each in page.records]


class Wall:
    """Unix time that stands where the test puts it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def sqlite_store(path: Path, *, clock: Clock | None = None, **options: Any) -> SqliteStore:
    """A store on real threads and a real file, with a clock that stands still and no lower bound of free space."""
    from twisted.internet import reactor

    threads: Any = reactor  # its type names no interface
    defaults: dict[str, Any] = {"wall": Wall(), "reserve_bytes": 65536, "min_free_bytes": 0}
    return SqliteStore(str(path), reactor=threads, clock=clock or Clock(), **(defaults | options))
