"""What is asked of the queue: single statements, each of which sees everything that was answered before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import psycopg

from relay.core.model import Callback, Depth, Letter, Page, Past, Snapshot, Standing
from relay.store.paging import PageMaker
from relay.store.retention import SEEN_COUNT, SEEN_SECONDS
from relay.store.rows import NOT_BEFORE, id_of, record_of, text
from relay_postgres import finding
from relay_postgres.finding import GET_COLUMNS
from relay_postgres.link import Connection, Link

T = TypeVar("T")

LAST: Final = 2**63 - 1  #: the largest bigint

# Payloads are added up on the server: those that do not fit, and those whose time has not come, stay there. A row that
# is told not to be whole takes no room on a page, but does here: where the two differ, the next page has it.
PAGE: Final = (
    f"SELECT early, size, total > %(bytes)s AND total > size, {GET_COLUMNS.removesuffix('payload')}"
    " CASE WHEN early OR (total > %(bytes)s AND total > size) THEN NULL ELSE payload END FROM"
    " (SELECT *, not_before > %(now)s::float8 AS early,"
    "   sum(CASE WHEN not_before > %(now)s::float8 THEN 0 ELSE size END)"
    "    OVER (ORDER BY place ROWS UNBOUNDED PRECEDING) AS total FROM messages"
    "  WHERE status = 'queued' AND agent = %(agent)s AND place > %(after)s AND place < %(before)s"
    "  ORDER BY place LIMIT %(limit)s) AS near ORDER BY place"
)
LOAD: Final = (
    f"SELECT {GET_COLUMNS} FROM messages WHERE id = ANY(%s::text[]) AND agent = %s AND status = 'queued' ORDER BY place"
)
OLDEST: Final = (
    "SELECT asked.agent, (SELECT created_at FROM messages"
    "  WHERE status = 'queued' AND agent = asked.agent ORDER BY place LIMIT 1) FROM unnest(%s::text[]) AS asked(agent)"
)
DEPTHS: Final = "SELECT agent, count(*), sum(size)::bigint FROM messages WHERE status = 'queued' GROUP BY agent"
SEEN: Final = "SELECT agent, last_seen FROM agents WHERE last_seen >= %s::float8 ORDER BY last_seen DESC LIMIT %s"
STORE: Final = "SELECT last_place, secret FROM store"
OVERDUE: Final = (
    "SELECT agent, id, size FROM messages WHERE status = 'queued' AND expires_at <= %s::float8"
    " ORDER BY expires_at LIMIT %s"
)
CALLBACKS: Final = (
    "SELECT id, url, body, tries, due_at, number FROM callbacks WHERE due_at <= %s::float8 ORDER BY due_at LIMIT %s"
)


def snapshot(connection: Connection, now: float) -> Snapshot:
    """What is here at Unix time ``now``."""
    depths = {text(agent): Depth(count, size) for agent, count, size in connection.execute(DEPTHS)}
    seen = {text(agent): at for agent, at in connection.execute(SEEN, (now - SEEN_SECONDS, SEEN_COUNT))}
    [(last_place, secret)] = connection.execute(STORE).fetchall()
    return Snapshot(last_place, depths, seen, secret)


class Reader:
    """Reads of one connection, made in one thread."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def read(self, call: Callable[[Connection], T]) -> T:
        """Call this with the connection; once more with a new one, if it turns out to have been lost."""
        try:
            with self._link.use() as connection:
                return call(connection)
        except psycopg.OperationalError:
            if not connection.closed:
                raise
        with self._link.use() as connection:
            return call(connection)


def page(connection: Connection, agent: str, after: int, before: int, now: float, limit: int, max_bytes: int) -> Page:
    """As ``MessageStore.page``."""
    maker = PageMaker(after, limit, max_bytes)
    asked = {"agent": agent, "after": after, "before": min(before, LAST), "now": now, "limit": limit + 1}
    for early, size, left_out, *row in connection.execute(PAGE, asked | {"bytes": max_bytes}, binary=True):
        if not maker.fits(0 if early else size) or (left_out and not early):
            return maker.page(more=True)
        if early:
            maker.delay(row[0], id_of(row), row[NOT_BEFORE])
        elif record := record_of(agent, row):
            maker.add(record)
        else:
            maker.spoil(row[0], id_of(row))
    return maker.page(more=False)


def load(connection: Connection, agent: str, ids: Sequence[str]) -> Page:
    """As ``MessageStore.load``."""
    rows = connection.execute(LOAD, (list(ids), agent), binary=True).fetchall()
    found = [(row, record_of(agent, row)) for row in rows]
    whole = tuple(record for _, record in found if record is not None)
    corrupt = tuple(id_of(row) for row, record in found if record is None)
    return Page(whole, (), corrupt, rows[-1][0] if rows else 0, more=False)


def oldest(connection: Connection, agents: Sequence[str]) -> dict[str, float]:
    """As ``MessageStore.oldest``."""
    found = connection.execute(OLDEST, (list(agents),)).fetchall()
    return {text(agent): created_at for agent, created_at in found if created_at is not None}


def find(connection: Connection, id: str) -> Standing | Past | None:
    """As ``MessageStore.find``."""
    return finding.find(connection, [id]).get(id)


def letters(connection: Connection, after: str, limit: int) -> list[Letter]:
    """As ``MessageStore.letters``."""
    return finding.letters(connection, after, limit)


def letter(connection: Connection, id: str) -> Letter | None:
    """As ``MessageStore.letter``."""
    return finding.find_letter(connection, id)


def overdue(connection: Connection, now: float, limit: int) -> list[tuple[str, str, int]]:
    """As ``MessageStore.overdue``."""
    return [(text(agent), text(id), size) for agent, id, size in connection.execute(OVERDUE, (now, limit))]


def callbacks(connection: Connection, now: float, limit: int) -> list[Callback]:
    """As ``MessageStore.callbacks``."""
    rows = connection.execute(CALLBACKS, (now, limit), binary=True)
    return [Callback(text(id), text(url), body, tries, due_at, number) for id, url, body, tries, due_at, number in rows]
