"""What a message costs, in counts: writes, reads, timers and what is kept in mind. A clock would say less."""

from __future__ import annotations

from typing import Any

from relay.core.model import Write
from relay.store.memory import MemoryStore
from tests.hub.support import Floor


class CountingStore(MemoryStore):
    """Counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.rows: list[int] = []  #: of each page

    def write(self, op: Write) -> Any:
        self.writes.append(type(op).__name__)
        return super().write(op)

    def page(self, *args: Any) -> Any:
        return super().page(*args).addCallback(self._paged)

    def _paged(self, page: Any) -> Any:
        self.rows.append(len(page.records))
        return page


def queue(floor: Floor, count: int) -> None:
    """Lines of a batch for an agent that is away."""
    for _ in range(count):
        assert floor.post(line=True).said == "queued:away"


def test_a_line_for_an_agent_that_is_away_is_one_write_and_leaves_nothing_in_mind() -> None:
    store = CountingStore()
    floor = Floor(store)
    timers = len(floor.clock.getDelayedCalls())
    queue(floor, 200)
    assert store.writes == ["Put"] * 200
    assert not list(floor.hub._couriers)
    assert len(floor.clock.getDelayedCalls()) == timers


def test_lines_that_wait_for_the_same_commit_are_all_written_before_it_is_answered() -> None:
    store = CountingStore()
    floor = Floor(store)
    store.hold()
    answers = [floor.post(line=True) for _ in range(200)]
    assert store.writes == ["Put"] * 200
    assert {answer.said for answer in answers} == {"waiting"}
    store.release()
    assert {answer.said for answer in answers} == {"queued:away"}


def test_draining_reads_each_row_once_a_page_at_a_time() -> None:
    store = CountingStore()
    floor = Floor(store)
    queue(floor, 1000)
    agent = floor.agent().register(batch=True)
    while frames := agent.heard("messages"):
        agent.ack(*[message["id"] for frame in frames for message in frame["messages"]])
    assert floor.queued() == []
    assert sum(store.rows) == 1000
    assert len(store.rows) <= 11  # the last may be empty
    assert store.writes.count("End") == 1000


def test_what_the_hub_has_in_mind_follows_the_window_and_not_the_queue() -> None:
    floor = Floor(CountingStore())
    queue(floor, 2000)
    agent = floor.agent().register(max_in_flight=10)
    courier = floor.hub._couriers.of("desk-1")
    got = 0
    while frames := agent.heard("message"):
        assert len(courier.line.entries) <= 10
        got += len(frames)
        agent.ack(*[frame["id"] for frame in frames])
    assert got == 2000
