"""Durability shown, not assumed: after a power cut at any moment everything that was answered is there.

The real store runs over ``recording_vfs``. Every answer is marked in the journal at the moment it came. Then the power
fails at random moments: an image of the disk is made, the real store opens it, and what it holds must be what the
writes gave, in the order of the calls, up to one that is not before the last one answered. Not one message less, and
none changed.

A run goes on from one of the images of the run before: so recovery itself is cut off too. The same look with
``synchronous=NORMAL``, where a commit is not synced, must find losses; otherwise it would show nothing.

``RELAY_CRASH_IMAGES`` sets how many images are looked at (2000).
"""

from __future__ import annotations

import itertools
import math
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import pytest
import pytest_twisted
from msgspec.structs import replace
from twisted.internet.defer import gatherResults
from twisted.internet.task import Clock

from relay.core.model import End, Form, Message, Put, Record, Revise, Seen, Status, Trials, Write
from tests.faults.recording_vfs import Disk, Event, Mark, RecordingVFS, lay_out
from tests.store.support import EVERYTHING, NOW, sqlite_store

IMAGES = int(os.environ.get("RELAY_CRASH_IMAGES", "2000"))
IMAGES_A_RUN = 100
IMAGES_A_TEST = 500  #: a test that takes minutes is taken for one that hangs
ROUNDS = 30  #: of a run: so often some writes are made at once
AGENTS = ("a", "b", "c")
FILE = "relay.db"
FILES = (FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal", f"{FILE}.lock")

Image = dict[str, bytes]
names = (f"recording-{number}" for number in itertools.count())


@dataclass
class State:
    """What a store holds: the rules once more, in a few lines, to compare with."""

    queued: dict[str, Record] = field(default_factory=dict)
    ended: dict[str, Status] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)
    last_place: int = 0

    def copy(self) -> State:
        return State(dict(self.queued), dict(self.ended), dict(self.seen), self.last_place)

    def apply(self, op: Write) -> None:
        match op:
            case Put(record):
                if record.message.id not in self.ended:
                    self.queued.setdefault(record.message.id, record)
                    self.last_place = max(self.last_place, record.place)
            case Revise(_, id, trials):
                if id in self.queued:
                    self.queued[id] = replace(self.queued[id], trials=trials)
            case End(_, id, status):
                if self.queued.pop(id, None) and status is not Status.DELIVERED:
                    self.ended[id] = status
            case Seen(agent, at):
                self.seen[agent] = at


def state_after(writes: Sequence[Write]) -> State:
    state = State()
    for op in writes:
        state.apply(op)
    return state


def some_writes(chance: random.Random, known: list[Record], places: Iterator[int]) -> Iterator[Write]:
    """A few writes that are made at once."""
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        kind = chance.random()
        target = chance.choice(known[-100:]).message if known else None
        if kind < 0.05:
            yield Seen(chance.choice(AGENTS), NOW + chance.random())
        elif kind < 0.5 or target is None:
            known.append(some_record(next(places), chance))
            yield Put(known[-1])
        elif kind < 0.65:
            yield Revise(target.agent, target.id, Trials(chance.randrange(99), 1, 2, NOW + chance.random(), NOW))
        else:
            yield End(target.agent, target.id, chance.choice((Status.DELIVERED, Status.REJECTED)), "why", NOW)


def some_record(place: int, chance: random.Random) -> Record:
    payload = chance.randbytes(chance.choice((0, 10, 200, 1000, 9000)))
    return Record(place, Message(f"id-{place}", chance.choice(AGENTS), payload, "x/y", Form.BINARY, NOW + place, 2e9))


@dataclass(frozen=True)
class Asked:
    """A mark: this write was asked for."""

    op: Write


@dataclass(frozen=True)
class Answered:
    """A mark: the first so many writes of the run were answered."""

    count: int


async def record_run(image: Image, folder: Path, first_place: int, chance: random.Random, level: str) -> list[Event]:
    """Let a store go on from an image. Returns what it did to the disk, was asked for and answered."""
    lay_out(image, folder)
    vfs, clock = RecordingVFS(next(names)), Clock()

    def tune(connection: apsw.Connection) -> None:
        connection.pragma("synchronous", level)

    store = sqlite_store(folder / FILE, clock=clock, vfs=vfs.name, tune=tune, log_pages=60, reserve_bytes=0)
    await store.open()
    known: list[Record] = []
    places, counts = itertools.count(first_place), itertools.count(1)
    for number in range(ROUNDS):
        answers = []
        for op in some_writes(chance, known, places):
            vfs.journal.append(Mark(Asked(op)))
            answers.append(store.write(op).addCallback(lambda _: vfs.journal.append(Mark(Answered(next(counts))))))
        await gatherResults(answers)
        if number % 10 == 9:
            clock.advance(10)  # its chores: the log is emptied
    journal = list(vfs.journal)
    await store.close()
    clear(folder)
    return journal


@dataclass(frozen=True)
class Cut:
    """A power cut: what the disk may hold, the writes asked for by then, and how many of them were answered."""

    image: Image
    asked: tuple[Write, ...]
    answered: int


def power_cuts(journal: list[Event], image: Image, count: int, chance: random.Random) -> Iterator[Cut]:
    """Cut the power at that many moments of a run that began with ``image``."""
    disk, asked, answered, at = Disk(image), list[Write](), 0, 0
    for moment in sorted(chance.randint(0, len(journal)) for _ in range(count)):
        for index in range(at, moment):
            match journal[index]:
                case Mark(Asked(op)):
                    asked.append(op)
                case Mark(Answered(number)):
                    answered = number
                case event:
                    disk.feed(index, event)
        at = moment
        yield Cut(disk.image(chance), tuple(asked), answered)


async def held_by(image: Image, folder: Path) -> State:
    """What the real store finds in an image."""
    lay_out(image, folder)
    store = sqlite_store(folder / FILE, reserve_bytes=0)
    snapshot = await store.open()
    found = {}
    for agent in AGENTS:
        page = await store.page(agent, **EVERYTHING)
        assert not page.corrupt
        found.update({record.message.id: record for record in page.records})
    await store.close()
    clear(folder)
    return State(found, {}, snapshot.seen, snapshot.last_place)


def reached(cut: Cut, before: State, found: State) -> State | None:
    """After which of the writes the store stands, or None: after none that comes so late as what was answered."""
    state = before.copy()
    for op in cut.asked[: cut.answered]:
        state.apply(op)
    for number in range(cut.answered, len(cut.asked) + 1):
        if (state.queued, state.seen, state.last_place) == (found.queued, found.seen, found.last_place):
            return state
        for op in cut.asked[number : number + 1]:
            state.apply(op)
    return None


async def losses(folder: Path, images: int, level: str, seed: int) -> int:
    """In how many of the images something is missing or changed."""
    chance = random.Random(seed)
    image: Image = {}
    before, lost = State(), 0
    while images > 0:
        journal = await record_run(image, folder, before.last_place + 1, chance, level)
        survived = []
        for cut in power_cuts(journal, image, min(images, IMAGES_A_RUN), chance):
            state = reached(cut, before, await held_by(cut.image, folder))
            if state is None:
                lost += 1
            else:
                survived.append((cut.image, state))
        images -= IMAGES_A_RUN
        image, before = chance.choice(survived)
    return lost


def clear(folder: Path) -> None:
    """Remove the files of a store that is closed."""
    for each in FILES:
        (folder / each).unlink(missing_ok=True)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    # In memory where that is possible: the journal decides what survives, and thousands of real fsyncs take minutes.
    memory = Path("/dev/shm")
    path = memory / f"relay-images-{os.getpid()}" if os.access(memory, os.W_OK) else tmp_path / "images"
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(math.ceil(IMAGES / IMAGES_A_TEST)))
@pytest_twisted.ensureDeferred
async def test_after_a_power_cut_everything_that_was_answered_is_there(folder: Path, seed: int) -> None:
    assert await losses(folder, IMAGES_A_TEST, "FULL", seed) == 0


@pytest.mark.faults
@pytest_twisted.ensureDeferred
async def test_without_a_sync_at_each_commit_the_same_look_finds_losses(folder: Path) -> None:
    assert await losses(folder, 200, "NORMAL", seed=0) > 20
