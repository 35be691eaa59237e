"""When the doors rest and when they are open again, with ports and descriptors that are played."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from twisted.internet.tcp import _reservedFD
from twisted.logger import capturedLogs

from relay.core.counters import Counters
from relay.core.limits import Limits
from relay.doorkeeper import AT_ONCE, CALM, Doorkeeper, descriptors_open


@dataclass(eq=False)
class Queue:
    """A port, and those who wait at it. It accepts as Twisted's does: so many in a turn, and more the next time."""

    crowd: Crowd
    waiting: int = 0
    numberAccepts: int = 100
    reading: bool = True
    connected: bool = True
    disconnecting: bool = False

    def stopReading(self) -> None:
        self.reading = False

    def startReading(self) -> None:
        self.reading = True

    def doRead(self) -> None:
        count = min(self.numberAccepts, self.waiting)
        for _ in range(count):
            self.waiting -= 1
            self.crowd.come()
        self.numberAccepts += 20


class Crowd:
    """A keeper and its ports. The process has ``files`` descriptors beside its connections."""

    def __init__(self, *, most: int = 100, files: int = 10, ports: int = 1, **limits: int) -> None:
        self.files = files
        self.connected = 0
        self.counters = Counters()
        self.keeper = Doorkeeper(
            Limits(**limits), self.counters, most=lambda: most, open_now=lambda: self.files + self.connected
        )
        self.ports = [Queue(self) for _ in range(ports)]
        self.keeper.watch(self.ports)

    def come(self) -> None:
        self.connected += 1
        self.keeper.connections(self.connected)

    def go(self, count: int = 1) -> None:
        for _ in range(count):
            self.connected -= 1
            self.keeper.connections(self.connected)

    def turn(self) -> None:
        for port in self.ports:
            if port.reading:
                port.doRead()

    def turns(self, count: int = 20) -> None:
        for _ in range(count):
            self.turn()


def test_at_the_mark_nobody_more_is_accepted_however_many_come_in_one_turn() -> None:
    crowd = Crowd()
    crowd.ports[0].waiting = 500
    crowd.turns()
    assert crowd.connected == 80  # 90 % of 100, but for 10 files
    assert not crowd.ports[0].reading
    assert crowd.counters.table()["descriptors"] == 1


def test_when_somebody_has_gone_one_more_comes_in_at_the_next_look() -> None:
    crowd = Crowd()
    crowd.ports[0].waiting = 500
    crowd.turns()
    crowd.go(3)
    crowd.turn()
    assert crowd.connected == 77
    crowd.keeper.look()
    crowd.turn()
    assert crowd.connected == 80
    assert crowd.keeper.resting


def test_a_crowd_comes_in_by_few_a_turn_so_that_others_are_served_between() -> None:
    crowd = Crowd(most=100_000)
    crowd.ports[0].waiting = 10_000
    for turns in range(1, 9):
        crowd.turn()
        assert crowd.connected == turns * AT_ONCE


def test_several_doors_share_the_room() -> None:
    crowd = Crowd(ports=3)
    for port in crowd.ports:
        port.waiting = 50
    crowd.turns()
    assert crowd.connected == 80
    assert not any(port.reading for port in crowd.ports)


def test_files_that_others_opened_count_too() -> None:
    crowd = Crowd(files=10)
    crowd.files = 95
    crowd.keeper.look()
    assert crowd.keeper.resting
    crowd.files = 10
    crowd.keeper.look()
    assert not crowd.keeper.resting


def test_a_number_of_connections_may_be_configured() -> None:
    crowd = Crowd(most=1000, connections=5)
    crowd.ports[0].waiting = 50
    crowd.turn()
    assert crowd.connected == 5
    assert crowd.counters.table()["connections"] == 1
    crowd.go()
    crowd.keeper.look()
    assert not crowd.keeper.resting


def test_a_crowd_at_the_mark_fills_no_log() -> None:
    crowd = Crowd()
    with capturedLogs() as logged:
        for _ in range(600):
            crowd.ports[0].waiting = 100
            crowd.turn()
            crowd.go(5)
            crowd.keeper.look()
        assert len(logged) == 1
        crowd.ports[0].waiting = 0
        for _ in range(CALM):
            crowd.keeper.look()
    assert len(logged) == 2


def test_a_door_that_was_closed_meanwhile_stays_closed() -> None:
    crowd = Crowd()
    crowd.ports[0].waiting = 500
    crowd.turns()
    crowd.ports[0].disconnecting = True
    crowd.go(50)
    crowd.keeper.look()
    assert not crowd.ports[0].reading


@dataclass
class Reserve:
    """Twisted's descriptor in reserve."""

    there: bool = True
    reserved: int = field(default=0)

    def available(self) -> bool:
        return self.there

    def reserve(self) -> None:
        self.reserved += 1
        self.there = True


def test_the_descriptor_in_reserve_is_taken_again_when_it_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    reserve = Reserve()
    monkeypatch.setattr("relay.doorkeeper._reservedFD", reserve)
    crowd = Crowd()
    assert reserve.reserved == 0
    reserve.there = False
    crowd.files = 95
    crowd.keeper.look()
    assert reserve.reserved == 0  # it would fail, with a traceback each second
    crowd.files = 10
    crowd.keeper.look()
    assert (reserve.reserved, reserve.there) == (1, True)


def test_twisted_still_has_the_reserve_that_is_mended() -> None:
    assert callable(_reservedFD.available)
    assert callable(_reservedFD.reserve)


def test_open_descriptors_are_counted() -> None:
    before = descriptors_open()
    with open("/dev/null"), open("/dev/null"):
        assert descriptors_open() == before + 2
