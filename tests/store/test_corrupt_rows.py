"""Rows that came back changed: never sent, and nobody else's are held up by them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest
import pytest_twisted

from relay.core.model import Depth, End, Put, Status
from tests.store.support import (
    EVERYTHING,
    NOW,
    filled,
    ids,
    record,
    rows,
    sqlite_store,
)


@pytest.mark.parametrize(
    "column, change",
    [
        ("payload", "x'00'"),
        ("payload", "substr(payload, 2)"),
        ("payload", "CAST(payload AS TEXT)"),
        ("content_type", "'text/html'"),
        ("content_type", "CAST(x'ff' AS TEXT)"),
        ("form", "'json'"),
        ("checksum", "zeroblob(8)"),
        ("id", "'M1'"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_changed_row_is_called_corrupt_and_the_others_are_read(path: Path, column: str, change: str) -> None:
    await filled(path, Put(record(1)), Put(record(2)), Put(record(3)))
    # A table that is not STRICT lets the test write what a flipped bit may leave.
    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("writable_schema", True)
        connection.execute("UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '') WHERE name = 'messages'")
    rows(path, f"UPDATE messages SET {column} = {change} WHERE place = 2")
    store = sqlite_store(path)
    await store.open()
    page = await store.page("desk", **EVERYTHING)
    await store.close()
    assert ids(page) == ["m1", "m3"]
    assert page.corrupt == (("M1",) if column == "id" else ("m2",))
    assert (page.last, page.more) == (3, False)


@pytest.mark.parametrize("text", [b"payload 2", b"text/plain", b"m2"])
@pytest.mark.parametrize("bit", [0, 5, 7])
@pytest_twisted.ensureDeferred
async def test_a_bit_that_flipped_on_the_disk_is_found(path: Path, text: bytes, bit: int) -> None:
    await filled(path, Put(record(1)), Put(record(2)), Put(record(3)))
    content = bytearray(path.read_bytes())
    row = content.rindex(b"m2desktext/plaintext")  # as the columns stand in the row
    content[content.index(text, row) + len(text) - 1] ^= 1 << bit
    path.write_bytes(content)
    store = sqlite_store(path)
    await store.open()
    page = await store.page("desk", **EVERYTHING)
    assert ids(page) == ["m1", "m3"]
    assert len(page.corrupt) == 1
    if text != b"m2":
        assert page.corrupt == ("m2",)
        assert (await store.load("desk", ["m2"])).corrupt == ("m2",)
        assert await store.write(End("desk", "m2", Status.DEAD, "corrupt", NOW)) == Depth(1, 9)
        assert (await store.page("desk", **EVERYTHING)).corrupt == ()
    await store.close()
