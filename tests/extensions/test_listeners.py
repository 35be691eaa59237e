"""Who is told what happens: never in the way, whatever they do."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock

from relay.core.limits import Limits
from relay.core.model import Notice
from relay.extensions import IDeliveryListenerPlugin, ISessionListenerPlugin
from relay.hub.bulletin import Bulletin
from tests.extensions.support import Outside, plugin


class Party:
    """The notices of a floor, and one listener."""

    def __init__(self, listener: Any, kind: Any = IDeliveryListenerPlugin, **limits: Any) -> None:
        self.outside = Outside([plugin(kind, listener=listener)], Limits(**limits))
        self.clock: MemoryReactorClock = self.outside.clock
        self.bulletin = Bulletin(self.outside.wall, 10, "boot")
        self.health = self.outside.roster.enlisted[0].health

        class Floor:
            notices = self.bulletin

        self.outside.roster.connect(Floor())  # type: ignore[arg-type]  # all that a listener asks of it

    def tell(self, *events: str) -> None:
        for event in events:
            self.bulletin.tell(event, "desk-1")
        self.settle()

    def settle(self) -> None:
        for _ in range(5):
            self.clock.advance(0)

    @property
    def reached(self) -> dict[str, int]:
        return {name: n for name, n in self.outside.counters.table().items() if n}


@pytest.mark.parametrize(
    ("kind", "told"),
    [(IDeliveryListenerPlugin, ["message.sent"]), (ISessionListenerPlugin, ["agent.connected"])],
)
def test_a_listener_is_told_of_its_kind_alone_and_in_order(kind: Any, told: list[str]) -> None:
    heard: list[str] = []
    Party(lambda notice: heard.append(notice.event), kind).tell("message.sent", "agent.connected")
    assert heard == told


def test_it_is_told_in_a_later_turn_than_that_in_which_it_happened() -> None:
    heard: list[Notice] = []
    party = Party(heard.append)
    party.bulletin.tell("message.sent", "desk-1")
    assert not heard
    party.settle()
    assert [notice.agent for notice in heard] == ["desk-1"]


def test_the_next_notice_waits_until_the_last_is_done_with() -> None:
    heard: list[str] = []
    works: list[Deferred[None]] = []

    def listen(notice: Notice) -> Deferred[None]:
        heard.append(notice.event)
        works.append(Deferred())
        return works[-1]

    party = Party(listen)
    party.tell("message.sent", "message.delivered")
    assert heard == ["message.sent"]
    works[0].callback(None)
    party.settle()
    assert heard == ["message.sent", "message.delivered"]
    works[1].callback(None)


def test_a_full_queue_drops_what_is_new_and_counts_it() -> None:
    heard: list[str] = []
    work: Deferred[None] = Deferred()

    def listen(notice: Notice) -> Deferred[None]:
        heard.append(notice.event)
        return work if len(heard) == 1 else succeed(None)

    party = Party(listen, extension_queue=2)
    party.tell("message.1")
    party.tell("message.2", "message.3", "message.4", "message.5")
    work.callback(None)
    party.settle()
    assert heard == ["message.1", "message.2", "message.3"]
    assert (party.health.drops, party.outside.tally.of("test")) == (2, {"drops": 2})
    assert party.reached == {"extension_queue": 2}


def test_one_that_never_ends_is_given_up_in_time_and_told_the_next() -> None:
    heard: list[str] = []

    def listen(notice: Notice) -> Deferred[None]:
        heard.append(notice.event)
        return Deferred(lambda _: None)  # does not even end when it is cancelled

    party = Party(listen, extension_seconds=2.0)
    party.tell("message.1", "message.2")
    party.clock.advance(1.9)
    assert heard == ["message.1"]
    party.clock.advance(0.1)
    party.settle()
    assert heard == ["message.1", "message.2"]
    party.clock.advance(2)
    assert party.reached == {"extension_seconds": 2}


def test_one_that_fails_so_often_in_a_row_is_switched_off_and_not_called_again() -> None:
    heard: list[str] = []

    def listen(notice: Notice) -> None:
        heard.append(notice.event)
        if notice.event != "message.fine":
            raise ValueError("ouch")

    party = Party(listen, extension_failures=2)
    party.tell("message.1", "message.fine", "message.2", "message.3", "message.4")
    assert heard == ["message.1", "message.fine", "message.2", "message.3"]
    [state] = party.outside.roster.states()
    assert state == {"name": "test", "version": "1.0", "state": "off", "failures": 3, "drops": 0}
    assert party.reached == {"extension_failures": 1}
    assert party.health.why == "listener: ValueError: ouch"


def test_it_is_told_to_the_end_what_happens_while_the_relay_shuts_down() -> None:
    heard: list[str] = []
    party = Party(lambda notice: heard.append(notice.event))
    party.bulletin.close()
    party.tell("message.delivered")
    assert heard == ["message.delivered"]


def test_what_a_listener_returns_is_nobodys_business() -> None:
    party = Party(lambda notice: 5)
    party.tell("message.1")
    assert party.outside.roster.states()[0]["state"] == "working"


def test_of_many_notices_others_get_their_turn_in_between() -> None:
    heard: list[Notice] = []
    others: list[int] = []
    party = Party(heard.append)
    party.clock.callLater(0, lambda: party.clock.callLater(0, lambda: others.append(len(heard))))
    for _ in range(250):
        party.bulletin.tell("message.sent", "desk-1")
    party.settle()
    assert (others, len(heard)) == ([100], 250)
