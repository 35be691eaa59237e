"""What is over leaves nothing behind for the collector: it comes so seldom that a storm would fill the memory first.

``spare_collector`` of ``tap.py`` lets it wait for a million objects. So what is made for each agent, and for each
connection, must go by its count of references alone.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
from twisted.logger import Logger, LogPublisher

from relay.hub.acks import AckTable
from relay.hub.courier import Courier
from relay.hub.outlet import Outlet
from relay.hub.session import AgentSession
from tests.hub.support import Agent, Floor

KINDS = (AckTable, AgentSession, Courier, Outlet)


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """Says what is there of these kinds, but for what was there before. No collector runs meanwhile."""
    # Until a log is begun, as it never is here, Twisted keeps what was logged, with who said it.
    monkeypatch.setattr(AgentSession, "log", Logger(observer=LogPublisher()))
    before = [each for each in gc.get_objects() if isinstance(each, KINDS)]
    known = set(map(id, before))
    gc.disable()
    yield lambda: [
        type(each).__name__ for each in gc.get_objects() if isinstance(each, KINDS) and id(each) not in known
    ]
    gc.enable()


def part(agent: Agent, code: int | None) -> None:
    """Its connection is gone, and its wire lets go of the conversation, as the real one does of its protocol."""
    agent.conversation.lost(code, False)
    agent.wire.conversation = None


def test_who_carried_lines_to_the_disk_is_gone_with_them(left: Callable[[], list[str]]) -> None:
    floor = Floor()
    for number in range(20):
        floor.post(agent=f"away-{number}", wait=0, line=True)
    assert left() == []


def test_a_message_for_an_agent_that_is_away_leaves_nobody_behind(left: Callable[[], list[str]]) -> None:
    floor = Floor()
    assert floor.post().said == "queued:away"
    assert left() == []


def test_a_session_that_is_over_is_gone(left: Callable[[], list[str]]) -> None:
    floor = Floor()
    for number, code in enumerate((1000, None) * 3):
        agent = floor.agent().register(f"desk-{number}")
        floor.post(agent=f"desk-{number}")
        floor.post(agent=f"desk-{number}", wait=0)
        agent.ack(*agent.ids()[:number])
        part(agent, code)
        floor.pass_time(31)
    assert floor.queued()
    del agent
    assert left() == []


def test_a_connection_that_never_registered_is_gone(left: Callable[[], list[str]]) -> None:
    floor = Floor()
    part(floor.agent(), None)
    confused = floor.agent()
    confused.say("nonsense")
    part(confused, 4002)
    del confused
    floor.pass_time(60)
    assert left() == []
