"""Starting and stopping in order, with an engine and doors that take as long as the test likes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from twisted.application.service import Service
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from zope.interface import implementer

from relay.core.ports import StoreRefused
from relay.daemon import START_SECONDS, Door, RelayService
from tests.conftest import LoggedFailures

LOOPBACK = IPv4Address("TCP", "127.0.0.1", 8080)
ANYWHERE = IPv4Address("TCP", "0.0.0.0", 8080)


class EngineTwin:
    """An engine whose steps end when the test says so."""

    def __init__(self) -> None:
        self.opening: Deferred[None] = Deferred()
        self.draining: Deferred[None] = Deferred()
        self.is_draining = False
        self.is_open = False
        self.is_closed = False
        self.break_down: Callable[[str], object] = print

    def start(self) -> Deferred[None]:
        def opened(_: None) -> None:
            self.is_open = True

        return self.opening.addCallback(opened)

    def drain(self) -> Deferred[None]:
        assert self.is_open
        self.is_draining = True
        return self.draining

    def close(self) -> Deferred[None]:
        self.is_closed = True
        return succeed(None)

    def on_fatal(self, call: Callable[..., object]) -> None:
        self.break_down = call


@implementer(IListeningPort)
@dataclass
class PortTwin:
    address: IAddress
    listening: bool = True

    def startListening(self) -> None: ...

    def stopListening(self) -> None:
        self.listening = False

    def getHost(self) -> IAddress:
        return self.address


@implementer(IStreamServerEndpoint)
@dataclass
class Place:
    """An endpoint that listens at ``address``, unless there is an error."""

    address: IAddress = LOOPBACK
    error: Exception | None = None
    ports: list[PortTwin] = field(default_factory=list)

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        if self.error is not None:
            return fail(self.error)
        self.ports.append(PortTwin(self.address))
        return succeed(self.ports[-1])

    @property
    def listening(self) -> bool:
        return any(port.listening for port in self.ports)


@dataclass
class World:
    """What a service told the process around it."""

    told: list[str] = field(default_factory=list)
    deaths: list[str] = field(default_factory=list)

    begun: bool = False

    def begin(self) -> None:
        self.begun = True

    def notify(self, *lines: str) -> None:
        self.told.extend(lines)

    def die(self, why: str) -> None:
        self.deaths.append(why)


class House:
    """A service with everything around it."""

    def __init__(self, *places: Place, strangers: bool = False) -> None:
        self.engine = EngineTwin()
        self.places = places or (Place(),)
        self.world = World()
        self.clock = Clock()
        doors = [Door(f"place:{number}", place) for number, place in enumerate(self.places)]
        self.service = RelayService(self.engine, Factory(), doors, self.world, self.clock, 25.0, strangers)

    @property
    def listening(self) -> list[bool]:
        return [place.listening for place in self.places]

    def start(self) -> None:
        self.service.startService()
        self.engine.opening.callback(None)


def test_no_door_opens_before_the_store_is_open() -> None:
    house = House(Place(), Place(UNIXAddress(b"/run/relay")))
    house.service.startService()
    assert house.world.begun
    assert house.listening == [False, False]
    assert not house.world.told
    house.engine.opening.callback(None)
    assert house.listening == [True, True]
    assert house.world.told == ["READY=1"]


def test_a_refused_store_opens_no_door_and_ends_the_process_with_its_reason() -> None:
    house = House()
    house.service.startService()
    house.engine.opening.errback(StoreRefused("relay.db is damaged"))
    assert house.world.deaths == ["cannot start: relay.db is damaged"]
    assert (house.listening, house.world.told) == ([False], [])


BUSY = CannotListenError("127.0.0.1", 8080, OSError(98, "Address already in use"))


def test_a_busy_port_ends_the_process_with_its_reason() -> None:
    house = House(Place(), Place(error=BUSY))
    house.start()
    (why,) = house.world.deaths
    assert "127.0.0.1:8080" in why
    assert "Address already in use" in why
    assert house.world.told == []


def test_a_socket_that_cannot_be_taken_over_ends_the_process_with_its_reason() -> None:
    house = House(Place(error=OSError(88, "Socket operation on non-socket")))
    house.start()
    assert house.world.deaths == [
        "cannot start: listen: cannot listen at place:0: [Errno 88] Socket operation on non-socket"
    ]


def test_a_socket_that_turns_out_to_be_open_to_others_is_refused_and_closed() -> None:
    house = House(Place(ANYWHERE))
    house.start()
    (why,) = house.world.deaths
    assert "--insecure-open" in why
    house.engine.draining.callback(None)
    house.service.stopService()
    assert house.listening == [False]


def test_a_socket_open_to_others_is_kept_where_that_was_asked_for() -> None:
    house = House(Place(ANYWHERE), strangers=True)
    house.start()
    assert (house.listening, house.world.deaths) == ([True], [])


def test_a_failure_that_nobody_foresaw_is_logged_and_ends_the_process(logged_failures: LoggedFailures) -> None:
    house = House()
    house.service.startService()
    house.engine.opening.errback(ZeroDivisionError("surprise"))
    assert house.world.deaths == ["cannot start: surprise"]
    assert logged_failures.flush(ZeroDivisionError)


def test_a_store_that_never_opens_is_given_up() -> None:
    house = House()
    house.service.startService()
    house.clock.advance(START_SECONDS)
    assert house.world.deaths == ["cannot start: the store did not open within 600 s"]
    assert not house.clock.getDelayedCalls()


def test_stopping_drains_with_open_doors_then_closes_them_then_the_store() -> None:
    house = House()
    house.start()
    stopped = house.service.stopService()
    assert house.world.told == ["READY=1", "STOPPING=1"]
    assert house.engine.is_draining
    assert house.listening == [True]
    assert not house.engine.is_closed
    house.engine.draining.callback(None)
    assert house.listening == [False]
    assert house.engine.is_closed
    assert stopped.called
    assert not house.clock.getDelayedCalls()


def test_stopping_in_the_middle_of_starting_waits_for_the_store_and_opens_no_door() -> None:
    house = House()
    house.service.startService()
    stopped = house.service.stopService()
    assert not stopped.called
    house.engine.opening.callback(None)
    assert stopped.called
    assert house.listening == [False]
    assert not house.engine.is_draining
    assert house.engine.is_closed
    assert house.world.told == ["STOPPING=1"]


def test_a_drain_that_hangs_is_left_alone_after_its_time() -> None:
    house = House()
    house.start()
    stopped = house.service.stopService()
    house.clock.advance(24.9)
    assert not stopped.called
    house.clock.advance(0.1)
    assert stopped.called
    assert house.engine.is_closed


def test_a_drain_that_fails_is_logged_and_the_store_is_closed_all_the_same(logged_failures: LoggedFailures) -> None:
    house = House()
    house.start()
    stopped = house.service.stopService()
    house.engine.draining.errback(ZeroDivisionError())
    assert logged_failures.flush(ZeroDivisionError)
    assert stopped.called
    assert house.engine.is_closed


def test_a_service_that_never_started_stops_at_once() -> None:
    house = House()
    assert house.service.stopService().called
    assert not house.engine.is_closed


def test_a_store_that_breaks_ends_the_process() -> None:
    house = House()
    house.start()
    house.engine.break_down("disk I/O error")
    assert house.world.deaths == ["the store failed, so this process ends: disk I/O error"]


# -- the services of plugins


class ServiceTwin(Service):
    """A plugin's service: what it says when it is started and stopped is up to the test."""

    def __init__(self, starting: object = None, stopping: object = None) -> None:
        self._says = {"start": starting, "stop": stopping}

    def _say(self, what: str) -> object:
        said = self._says[what]
        if isinstance(said, Exception):
            raise said
        return said

    def startService(self) -> object:
        Service.startService(self)
        return self._say("start")

    def stopService(self) -> object:
        Service.stopService(self)
        return self._say("stop")


def test_a_plugins_service_starts_before_the_doors_and_stops_before_the_drain() -> None:
    place = Place()
    starting: Deferred[None] = Deferred()
    service = ServiceTwin(starting)
    house = House(place)
    house.service.services = [("mine", service)]
    house.service.startService()
    assert not service.running
    house.engine.opening.callback(None)
    assert service.running and not place.listening
    starting.callback(None)
    assert place.listening
    house.service.stopService()
    assert not service.running and house.engine.is_draining


@pytest.mark.parametrize("wrong", [RuntimeError("no broker"), fail(RuntimeError("no broker")), Deferred()])
def test_a_plugins_service_that_does_not_start_ends_the_process_with_its_reason(wrong: object) -> None:
    place = Place()
    house = House(place)
    house.service.services = [("mine", ServiceTwin(wrong))]
    house.service.startService()
    house.engine.opening.callback(None)
    house.clock.advance(START_SECONDS)
    [why] = house.world.deaths
    assert why.startswith("cannot start: plugin mine does not start: ")
    assert not place.listening


def test_a_plugins_service_that_does_not_stop_is_left_alone(logged_failures: LoggedFailures) -> None:
    house = House(Place())
    house.service.services = [
        ("hangs", ServiceTwin(stopping=Deferred())),
        ("fails", ServiceTwin(stopping=ValueError("never"))),
    ]
    house.service.startService()
    house.engine.opening.callback(None)
    house.service.stopService()
    assert not house.engine.is_draining
    house.clock.advance(25)
    assert house.engine.is_draining
    assert [failure.type for failure in logged_failures.flush()] == [ValueError]
