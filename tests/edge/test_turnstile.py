"""Many connections begin or end at once: some in each turn, in order, and every one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock

from relay.edge.channel import BEGIN_AT_ONCE
from relay.edge.turnstile import CALM_SECONDS, Turnstile
from relay.edge.websocket import END_AT_ONCE
from tests.conftest import LoggedFailures
from tests.edge.support import House, get, join

AT_ONCE = 4


class Turns(Clock):
    """A clock that makes of a call only what was due when its turn began, as the reactor does."""

    def turn(self) -> None:
        due, self.calls = self.calls, []
        for call in due:
            call.func(*call.args, **call.kw)


@pytest.fixture
def clock() -> Turns:
    return Turns()


@pytest.fixture
def made() -> list[int]:
    return []


@pytest.fixture
def come(clock: Turns, made: list[int]) -> Callable[[int], list[bool]]:
    """So many come within one turn; did each pass at once?"""
    turnstile, numbers = Turnstile(clock, AT_ONCE), iter(range(10_000))
    return lambda count: [turnstile.passes(partial(made.append, next(numbers))) for _ in range(count)]


def test_a_few_pass_at_once(clock: Turns, made: list[int], come: Callable[[int], list[bool]]) -> None:
    assert come(AT_ONCE) == [True] * AT_ONCE
    assert made == list(range(AT_ONCE))
    assert clock.getDelayedCalls() == []


def test_of_many_each_turn_takes_some_in_order(
    clock: Turns, made: list[int], come: Callable[[int], list[bool]]
) -> None:
    assert come(3 * AT_ONCE + 1)[AT_ONCE:] == [False] * (2 * AT_ONCE + 1)
    counts = [len(made)]
    while clock.getDelayedCalls():
        clock.turn()
        counts.append(len(made))
    assert counts == [AT_ONCE, 2 * AT_ONCE, 3 * AT_ONCE, 3 * AT_ONCE + 1]
    assert made == list(range(3 * AT_ONCE + 1))


def test_who_comes_behind_a_crowd_waits_behind_it(
    clock: Turns, made: list[int], come: Callable[[int], list[bool]]
) -> None:
    come(2 * AT_ONCE)
    clock.rightNow += CALM_SECONDS
    assert come(1) == [False]
    clock.turn()
    clock.turn()
    assert made == list(range(2 * AT_ONCE + 1))


def test_after_a_calm_there_may_be_as_many_again(
    clock: Turns, made: list[int], come: Callable[[int], list[bool]]
) -> None:
    come(AT_ONCE)
    clock.advance(CALM_SECONDS)
    assert come(AT_ONCE) == [True] * AT_ONCE


def test_one_that_goes_wrong_keeps_nobody_from_passing(clock: Turns, logged_failures: LoggedFailures) -> None:
    turnstile, made = Turnstile(clock, 1), list[str]()
    turnstile.passes(lambda: None)
    turnstile.passes(lambda: 1 / 0)
    turnstile.passes(lambda: made.append("the last"))
    clock.turn()
    clock.turn()
    assert made == ["the last"]
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


def test_every_agent_of_a_crowd_is_said_to_be_gone_and_a_gone_wire_says_so_before(house: House) -> None:
    agents = [join(house) for _ in range(2 * END_AT_ONCE + 3)]
    for agent in agents:
        agent.socket.hang_up(ConnectionLost())
    assert sum(len(agent.conversation.ends) for agent in agents) == END_AT_ONCE
    assert [agent.conversation.transport.alive() for agent in agents] == [False] * len(agents)
    agents[-1].conversation.transport.send(b"too late")
    house.reactor.advance(0)
    assert [agent.conversation.ends for agent in agents] == [[(None, False)]] * len(agents)


def test_newcomers_past_some_are_read_in_a_later_turn_and_have_their_whole_time(house: House) -> None:
    clients = [house.connect(run=False) for _ in range(3 * BEGIN_AT_ONCE)]
    assert [client.socket.reading for client in clients].count(True) == BEGIN_AT_ONCE
    house.reactor.rightNow += 60
    late = clients[BEGIN_AT_ONCE:]  #: the clock of the others began when they came
    assert all(client.ask(get("/healthz")).status == 200 for client in late)
    house.pass_time(9)
    assert not any(client.closed for client in late)


def test_who_hangs_up_before_it_was_read_is_not_read_any_more(house: House) -> None:
    clients = [house.connect(run=False) for _ in range(2 * BEGIN_AT_ONCE)]
    clients[-1].socket.hang_up()
    house.reactor.advance(0)
    assert not clients[-1].socket.reading
    assert house.site.visitors.connected == len(clients) - 1
