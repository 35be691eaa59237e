"""What is asked of the queue: short reads on a connection of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final

import apsw

from relay.core.model import Callback, Depth, Letter, Page, Past, Snapshot, Standing
from relay.store import finding
from relay.store.paging import PageMaker
from relay.store.retention import SEEN_COUNT, SEEN_SECONDS
from relay.store.rows import BACK, FRONT, GET_COLUMNS, NOT_BEFORE, id_of, record_of, text

LAST: Final = 2**63 - 1  #: SQLite's largest integer

# The payload of a message whose time has not come is not read at all.
PAGE: Final = (
    f"SELECT not_before > ?1, {FRONT}, {', '.join(f'iif(not_before > ?1, NULL, {each})' for each in BACK)}"
    " FROM messages WHERE status = 'queued' AND agent = ?2 AND place > ?3 AND place < ?4 ORDER BY place LIMIT ?5"
)
LOAD: Final = (
    f"SELECT {GET_COLUMNS} FROM messages"
    " WHERE id IN (SELECT value FROM json_each(?)) AND agent = ? AND status = 'queued' ORDER BY place"
)
OLDEST: Final = (
    "SELECT value, (SELECT created_at FROM messages"
    "  WHERE status = 'queued' AND agent = value ORDER BY place LIMIT 1) FROM json_each(?)"
)
DEPTHS: Final = "SELECT CAST(agent AS BLOB), count(*), sum(size) FROM messages WHERE status = 'queued' GROUP BY agent"
SEEN: Final = "SELECT CAST(agent AS BLOB), last_seen FROM agents WHERE last_seen >= ? ORDER BY last_seen DESC LIMIT ?"
STORE: Final = "SELECT max(last_place, ifnull((SELECT max(place) FROM messages), 0)), secret FROM store"
OVERDUE: Final = (
    "SELECT CAST(agent AS BLOB), CAST(id AS BLOB), size FROM messages"
    " WHERE status = 'queued' AND expires_at <= ? ORDER BY expires_at LIMIT ?"
)
CALLBACKS: Final = (
    "SELECT id, url, body, tries, due_at, number FROM callbacks WHERE due_at <= ? ORDER BY due_at LIMIT ?"
)


class Reader:
    """Reads of one connection, made in one thread. Each is over when it returns: no snapshot holds up the log."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def snapshot(self, now: float) -> Snapshot:
        """What is here at Unix time ``now``."""
        execute = self._connection.execute
        depths = {text(agent): Depth(count, size) for agent, count, size in execute(DEPTHS)}
        seen = {text(agent): at for agent, at in execute(SEEN, (now - SEEN_SECONDS, SEEN_COUNT))}
        last_place, secret = execute(STORE).get
        return Snapshot(last_place, depths, seen, secret)

    def page(self, agent: str, after: int, before: int, now: float, limit: int, max_bytes: int) -> Page:
        """As ``MessageStore.page``."""
        maker = PageMaker(after, limit, max_bytes)
        bindings = (now, agent, after, min(before, LAST), limit + 1)
        with closing(self._connection.execute(PAGE, bindings)) as found:
            for each in found:
                early, row = each[0], each[1:]
                payload = row[-1]
                if not maker.fits(len(payload) if isinstance(payload, bytes) else 0):
                    return maker.page(more=True)
                if early:
                    maker.delay(row[0], id_of(row), row[NOT_BEFORE])
                elif record := record_of(agent, row):
                    maker.add(record)
                else:
                    maker.spoil(row[0], id_of(row))
        return maker.page(more=False)

    def load(self, agent: str, ids: Sequence[str]) -> Page:
        """As ``MessageStore.load``."""
        rows: list[Any] = self._connection.execute(LOAD, (json.dumps(list(ids)), agent)).fetchall()
        found = [(row, record_of(agent, row)) for row in rows]
        whole = tuple(record for _, record in found if record is not None)
        corrupt = tuple(id_of(row) for row, record in found if record is None)
        return Page(whole, (), corrupt, rows[-1][0] if rows else 0, more=False)

    def oldest(self, agents: Sequence[str]) -> dict[str, float]:
        """As ``MessageStore.oldest``."""
        found: list[Any] = self._connection.execute(OLDEST, (json.dumps(list(agents)),)).fetchall()
        return {agent: created_at for agent, created_at in found if created_at is not None}

    def find(self, id: str) -> Standing | Past | None:
        """As ``MessageStore.find``."""
        return finding.find(self._connection, [id]).get(id)

    def letters(self, after: str, limit: int) -> list[Letter]:
        """As ``MessageStore.letters``."""
        return finding.letters(self._connection, after, limit)

    def letter(self, id: str) -> Letter | None:
        """As ``MessageStore.letter``."""
        return finding.find_letter(self._connection, id)

    def overdue(self, now: float, limit: int) -> list[tuple[str, str, int]]:
        """As ``MessageStore.overdue``."""
        found: list[Any] = self._connection.execute(OVERDUE, (now, limit)).fetchall()
        return [(text(agent), text(id), size) for agent, id, size in found]

    def callbacks(self, now: float, limit: int) -> list[Callback]:
        """As ``MessageStore.callbacks``."""
        found: list[Any] = self._connection.execute(CALLBACKS, (now, limit)).fetchall()
        return [Callback(*row) for row in found]
