"""Which ids are remembered, and for how long."""

from __future__ import annotations

from relay.client.memory import Memory


def test_an_id_is_remembered_while_its_message_may_come_again() -> None:
    memory = Memory()
    memory.remember("m1", life=60, now=0)
    memory.remember("m2", life=60, now=59)
    assert "m1" in memory
    memory.remember("m3", life=60, now=61)
    assert "m1" not in memory
    assert "m2" in memory


def test_of_too_many_the_oldest_go() -> None:
    memory = Memory(most=3)
    for number in range(10):
        memory.remember(f"m{number}", life=60, now=0)
        assert len(memory) <= 3
    assert ["m7" in memory, "m8" in memory, "m9" in memory] == [True] * 3


def test_an_id_that_is_remembered_again_is_young_again() -> None:
    memory = Memory(most=2)
    for id in ("m1", "m2", "m1", "m3"):
        memory.remember(id, life=60, now=0)
    assert "m1" in memory
    assert "m2" not in memory


def test_one_without_a_life_leaves_nothing_behind() -> None:
    memory = Memory()
    memory.remember("m1", life=0, now=5)
    memory.remember("m2", life=0, now=5)
    assert len(memory) == 0


def test_it_catches_up_after_many_have_expired_at_once() -> None:
    memory = Memory()
    for number in range(1000):
        memory.remember(f"old{number}", life=10, now=0)
    for number in range(1000):
        memory.remember(f"new{number}", life=10, now=20)
    assert len(memory) == 1000
