"""What a message costs, in counts: writes, reads, timers and what is kept in mind. A clock would say less."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from relay.core.model import Form, Outcome, Reason, Submission, Write
from relay.core.ports import StoreUnavailable
from relay.store.memory import MemoryStore
from tests.hub.support import Floor


class CountingStore(MemoryStore):
    """Counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.answers = 0
        self.rows: list[int] = []  #: of each page

    def write(self, op: Write) -> Any:
        self.writes.append(type(op).__name__)
        self.answers += 1
        return super().write(op)

    def write_all(self, ops: Sequence[Write]) -> Any:
        self.writes.extend(type(op).__name__ for op in ops)
        self.answers += 1
        return super().write_all(ops)

    def page(self, *args: Any) -> Any:
        return super().page(*args).addCallback(self._paged)

    def _paged(self, page: Any) -> Any:
        self.rows.append(len(page.records))
        return page


def queue(floor: Floor, count: int) -> None:
    """Lines of a batch for an agent that is away."""
    for _ in range(count):
        assert floor.post(line=True).said == "queued:away"


def together(*agents: str, **fields: Any) -> list[Submission]:
    """Lines that came together."""
    return [Submission(agent, b"1", "application/json", Form.JSON, 5.0, **fields) for agent in agents]


def test_lines_that_came_together_for_agents_that_are_away_have_one_answer_from_the_store() -> None:
    store = CountingStore()
    floor = Floor(store)
    told: dict[int, Any] = {}
    floor.hub.submit_all(together(*[f"desk-{n % 7}" for n in range(200)]), told.update)
    assert (store.answers, store.writes) == (1, ["Put"] * 200)
    assert list(told) == list(range(200))
    assert {(became.status, became.reason) for became in told.values()} == {("queued", Reason.AWAY)}
    assert not list(floor.hub._couriers)
    assert not floor.hub._context.on_the_way


def test_an_agent_that_comes_while_its_lines_are_written_gets_them_all_in_order() -> None:
    floor = Floor(CountingStore())
    floor.store.hold()
    told: dict[int, Any] = {}
    floor.hub.submit_all(together(*["desk-1"] * 30), told.update)
    agent = floor.agent().register()
    floor.post(wait=0)  # takes its place behind them
    assert agent.heard("message") == []
    floor.store.release()
    assert {(became.status, became.reason) for became in told.values()} == {("queued", Reason.AWAY)}
    ids = [message["id"] for message in agent.heard("message")]
    assert ids[:30] == [told[n].id for n in range(30)]
    assert len(ids) == 31


def test_posts_for_agents_that_are_away_go_together_while_others_are_written() -> None:
    store = CountingStore()
    floor = Floor(store)
    store.hold()
    answers = [floor.post(agent=f"desk-{n % 3}") for n in range(30)]
    assert (store.answers, len(store.writes)) == (2, 2)
    store.release()
    assert (store.answers, store.writes) == (3, ["Put"] * 30)
    assert {answer.said for answer in answers} == {"queued:away"}
    assert floor.agent().register().messages() == list(range(2, 31, 3))
    assert not floor.hub._context.on_the_way


def test_posts_that_wait_for_others_to_be_written_are_not_too_many() -> None:
    store = CountingStore()
    floor = Floor(store)
    store.hold()
    large = b'"' + b"x" * (1 << 19) + b'"'
    for _ in range(5):
        floor.post(large)
    assert (store.answers, len(store.writes)) == (3, 4)
    floor.pass_time(1)  # nor do they wait for long: a store may have forgotten to answer
    assert (store.answers, len(store.writes)) == (4, 5)


def test_a_post_that_waits_for_others_to_be_written_is_refused_as_they_are_and_the_next_is_not() -> None:
    store = CountingStore()
    floor = Floor(store)
    store.hold()
    answers = [floor.post() for _ in range(3)]
    assert floor.hub._context.crowd.waiting == 3
    store.fail_with(StoreUnavailable("disk full"))
    store.release()
    assert {answer.said for answer in answers} == {"store-unavailable"}
    store.heal()
    assert floor.post().said == "queued:away"
    assert floor.hub._context.pressure.held == 0


def test_what_was_accepted_is_known_while_it_is_written() -> None:
    floor = Floor(CountingStore())
    floor.store.hold()
    seen: list[Any] = []
    floor.hub.notices.subscribe(seen.append)
    floor.hub.submit_all(together("desk-1"), lambda became: None)
    (notice,) = seen
    view = floor.look(notice.fields["id"])
    assert (notice.event, view.status.value, view.attempts) == ("message.accepted", "queued", 0)


def test_lines_that_the_store_refuses_are_all_told_so_and_leave_nothing_in_mind() -> None:
    floor = Floor(CountingStore())
    floor.store.fail_with(StoreUnavailable("disk full"))
    told: dict[int, Any] = {}
    floor.hub.submit_all(together(*["desk-1", "desk-2"] * 5), told.update)
    assert {became.word for became in told.values()} == {"store-unavailable"}
    assert len({became.fields["id"] for became in told.values()}) == 10
    assert not list(floor.hub._couriers)
    assert not floor.hub._context.on_the_way
    assert floor.hub._context.pressure.held == 0


def test_limits_are_asked_of_each_line_of_those_that_came_together() -> None:
    floor = Floor(CountingStore(), queue_count=3)
    told: dict[int, Any] = {}
    floor.hub.submit_all(together(*["desk-1"] * 5, "desk-2"), told.update)
    assert [isinstance(told[n], Outcome) for n in range(6)] == [True, True, True, False, False, True]
    assert told[3].word == "queue-full"


def test_lines_that_ask_for_more_keep_their_place_among_the_plain_ones() -> None:
    floor = Floor(CountingStore())
    told: dict[int, Any] = {}
    lines = together(*["desk-1"] * 6)
    lines[2] = replace(lines[2], topic="t")
    lines[4] = replace(lines[4], key="k")
    floor.store.hold()
    floor.hub.submit_all(lines, told.update)
    agent = floor.agent().register()
    floor.store.release()
    assert [message["id"] for message in agent.heard("message")] == [told[n].id for n in range(6)]


def test_a_drain_waits_for_lines_that_are_being_written() -> None:
    floor = Floor(CountingStore())
    floor.store.hold()
    told: dict[int, Any] = {}
    floor.hub.submit_all(together(*["desk-1"] * 3), told.update)
    drained = floor.hub.drain()
    assert not drained.called
    floor.store.release()
    floor.clock.advance(0)
    assert drained.called
    assert {became.reason for became in told.values()} == {Reason.DRAINING}


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
    assert store.answers <= 1000 + 11  # an ACK of a hundred is one


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
