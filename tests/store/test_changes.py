"""A batch is the same as its writes one by one: held against the memory twin, with any writes in any order."""

from __future__ import annotations

from importlib import resources

import apsw
from hypothesis import given
from hypothesis import strategies as st

from relay.core.model import Depth, End, Put, Revise, Seen, Status, Trials, Write
from relay.store.changes import MOST_ROWS, apply, rounds
from relay.store.memory import Shelf
from relay.store.reader import Reader
from tests.store.support import EVERYTHING, NOW, record

AGENTS = ("a", "b")
SCHEMA = (resources.files("relay.store") / "schema" / "001.sql").read_text("utf-8")

agents = st.sampled_from(AGENTS)
names = st.sampled_from([f"m{number}" for number in range(6)])
times = st.floats(NOW, NOW + 1000)
trials = st.builds(Trials, st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), times, times)
ends = st.builds(End, agents, names, st.sampled_from([Status.DELIVERED, Status.DEAD]), st.text(max_size=5), times)
others = st.one_of(ends, st.builds(Revise, agents, names, trials), st.builds(Seen, agents, times))
# Places are given once: each write has its own.
puts = st.tuples(agents, names, st.binary(max_size=20))


@st.composite
def batches(draw: st.DrawFn) -> list[list[Write]]:
    """Some batches, one after the other."""
    found: list[list[Write]] = []
    place = 0
    for size in draw(st.lists(st.integers(1, 12), min_size=1, max_size=4)):
        batch: list[Write] = []
        for _ in range(size):
            place += 1
            if draw(st.booleans()):
                agent, id, payload = draw(puts)
                batch.append(Put(record(place, agent, payload, id=id)))
            else:
                batch.append(draw(others))
        found.append(batch)
    return found


def known(answer: Depth | None, op: Write) -> object:
    """What the contract says of an answer: for a revision only whether there is one."""
    return answer is not None if isinstance(op, Revise) else answer


@given(batches())
def test_a_batch_is_the_same_as_its_writes_one_by_one(batches: list[list[Write]]) -> None:
    twin, connection = Shelf(), apsw.Connection(":memory:")
    connection.execute(SCHEMA).fetchall()
    for batch in batches:
        with connection:
            answers = apply(connection, batch)
        expected = [twin.apply(op) for op in batch]
        assert list(map(known, answers, batch)) == list(map(known, expected, batch))
    reader = Reader(connection)
    assert reader.snapshot(NOW) == twin.snapshot(NOW)
    for agent in AGENTS:
        assert reader.page(agent, **EVERYTHING) == twin.page(agent, **EVERYTHING)
    kept = connection.execute("SELECT id, status, reason, ended_at FROM messages WHERE status <> 'queued'").fetchall()
    assert set(kept) == {(end.id, end.status.value, end.reason, end.at) for end in twin.ended.values()}
    connection.close()


def test_writes_about_different_messages_make_one_round_whatever_their_order() -> None:
    ops: list[Write] = []
    for place in range(1, 100):
        ops += [End("a", f"x{place}", Status.DELIVERED), Put(record(place)), Revise("a", f"y{place}", Trials())]
    assert len(list(rounds(ops))) == 1


def test_as_many_rows_as_there_are_go_in_a_handful_of_statements() -> None:
    for count in (1, MOST_ROWS - 1, MOST_ROWS, 3 * MOST_ROWS + 5):
        connection = apsw.Connection(":memory:")
        connection.execute(SCHEMA).fetchall()
        statements: list[str] = []
        connection.exec_trace = lambda _, sql, bindings, seen=statements: seen.append(sql) or True
        apply(connection, [Put(record(place)) for place in range(1, count + 1)])
        assert len(statements) <= count // MOST_ROWS + 6
        connection.exec_trace = None
        assert connection.execute("SELECT count(*) FROM messages").get == count
        connection.close()
