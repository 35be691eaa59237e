"""The bridge as a service: one link after the other, and what stands on its two sides."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from relay_mqtt.backoff import LONGEST, pause
from relay_mqtt.complaints import short
from relay_mqtt.inward import Inward
from relay_mqtt.outward import Outward
from relay_mqtt.ports import Arrived, Link, Listener, Random, Relay, Welcome
from relay_mqtt.settings import Mqtt

STEADY: Final = 60.0  #: seconds after which a link is no failed attempt any more


class State(enum.Enum):
    """What the bridge is about."""

    OFF = "off"  #: not started, or stopped
    CONNECTING = "connecting"
    UP = "up"
    RESTING = "resting"  #: the link was lost, and another one is tried in a while
    LEAVING = "leaving"  #: the relay stops: what is under way is waited for, then goodbye is said


class Bridge(Service):
    """Implements Listener. ``make_link`` makes a link that tells its listener; there is one at a time."""

    log = Logger()

    def __init__(self, settings: Mqtt, relay: Relay, make_link: Callable[[Listener], Link], random: Random) -> None:
        self._settings = settings
        self._relay = relay
        self._make_link = make_link
        self._random = random
        self._clock = relay.reactor
        self._inward = Inward(settings, relay, random)
        self._outward = Outward(settings, relay, random)
        self._state = State.OFF
        self._link: Link | None = None
        self._timer: IDelayedCall | None = None
        self._resumed = False
        self._up_since = 0.0
        self._failures = 0  #: in a row
        self._why = ""  #: of the last one that was logged
        self._left: Deferred[None] | None = None

    # -- the service

    def startService(self) -> None:
        """The broker need not be there: the relay starts without it."""
        super().startService()
        self._connect()

    def stopService(self) -> Deferred[None]:
        """Let what is under way come to its end, for ``stop_seconds``; the broker, and the relay, keep the rest."""
        super().stopService()
        self._left = left = Deferred[None]()
        state, self._state = self._state, State.LEAVING
        self._cancel_timer()
        quiet = DeferredList([self._inward.stop(), self._outward.stop()])
        if state is not State.UP:
            self._goodbye()
            return left
        self._timer = self._clock.callLater(self._settings.stop_seconds, self._goodbye)
        quiet.addCallback(lambda _: self._goodbye())
        return left

    def _goodbye(self) -> None:
        """Called when all is quiet, or the time is over, whichever comes first."""
        self._cancel_timer()
        self._outward.lost()
        if self._state is State.OFF:
            return
        if self._link is None:
            self._end()
        else:
            self._link.close()

    def _end(self) -> None:
        self._state = State.OFF
        left, self._left = self._left, None
        if left is not None:
            left.callback(None)

    # -- one link after the other

    def _connect(self) -> None:
        self._timer = None
        self._state = State.CONNECTING
        self._link = self._make_link(self)
        self._link.open()

    def connected(self, welcome: Welcome) -> None:
        link = self._link
        if link is None or self._state is not State.CONNECTING:
            return
        self._resumed = welcome.resumed
        self._inward.connected(link, resumed=welcome.resumed)
        self._outward.connected(link, in_flight=welcome.in_flight)

    def subscribed(self) -> None:
        if self._state is not State.CONNECTING:
            return
        self._state, self._up_since = State.UP, self._clock.seconds()
        kept = "it kept what came" if self._resumed else "it had no session of ours"
        self.log.info("MQTT broker {broker} is reached; {kept}", broker=str(self._settings.broker), kept=kept)
        self._why = ""
        self._relay.count("connections")

    def arrived(self, arrived: Arrived) -> None:
        if self._link is not None:
            self._inward.arrived(self._link, arrived)

    def lost(self, why: str, *, taken_over: bool = False) -> None:
        was_up = self._state is State.UP
        self._link = None
        self._outward.lost()
        self._inward.lost()
        if self._state is State.LEAVING:
            self._cancel_timer()
            self._end()
            return
        if was_up and self._clock.seconds() - self._up_since >= STEADY:
            self._failures = 0
        self._failures += 1
        self._say(why, was_up)
        self._state = State.RESTING
        # Two that throw each other out would do so for ever, some times a second.
        wait = pause(self._failures, self._random, LONGEST if taken_over else 0.0)
        self._timer = self._clock.callLater(wait, self._connect)

    def _say(self, why: str, was_up: bool) -> None:
        """Once for each reason: what comes after it every minute would say nothing new."""
        if why != self._why:
            text = "MQTT broker {broker} is lost: {why}" if was_up else "MQTT broker {broker} is not reached: {why}"
            self.log.warn(text, broker=str(self._settings.broker), why=short(why))
        self._why = why

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
