"""Opening a SQLite store: whose file it is, of what version, and whole. Every refusal is one line."""

from __future__ import annotations

import os
import threading
from contextlib import closing
from pathlib import Path

import apsw
import pytest
import pytest_twisted

from relay.core.model import Depth, Kept, Put
from relay.core.ports import StoreUnavailable
from relay.store.migrating import scripts
from relay.store.sqlite import SqliteStore
from tests.store.support import (
    filled,
    record,
    refusal,
    reopened,
    rows,
    sqlite_store,
)


@pytest_twisted.ensureDeferred
async def test_its_files_are_for_their_owner_alone(store: SqliteStore, path: Path) -> None:
    await store.write(Put(record(1)))
    modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
    names = ("relay.db", "relay.db-shm", "relay.db-wal", "relay.db.lock", "relay.db.reserve")
    assert modes == dict.fromkeys(names, 0o600)


@pytest_twisted.ensureDeferred
async def test_a_second_relay_is_kept_off_the_file(store: SqliteStore, path: Path) -> None:
    line = await refusal(path)
    assert f"process {os.getpid()} holds {path}.lock" in line
    assert await store.write(Put(record(1))) == Kept()


@pytest_twisted.ensureDeferred
async def test_another_name_of_the_file_does_not_get_round_the_lock(store: SqliteStore, path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    assert "another relay uses this store" in await refusal(link)


@pytest_twisted.ensureDeferred
async def test_the_lock_of_a_relay_that_is_gone_keeps_nobody_off(path: Path) -> None:
    path.with_name("relay.db.lock").write_text("1\n")
    await filled(path, Put(record(1)))
    assert (await reopened(path))[1] == ["m1"]


@pytest_twisted.ensureDeferred
async def test_a_missing_directory_is_refused_by_name(tmp_path: Path) -> None:
    assert f"there is no directory {tmp_path}/nowhere" in await refusal(tmp_path / "nowhere" / "relay.db")


@pytest_twisted.ensureDeferred
async def test_a_place_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    assert "/proc/relay.db.lock cannot be used" in await refusal(Path("/proc/relay.db"))


@pytest_twisted.ensureDeferred
async def test_a_directory_is_no_database(path: Path) -> None:
    path.mkdir()
    assert "relay.db cannot be opened for writing" in await refusal(path)


@pytest_twisted.ensureDeferred
async def test_what_is_not_a_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"my holiday diary\n" * 1000)
    assert "relay.db is not a relay's database" in await refusal(path)
    assert path.read_bytes() == b"my holiday diary\n" * 1000


@pytest_twisted.ensureDeferred
async def test_the_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    rows(path, "CREATE TABLE diary (day, words)")
    assert "is the database of another program" in await refusal(path)
    assert rows(path, "SELECT name FROM sqlite_schema") == [("diary",)]


@pytest_twisted.ensureDeferred
async def test_a_database_of_a_newer_relay_is_refused_with_both_versions(path: Path) -> None:
    await filled(path, Put(record(1)))
    rows(path, "UPDATE store SET version = 77")
    told = f"has version 77, made by a newer relay: this one knows versions up to {len(scripts())}"
    assert told in await refusal(path)


@pytest.mark.parametrize(
    "sql",
    ["DELETE FROM store", "UPDATE store SET version = -1", "INSERT INTO store (version, last_place) VALUES (1, 1)"],
)
@pytest_twisted.ensureDeferred
async def test_a_database_that_does_not_say_its_version_is_refused(path: Path, sql: str) -> None:
    await filled(path, Put(record(1)))
    rows(path, sql)
    assert "does not say of which version it is" in await refusal(path)


@pytest_twisted.ensureDeferred
async def test_an_empty_file_becomes_a_database(path: Path) -> None:
    path.touch()
    await filled(path, Put(record(1)))
    assert (await reopened(path))[1] == ["m1"]


@pytest_twisted.ensureDeferred
async def test_a_database_that_another_program_has_locked_is_refused(path: Path) -> None:
    await filled(path, Put(record(1)))
    with closing(apsw.Connection(str(path))) as other:
        other.pragma("locking_mode", "EXCLUSIVE")
        other.execute("UPDATE store SET version = version")
        assert "is locked by another program" in await refusal(path, busy_seconds=0)


@pytest_twisted.ensureDeferred
async def test_a_file_is_looked_through_after_an_unclean_stop_only(path: Path) -> None:
    await filled(path, *(Put(record(place, payload=b"x" * 3000)) for place in range(1, 100)))
    # A page that opening does not read by itself.
    [(page,)] = rows(path, "SELECT min(pageno) FROM dbstat WHERE name = 'messages' AND pagetype = 'leaf'")
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"damaged!" * 512)
    assert (await reopened_depth(path)).count == 99
    path.with_name("relay.db-wal").touch()
    assert "relay.db is damaged" in await refusal(path)


async def reopened_depth(path: Path) -> Depth:
    store = sqlite_store(path)
    snapshot = await store.open()
    await store.close()
    return snapshot.depths["desk"]


@pytest_twisted.ensureDeferred
async def test_a_file_without_sense_is_refused_whatever_the_stop_was(path: Path) -> None:
    await filled(path, *(Put(record(place, payload=b"x" * 3000)) for place in range(1, 100)))
    content = bytearray(path.read_bytes())
    for page in range(4, len(content) // 4096):
        content[page * 4096 : page * 4096 + 8] = b"damaged!"
    path.write_bytes(content)
    assert "relay.db is damaged" in await refusal(path)


@pytest_twisted.ensureDeferred
async def test_a_clean_stop_leaves_no_log(store: SqliteStore, path: Path) -> None:
    await store.write(Put(record(1)))
    assert path.with_name("relay.db-wal").stat().st_size > 0
    await store.close()
    assert not path.with_name("relay.db-wal").exists()


@pytest_twisted.ensureDeferred
async def test_a_close_in_the_midst_of_opening_waits_for_it(path: Path) -> None:
    store = sqlite_store(path)
    opening, closing = store.open(), store.close()
    snapshot = await opening
    assert (snapshot.last_place, snapshot.depths, snapshot.seen) == (0, {}, {})
    await closing
    with pytest.raises(StoreUnavailable, match="cannot be opened again"):
        await store.open()
    assert (await reopened(path))[1] == []


@pytest_twisted.ensureDeferred
async def test_what_was_refused_leaves_no_thread_and_no_lock_behind(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)
    await refusal(path)
    path.unlink()
    await filled(path, Put(record(1)))
    while left := [each for each in threading.enumerate() if each.name.startswith("store-")]:
        left[0].join()
