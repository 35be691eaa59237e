"""Which agents are known: who is here, has something queued, or was here in the last 30 days (protocol 1.3)."""

from __future__ import annotations

from relay.hub.directory import Directory
from tests.hub.support import Floor

DAY = 86400.0


def listed(floor: Floor) -> list[str]:
    return [view.agent for view in floor.now(floor.hub.agents(connected=None, prefix="", after="", limit=100))]


def known(floor: Floor) -> list[str]:
    """Those that are listed; the same are shown one by one."""
    names = listed(floor)
    assert [name for name in ("desk-1", "desk-2") if floor.now(floor.hub.agent(name)) is not None] == names
    return names


def test_an_agent_is_known_as_long_as_something_is_queued_for_it() -> None:
    floor = Floor()
    floor.post()
    assert known(floor) == ["desk-1"]
    floor.now(floor.hub.empty("desk-1"))
    assert known(floor) == []
    floor.post()
    assert known(floor) == ["desk-1"]


def test_an_agent_is_known_for_thirty_days_after_it_was_here() -> None:
    floor = Floor()
    floor.agent().register().leave()
    floor.agent().register("desk-2")
    floor.clock.advance(30 * DAY)
    assert known(floor) == ["desk-1", "desk-2"]
    floor.clock.advance(60)
    assert known(floor) == ["desk-2"]


def test_who_is_not_known_any_more_makes_room_for_others() -> None:
    floor = Floor(known_agents=1)
    floor.post(ttl=2.0)
    floor.post(agent="desk-2")
    assert listed(floor) == ["desk-1"]
    floor.pass_time(5)
    floor.post(agent="desk-2")
    assert known(floor) == ["desk-2"]


def test_a_directory_is_looked_through_slice_by_slice() -> None:
    directory, looked = Directory(100), list[str]()

    def is_known(name: str) -> bool:
        looked.append(name)
        return name in "aceg"

    for name in "abcdefg":
        directory.seen(name, 1.0)
    for _ in range(3):
        directory.forget(is_known, 3)
    assert "".join(looked) == "abcdefg"
    assert directory.after("", "") == list("aceg")
    assert "b" not in directory
    directory.forget(is_known, 3)
    assert looked[7:] == ["a", "c", "e"]
