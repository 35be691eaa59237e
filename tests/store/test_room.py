"""Room on the disk, and the lock and the reserve beside the database: small things, each by itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.core.ports import StoreRefused
from relay.store.checksum import SIZE, checksum
from relay.store.lock import FileLock
from relay.store.room import Reserve, Room


class Disk:
    """A disk with so much room, and a clock."""

    def __init__(self) -> None:
        self.free = 1000
        self.now = 100.0

    def room(self, reserve: Reserve, min_free: int = 100) -> Room:
        return Room(reserve, min_free=min_free, free_bytes=lambda: self.free, seconds=lambda: self.now)


def test_a_reserve_takes_its_room_for_its_owner_alone_and_gives_it_back(tmp_path: Path) -> None:
    path = tmp_path / "reserve"
    reserve = Reserve(str(path), 50_000)
    assert reserve.make() and reserve.make()
    assert path.stat().st_blocks * 512 >= 50_000
    assert path.stat().st_mode & 0o777 == 0o600
    reserve.free()
    reserve.free()
    assert not path.exists()


def test_a_reserve_that_is_a_hole_or_too_small_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "reserve"
    path.touch()
    os.truncate(path, 50_000)
    assert Reserve(str(path), 50_000).make()
    assert path.stat().st_blocks * 512 >= 50_000
    assert Reserve(str(path), 90_000).make()
    assert path.stat().st_size >= 90_000


def test_a_reserve_that_finds_no_room_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "reserve"
    assert not Reserve(str(path), 1 << 60).make()
    assert not path.exists()


def test_no_reserve_is_always_there() -> None:
    reserve = Reserve("/proc/nothing-can-be-made-here", 0)
    assert reserve.make()
    reserve.free()


def test_the_disk_is_asked_once_a_second_and_no_more(tmp_path: Path) -> None:
    disk = Disk()
    room = disk.room(Reserve(str(tmp_path / "reserve"), 0))
    assert room.refusal() is None
    disk.free = 99
    disk.now += 0.9
    assert room.refusal() is None
    disk.now += 0.1
    assert "only 99 bytes are free" in str(room.refusal())
    disk.free = 100
    assert room.refusal() is not None
    disk.now += 1
    assert room.refusal() is None


def test_once_the_disk_was_full_nothing_is_taken_before_the_next_look(tmp_path: Path) -> None:
    disk, path = Disk(), tmp_path / "reserve"
    room = disk.room(Reserve(str(path), 4096))
    assert room.refusal() is None and path.exists()
    room.ran_out()
    assert not path.exists()
    disk.now += 0.5
    assert "the disk is full" in str(room.refusal())
    disk.now += 0.5
    assert room.refusal() is None and path.exists()


def test_the_reserve_makes_way_for_the_opening_of_a_database_on_a_full_disk(tmp_path: Path) -> None:
    disk, path = Disk(), tmp_path / "reserve"
    room = disk.room(Reserve(str(path), 4096))
    room.refusal()
    disk.free = 10 * 1024 * 1024
    room.clear()
    assert path.exists()
    disk.free = 1000
    room.clear()
    assert not path.exists()


def test_a_lock_is_held_by_one_and_names_its_holder(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    first, second = FileLock(path), FileLock(path)
    first.acquire()
    with pytest.raises(StoreRefused, match=f"process {os.getpid()} holds {path}"):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_a_lock_whose_holder_left_no_word_is_refused_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = FileLock(str(path))
    first.acquire()
    os.truncate(path, 0)
    with pytest.raises(StoreRefused, match="a process that does not say which"):
        FileLock(str(path)).acquire()
    first.release()


def test_a_checksum_tells_fields_apart_whose_letters_are_the_same() -> None:
    fields = [b"id", b"agent", b"text/plain", b"text", b"payload"]
    whole = checksum(*fields)
    assert len(whole) == SIZE
    assert checksum(*fields) == whole
    for index in range(4):
        moved = list(fields)
        moved[index], moved[index + 1] = moved[index] + moved[index + 1][:1], moved[index + 1][1:]
        assert checksum(*moved) != whole
    for index in range(5):
        changed = list(fields)
        changed[index] = bytes([changed[index][0] ^ 1]) + changed[index][1:]
        assert checksum(*changed) != whole
