"""Queues of equal delays: what comes out, when, and in which order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.core.delays import Delays


def test_nothing_is_due_where_nothing_is() -> None:
    delays: Delays[str] = Delays()
    assert (len(delays), delays.due_at(), delays.due(1e9)) == (0, None, [])


def test_what_came_first_with_a_delay_is_due_first() -> None:
    delays: Delays[str] = Delays()
    assert delays.put("a", 0.0, 5.0) == 5.0
    delays.put("b", 1.0, 5.0)
    assert delays.due_at() == 5.0
    assert delays.due(4.9) == []
    assert delays.due(5.0) == ["a"]
    assert delays.due_at() == 6.0


def test_a_shorter_delay_overtakes_a_longer_one() -> None:
    delays: Delays[str] = Delays()
    delays.put("long", 0.0, 30.0)
    delays.put("short", 20.0, 5.0)
    assert delays.due_at() == 25.0
    assert delays.due(30.0) == ["short", "long"]


def test_what_was_taken_out_is_not_due() -> None:
    delays: Delays[str] = Delays()
    delays.put("a", 0.0, 5.0)
    delays.put("b", 0.0, 5.0)
    delays.take("a", 5.0)
    delays.take("a", 5.0)
    delays.take("b", 7.0)
    assert (len(delays), delays.due(9.0)) == (1, ["b"])


def test_a_delay_that_nothing_is_left_of_is_forgotten_when_it_is_looked_at() -> None:
    delays: Delays[int] = Delays()
    for number in range(100):
        delays.put(number, 0.0, float(number))
    for number in range(0, 100, 2):
        delays.take(number, float(number))
    delays.due(0.0)
    assert list(delays.delays()) == [float(number) for number in range(1, 100, 2)]
    delays.due(1e9)
    assert (len(delays), list(delays.delays())) == (0, [])


@given(
    st.lists(st.tuples(st.sampled_from(["put", "take", "look"]), st.integers(0, 9), st.sampled_from([0.0, 1.0, 5.0])))
)
def test_it_gives_out_what_a_sorted_list_would(steps: list[tuple[str, int, float]]) -> None:
    delays: Delays[int] = Delays()
    model: dict[int, tuple[float, float]] = {}
    now = 0.0
    for what, item, number in steps:
        now += number / 2
        if what == "put" and item not in model:
            model[item] = (delays.put(item, now, number), number)
        elif what == "take" and item in model:
            delays.take(item, model.pop(item)[1])
        elif what == "look":
            due = sorted((item for item in model if model[item][0] <= now), key=lambda item: model[item][0])
            found = delays.due(now)
            assert [model[item][0] for item in found] == [model[item][0] for item in due]
            assert set(found) == set(due)
            for item in due:
                del model[item]
        assert len(delays) == len(model)
        assert delays.due_at() == min((due for due, _ in model.values()), default=None)


def test_several_that_are_taken_out_are_not_due_and_those_that_are_not_in_change_nothing() -> None:
    delays: Delays[str] = Delays()
    delays.put_all(["a", "b", "c"], 0.0, 5.0)
    delays.take_all(["a", "c", "x"], 5.0)
    delays.take_all(["b"], 7.0)
    assert (len(delays), delays.due(9.0)) == (1, ["b"])
