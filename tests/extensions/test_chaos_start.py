"""A plugin that does everything wrong when it is made, started or stopped: the relay says so in a line, or goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.daemon import START_SECONDS
from relay.extensions import (
    IAuthenticatorPlugin,
    IDeliveryListenerPlugin,
    IHttpPlugin,
    IMessageFilterPlugin,
    IMessageStorePlugin,
    IRelayServicePlugin,
)
from relay.extensions.settings import NotUsable
from tests.conftest import LoggedFailures
from tests.extensions.harms import ANYWHERE, BLOCK, HARMS, Blocking, about, covered
from tests.extensions.support import Outside, plugin
from tests.hub.support import Floor
from tests.test_daemon import House, Place, ServiceTwin

__all__ = ["covered"]

#: what makes something -> its interface, and how the relay asks for it
MAKING: dict[str, tuple[Any, Callable[[Outside], Any]]] = {
    "provider": (IAuthenticatorPlugin, lambda outside: outside.roster.providers()),
    "store": (IMessageStorePlugin, lambda outside: outside.roster.store("test:place")),
    "filter": (IMessageFilterPlugin, lambda outside: outside.roster.filters()),
    "listener": (IDeliveryListenerPlugin, lambda outside: outside.roster.connect(Floor().hub)),
    "app": (IHttpPlugin, lambda outside: outside.roster.apps()),
    "service": (IRelayServicePlugin, lambda outside: outside.roster.services()),
}


def wrong(what: str, interface: Any, harm: Callable[..., Any]) -> Any:
    made = plugin(interface)
    setattr(made, what, harm)
    return made


@about(*MAKING, harms=("raises", "hangs", "returns rubbish"))
@pytest.mark.parametrize("what", MAKING)
@pytest.mark.parametrize("harm", ANYWHERE)
def test_a_plugin_that_makes_nothing_of_use_ends_the_start_with_one_line(
    what: str, harm: str, logged_failures: LoggedFailures
) -> None:
    interface, ask = MAKING[what]
    outside = Outside([wrong(what, interface, ANYWHERE[harm])])
    with pytest.raises(NotUsable) as error:
        ask(outside)
    assert str(error.value).startswith("extensions.test: ")
    assert "\n" not in str(error.value)
    logged_failures.flush(RuntimeError)  # of "fails later": nobody takes it, and the log says so


@about(*MAKING, harms=("blocks",))
@pytest.mark.parametrize("what", MAKING)
def test_a_plugin_that_takes_its_time_in_the_making_delays_the_start(what: str) -> None:
    interface, ask = MAKING[what]
    clock = Clock()
    block = Blocking(clock)
    outside = Outside([wrong(what, interface, block)])
    with pytest.raises(NotUsable, match="made nothing"):
        ask(outside)
    assert (block.calls, clock.seconds()) == (1, BLOCK)


@about("read", harms=("raises",))
def test_a_plugin_that_breaks_at_its_table_ends_the_start_with_one_line() -> None:
    with pytest.raises(NotUsable, match=r"extensions\.test: the plugin failed: RuntimeError: chaos"):
        Outside([wrong("read", IRelayServicePlugin, ANYWHERE["raises"])])


@about("read", harms=("hangs", "returns rubbish", "blocks"))
@pytest.mark.parametrize("harm", ["hangs", "a number", "a Deferred of rubbish", "blocks"])
def test_what_a_plugin_makes_of_its_table_is_its_own_and_is_not_waited_for(harm: str) -> None:
    clock = Clock()
    block = Blocking(clock, answer="mine")
    outside = Outside([wrong("read", IRelayServicePlugin, block if harm == "blocks" else ANYWHERE[harm])])
    assert outside.roster.enlisted[0].settings is not None


# -- services


@about("startService", harms=HARMS)
@pytest.mark.parametrize("harm", [*ANYWHERE, "blocks"])
def test_a_service_that_does_not_start_ends_the_process_and_one_that_takes_its_time_delays_it(
    harm: str, logged_failures: LoggedFailures
) -> None:
    place = Place()
    house = House(place)
    service = ServiceTwin()
    service.startService = Blocking(house.clock) if harm == "blocks" else ANYWHERE[harm]  # type: ignore[method-assign]  # that is the harm
    house.service.services = [("mine", service)]
    house.start()
    house.clock.advance(START_SECONDS)
    if harm in ("a number", "a Deferred of rubbish", "blocks"):
        assert (place.listening, house.world.deaths) == (True, [])
    else:
        [why] = house.world.deaths
        assert why.startswith("cannot start: plugin mine does not start: ")
        assert not place.listening


@about("stopService", harms=HARMS)
@pytest.mark.parametrize("harm", [*ANYWHERE, "blocks"])
def test_a_service_that_does_not_stop_holds_nobody_up_for_long(harm: str, logged_failures: LoggedFailures) -> None:
    house = House(Place())
    service, other = ServiceTwin(), ServiceTwin()
    service.stopService = Blocking(house.clock) if harm == "blocks" else ANYWHERE[harm]  # type: ignore[method-assign]  # that is the harm
    house.service.services = [("mine", service), ("another", other)]
    house.start()
    service.running = True
    stopped: Deferred[None] = house.service.stopService()
    house.clock.advance(25)
    assert house.engine.is_draining and not other.running
    house.engine.draining.callback(None)
    assert house.engine.is_closed and stopped.called
    logged_failures.flush(RuntimeError)
