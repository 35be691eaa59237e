"""A batch is the same as its writes one by one: held against the memory twin, with any writes in any order."""

from __future__ import annotations

from typing import Any

import apsw
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.core.model import (
    Callback,
    Discard,
    End,
    Event,
    Kept,
    Key,
    Letter,
    Put,
    PutOff,
    Requeue,
    Revise,
    Seen,
    Status,
    Told,
    Trials,
    Write,
)
from relay.core.ports import StoreUnavailable
from relay.store.changes import apply
from relay.store.migrating import scripts
from relay.store.reader import Reader
from relay.store.retention import DEFAULTS
from relay.store.rounds import rounds
from relay.store.shelf import Shelf
from relay.store.superseding import settle
from relay.store.work import COUNTED, MOST_ROWS, Tally
from tests.store.support import EVERYTHING, NOW, record

AGENTS = ("a", "b")
NAMES = [
    *(f"m{number}" for number in range(4)),
    *(f"{agent}-{key}-{digest}" for agent in "ab" for key in "kl" for digest in "12"),
]
KEY_COUNT = 3
BOUNDS = replace(DEFAULTS, keys=KEY_COUNT)

agents = st.sampled_from(AGENTS)
names = st.sampled_from(NAMES)
times = st.floats(NOW, NOW + 1000)
events = st.lists(st.builds(Event, times, st.just("sent"), st.none() | st.text(max_size=3)), max_size=2).map(tuple)
trials = st.builds(Trials, st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), times, times)
statuses = st.sampled_from([Status.DELIVERED, Status.DELIVERED, Status.DEAD, Status.CANCELLED, Status.REPLACED])
replies = st.none() | st.binary(max_size=5)
ends = st.builds(End, agents, names, statuses, st.text(max_size=5), times, st.integers(0, 99), replies, events)
topics = st.none() | st.sampled_from(["t", "u"])
others = st.one_of(
    ends,
    ends,
    st.builds(Revise, agents, names, trials, events),
    st.builds(Seen, agents, times),
    st.builds(Discard, names),
    st.builds(PutOff, names, st.integers(1, 2), st.integers(0, 9), times),
    st.builds(Told, names, st.integers(1, 2)),
)


@st.composite
def puts(draw: st.DrawFn, place: int) -> Put:
    """A new message at this place, often about something that is there already."""
    agent, id, key = draw(agents), draw(names), None
    if draw(st.booleans()):  # then the id is derived from agent, key and digest
        name, digest = draw(st.sampled_from("kl")), draw(st.sampled_from("12"))
        id, key = f"{agent}-{name}-{digest}", Key("", agent, name, digest.encode(), NOW + 5000)
    plain = record(place, agent, draw(st.binary(max_size=20)), id=id)
    topic = draw(topics)
    callback = draw(st.sampled_from([None, f"https://x/{place}"]))
    headers = draw(st.sampled_from([(), (("a", "1"),)]))
    message = replace(plain.message, topic=topic, headers=headers, callback=callback)
    spared = draw(st.frozensets(names, max_size=2))
    supersedes = topic is not None and draw(st.booleans())
    return Put(replace(plain, message=message), draw(events), key, supersedes, spared)


@st.composite
def batches(draw: st.DrawFn) -> list[list[Write]]:
    """Some batches, one after the other."""
    found: list[list[Write]] = []
    place = 0  # places are given once: each write has its own
    for size in draw(st.lists(st.integers(1, 12), min_size=1, max_size=4)):
        batch: list[Write] = []
        for _ in range(size):
            place += 1
            kind = draw(st.integers(0, 9))
            if kind < 5:
                batch.append(draw(puts(place)))
            else:
                batch.append(Requeue(draw(names), place, draw(times)) if kind == 5 else draw(others))
        found.append(batch)
    return found


def new_database() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    for script in scripts():
        connection.execute(script).fetchall()
    connection.execute("UPDATE store SET secret = x'00'")
    return connection


def told(answer: object, op: Write) -> object:
    """What is to be the same: of a revision whether there is an answer, of an error its kind.

    Of a key that is used again for something else it only counts that it is known: whether an end of the same batch
    came before does not matter to anybody.
    """
    if isinstance(answer, StoreUnavailable):
        return type(answer)
    if isinstance(op, Put) and isinstance(answer, Kept) and answer.known and answer.known.id != op.record.message.id:
        return answer.known.id, answer.known.digest
    return answer is not None if isinstance(op, Revise) else answer


def one_by_one(twin: Shelf, op: Write) -> object:
    try:
        return twin.apply(op, NOW)
    except StoreUnavailable as error:
        return error


def by_id(letters: list[Letter]) -> dict[str, Letter]:
    return {letter.past.id: letter for letter in letters}


@given(batches(), st.booleans())
def test_a_batch_is_the_same_as_its_writes_one_by_one(batches: list[list[Write]], restart: bool) -> None:
    twin, connection = Shelf(b"\0", BOUNDS), new_database()
    for batch in batches:
        with connection:
            answers = apply(connection, batch, BOUNDS)
        expected = [one_by_one(twin, op) for op in batch]
        assert list(map(told, answers, batch)) == list(map(told, expected, batch))
    if restart:
        settle(connection, NOW, lean=False)
        twin.settle(NOW)
    reader = Reader(connection)
    assert reader.snapshot(NOW) == twin.snapshot(NOW)
    for agent in AGENTS:
        assert reader.page(agent, **EVERYTHING) == twin.page(agent, **EVERYTHING)
    for name in NAMES:
        assert reader.find(name) == twin.find(name)
    assert by_id(reader.letters("", 100)) == by_id(twin.letters("", 100))
    assert sorted(reader.overdue(NOW + 1e6, 100)) == sorted(twin.overdue(NOW + 1e6, 100))
    assert sorted(reader.callbacks(NOW + 1e6, 100), key=id_of) == sorted(twin.callbacks(NOW + 1e6, 100), key=id_of)
    assert Tally(*connection.execute(COUNTED).get) == counted(connection)
    connection.close()


def id_of(callback: Callback) -> str:
    return callback.id


def counted(connection: apsw.Connection) -> Tally:
    """What the counts ought to be."""
    [keys] = connection.execute("SELECT count(*) FROM keys").fetchall()[0]
    pasts = connection.execute("SELECT count(*), ifnull(sum(length(reply)), 0) FROM past").fetchall()[0]
    dead = "SELECT count(*), ifnull(sum(length(payload)), 0) FROM messages WHERE status <> 'queued'"
    promised = "SELECT count(*) FROM messages WHERE status = 'queued' AND callback IS NOT NULL"
    callbacks = sum(connection.execute(sql).get for sql in ("SELECT count(*) FROM callbacks", promised))
    numbers: Any = (keys, callbacks, *pasts, *connection.execute(dead).fetchall()[0])
    return Tally(*numbers)


def test_writes_about_different_messages_make_one_round_whatever_their_order() -> None:
    ops: list[Write] = []
    for place in range(1, 100):
        ops += [End("a", f"x{place}", Status.DELIVERED), Put(record(place)), Revise("a", f"y{place}", Trials())]
        ops += [Seen("a", NOW), PutOff(f"z{place}", 1, 1, NOW), Told(f"z{place}", 1)]
    assert len(list(rounds(ops))) == 1


def test_messages_with_topics_and_keys_of_their_own_make_one_round() -> None:
    ops: list[Write] = []
    for place in range(1, 100):
        plain = record(place, f"agent-{place}")
        key = Key("", plain.message.agent, "k", b"", NOW)
        ops.append(Put(replace(plain, message=replace(plain.message, topic="t")), key=key, supersedes=True))
    assert len(list(rounds(ops))) == 1


def test_as_many_rows_as_there_are_go_in_a_handful_of_statements() -> None:
    for count in (1, MOST_ROWS - 1, MOST_ROWS, 3 * MOST_ROWS + 5):
        connection = new_database()
        statements: list[str] = []
        connection.exec_trace = lambda _, sql, bindings, seen=statements: seen.append(sql) or True
        apply(connection, [Put(record(place)) for place in range(1, count + 1)], DEFAULTS)
        assert len(statements) <= count // MOST_ROWS + 6
        statements.clear()
        apply(connection, [End("desk", f"m{place}", Status.DELIVERED) for place in range(1, count + 1)], DEFAULTS)
        assert len(statements) <= count // MOST_ROWS + 13
        connection.exec_trace = None
        assert connection.execute("SELECT count(*) FROM past").get == count
        connection.close()
