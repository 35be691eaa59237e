"""An upgrade from a database of the first version, made by the first script itself, with a queue in it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
import pytest_twisted
from msgspec.structs import replace

from relay.core.model import Callback, Depth, End, Form, Message, Page, Put, Record, Status, Trials
from relay.core.ports import CallbacksFull, StoreRefused
from relay.store import migrating
from relay.store.checksum import checksum
from relay.store.retention import DEFAULTS
from relay.store.sqlite import SqliteStore
from tests.store.support import NOW, ids, record, sqlite_store

QUEUED = 2000
LATEST = len(migrating.scripts())
ENDS = [
    (Status.REJECTED, "no"),
    (Status.EXPIRED, "expired"),
    (Status.DEAD, "attempts"),
    (Status.CANCELLED, "operator"),
]
INSERT = (
    "INSERT INTO messages (place, id, agent, content_type, form, created_at, expires_at, attempts, failures, nacks,"
    " first_failure_at, not_before, status, reason, ended_at, size, checksum, payload)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def old_record(place: int) -> Record:
    """Rows with trials, delays, payloads of all sizes."""
    payload = bytes([place % 256]) * (place % 50 if place % 100 else 20_000)
    trials = Trials(place % 4, place % 3, place % 2, NOW - place % 7, NOW + 60 if place % 5 == 0 else 0.0)
    message = Message(f"m{place}", f"agent-{place % 10}", payload, "x/y", Form.BINARY, NOW - place, NOW + 9000 + place)
    return Record(place, message, trials)


def old_row(old: Record, status: str = "queued", reason: str = "", ended_at: float | None = None) -> tuple[Any, ...]:
    """A row as the first version wrote it."""
    message, trials = old.message, old.trials
    parts = (message.id.encode(), message.agent.encode(), message.content_type.encode(), message.form.value.encode())
    numbers = (trials.attempts, trials.failures, trials.nacks, trials.first_failure_at, trials.not_before)
    texts = (old.place, message.id, message.agent, message.content_type, message.form.value)
    digest = checksum(*parts, message.payload)
    times = (message.created_at, message.expires_at)
    return (*texts, *times, *numbers, status, reason, ended_at, len(message.payload), digest, message.payload)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of version 1."""
    path = tmp_path / "relay.db"
    rows = [old_row(old_record(place)) for place in range(1, QUEUED + 1)]
    for place, (status, reason) in enumerate(ENDS, start=QUEUED + 1):
        rows.append(old_row(old_record(place), status.value, reason, NOW - 10 * 86400 + place))
    with closing(apsw.Connection(str(path))) as connection, connection:
        connection.execute(migrating.scripts()[0])
        connection.executemany(INSERT, rows)
        connection.execute("INSERT INTO agents VALUES ('agent-1', ?)", (NOW,))
        connection.execute("UPDATE store SET last_place = 7")
    return path


async def everything(store: SqliteStore, agent: str) -> Page:
    return await store.page(agent, after=0, before=2**60, now=NOW + 10_000, limit=10_000, max_bytes=1 << 30)


def version_of(path: Path) -> int:
    with closing(apsw.Connection(str(path))) as connection:
        version: int = connection.execute("SELECT version FROM store").get
        return version


def contents(path: Path) -> list[Any]:
    with closing(apsw.Connection(str(path))) as connection:
        return connection.execute("SELECT * FROM messages ORDER BY place").fetchall()


@pytest_twisted.ensureDeferred
async def test_a_database_of_version_1_with_a_queue_in_it_upgrades_with_nothing_lost(path: Path) -> None:
    store = sqlite_store(path)
    snapshot = await store.open()
    old = [old_record(place) for place in range(1, QUEUED + 1)]
    for agent in {each.message.agent for each in old}:
        mine = [each for each in old if each.message.agent == agent]
        assert await everything(store, agent) == Page(tuple(mine), (), (), mine[-1].place, more=False)
        assert snapshot.depths[agent] == Depth(len(mine), sum(len(each.message.payload) for each in mine))
    assert (snapshot.last_place, snapshot.seen, len(snapshot.secret)) == (QUEUED + 4, {"agent-1": NOW}, 32)
    await store.close()


@pytest_twisted.ensureDeferred
async def test_what_had_ended_badly_in_version_1_is_a_dead_letter_and_can_go_back(path: Path) -> None:
    store = sqlite_store(path)
    await store.open()
    letters = await store.letters("", 10)
    assert [(each.past.id, each.past.status, each.past.reason) for each in letters] == [
        (f"m{place}", status, reason) for place, (status, reason) in enumerate(ENDS[:3], start=QUEUED + 1)
    ]
    assert [each.record for each in letters] == [old_record(place) for place in range(QUEUED + 1, QUEUED + 4)]
    cancelled = await store.find(f"m{QUEUED + 4}")
    assert cancelled is not None and not hasattr(cancelled, "record") and cancelled.status is Status.CANCELLED
    await store.close()


@pytest_twisted.ensureDeferred
async def test_an_upgraded_database_goes_on_as_any_other(path: Path) -> None:
    store = sqlite_store(path)
    await store.open()
    first = old_record(10)
    assert await store.write(End(first.message.agent, "m10", Status.DELIVERED, at=NOW)) == Depth(1, 10)
    await store.write(Put(record(QUEUED + 9)))
    await store.close()
    again = sqlite_store(path)
    snapshot = await again.open()
    assert snapshot.last_place == QUEUED + 9
    assert "m10" not in ids(await everything(again, first.message.agent))
    assert await again.find("m10") is not None
    await again.close()


@pytest_twisted.ensureDeferred
async def test_before_an_upgrade_the_database_is_copied_for_its_owner_alone(path: Path) -> None:
    before = contents(path)
    store = sqlite_store(path)
    await store.open()
    await store.close()
    backup = path.with_name("relay.db.v1-backup")
    assert backup.stat().st_mode & 0o777 == 0o600
    assert (version_of(backup), contents(backup)) == (1, before)
    with closing(apsw.Connection(str(backup))) as connection:
        assert connection.pragma("application_id") == 0x524C4159
    assert sorted(each.name for each in path.parent.iterdir() if "backup" in each.name) == ["relay.db.v1-backup"]


@pytest_twisted.ensureDeferred
async def test_a_new_database_needs_no_copy(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path / "relay.db")
    await store.open()
    await store.close()
    assert not list(tmp_path.glob("*backup*"))
    assert version_of(tmp_path / "relay.db") == LATEST


@pytest_twisted.ensureDeferred
async def test_without_room_for_the_copy_the_upgrade_is_refused_and_nothing_is_changed(path: Path) -> None:
    before = contents(path)
    store = sqlite_store(path, free_bytes=lambda: path.stat().st_size)
    with pytest.raises(StoreRefused, match=r"copied to .*relay.db.v1-backup .* needs \d+ bytes .* and \d+ are free"):
        await store.open()
    assert (version_of(path), contents(path)) == (1, before)
    assert not list(path.parent.glob("*backup*"))


class CutOff(Exception):
    pass


@pytest.mark.parametrize("statement", range(0, 30, 3))
@pytest_twisted.ensureDeferred
async def test_an_upgrade_that_is_cut_off_leaves_version_1_as_it_was(path: Path, statement: int) -> None:
    """The upgrade is broken off at its n-th statement; what the log holds is copied as a power cut would leave it."""
    before = contents(path)
    seen: list[int] = []

    def tracer(cursor: object, sql: str, bindings: object) -> bool:
        if len(seen) == statement:
            raise CutOff
        seen.append(1)
        return True

    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("journal_mode", "WAL")
        version = migrating.version_of(connection, str(path))
        connection.exec_trace = tracer
        with pytest.raises(CutOff):
            migrating.migrate(connection, str(path), lambda: 1 << 40)
        connection.exec_trace = None
        assert version == 1
    assert (version_of(path), contents(path)) == (1, before)
    store = sqlite_store(path)
    assert (await store.open()).last_place == QUEUED + 4
    await store.close()
    assert version_of(path) == LATEST


@pytest_twisted.ensureDeferred
async def test_a_copy_that_an_earlier_attempt_left_is_made_anew(path: Path) -> None:
    backup = path.with_name("relay.db.v1-backup")
    backup.write_bytes(b"half of it")
    path.with_name("relay.db.v1-backup.part").write_bytes(b"some")
    store = sqlite_store(path)
    await store.open()
    await store.close()
    assert len(contents(backup)) == QUEUED + 4
    assert not path.with_name("relay.db.v1-backup.part").exists()


@pytest_twisted.ensureDeferred
async def test_a_database_of_a_newer_relay_is_refused_with_both_versions_and_not_copied(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("UPDATE store SET version = ?", (LATEST + 1,))
    store = sqlite_store(path)
    told = f"has version {LATEST + 1}, made by a newer relay: this one knows versions up to {LATEST}"
    with pytest.raises(StoreRefused, match=told):
        await store.open()
    assert not list(path.parent.glob("*backup*"))


@pytest.mark.parametrize("damage", ["payload = x'00'", "headers = '[]'", "topic = 't'"])
@pytest_twisted.ensureDeferred
async def test_a_row_of_version_1_that_is_changed_is_called_corrupt(path: Path, damage: str) -> None:
    store = sqlite_store(path)
    await store.open()
    await store.close()
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute(f"UPDATE messages SET {damage} WHERE place = 11")
    store = sqlite_store(path)
    await store.open()
    assert (await everything(store, "agent-1")).corrupt == ("m11",)
    await store.close()


@pytest_twisted.ensureDeferred
async def test_callbacks_of_version_2_are_counted_owed_and_promised_alike(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    columns = "place, id, agent, content_type, form, created_at, expires_at, attempts, failures, nacks"
    columns += ", first_failure_at, not_before, size, checksum, payload, callback, status, ended_at"
    values = "?, ?, 'a', '', 'json', 0, 9e9, 0, 0, 0, 0, 0, 1, x'', x'31', ?, ?, ?"
    row = f"INSERT INTO messages ({columns}) VALUES ({values})"
    with closing(apsw.Connection(str(path))) as connection, connection:
        for script in migrating.scripts()[:2]:
            connection.execute(script).fetchall()
        connection.execute("UPDATE store SET version = 2")
        connection.execute(row, (1, "m1", "https://x/", "queued", None))
        connection.execute(row, (2, "m2", None, "queued", None))
        connection.execute(row, (3, "m3", "https://x/", "dead", NOW))
        connection.execute("INSERT INTO callbacks VALUES ('m3', 'https://x/', 4, ?, CAST('{}' AS BLOB))", (NOW,))
    store = sqlite_store(path, bounds=replace(DEFAULTS, callbacks=3))
    await store.open()
    assert await store.callbacks(NOW, 9) == [Callback("m3", "https://x/", b"{}", 4, NOW, number=1)]
    fourth, fifth = (replace(new, message=replace(new.message, callback="https://x/")) for new in map(record, (4, 5)))
    await store.write(Put(fourth))
    with pytest.raises(CallbacksFull):
        await store.write(Put(fifth))
    await store.close()
