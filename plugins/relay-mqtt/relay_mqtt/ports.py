"""What the parts of the bridge tell each other: the seams that the tests stand on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from relay.extensions import Outcome, Submission


@dataclass(frozen=True, slots=True)
class Properties:
    """The properties of a message (MQTT 5, 3.3.2.3) that mean something on the other side."""

    expiry: int | None = None  #: seconds that are left of its life
    content_type: str = ""
    text: bool = False  #: its sender says that it is UTF-8
    response_topic: str = ""
    correlation: bytes = b""
    user: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message from the broker. ``number`` is its packet identifier; 0: with QoS 0 nobody waits for a PUBACK."""

    topic: str
    payload: bytes
    number: int
    again: bool = False  #: it was sent before (DUP)
    retained: bool = False  #: it is from before we subscribed
    properties: Properties = Properties()


@dataclass(frozen=True, slots=True)
class Leaving:
    """A message for the broker."""

    topic: str
    payload: bytes
    properties: Properties


@dataclass(frozen=True, slots=True)
class Welcome:
    """How the broker greets us (MQTT 5, 3.2.2)."""

    resumed: bool  #: it has kept our session, and what came meanwhile
    in_flight: int = 65_535  #: messages that it takes before it has acknowledged the first of them


@dataclass(frozen=True, slots=True)
class Answer:
    """A PUBACK (MQTT 5, 3.4.2.1)."""

    code: int
    words: str

    @property
    def taken(self) -> bool:
        return self.code < 0x80

    @property
    def for_good(self) -> bool:
        """Would the same message be refused again? Not authorized, bad topic, too large, bad payload."""
        return self.code in (0x87, 0x90, 0x95, 0x99)


class Link(Protocol):
    """One connection, from its first attempt to its end. All on the reactor's thread."""

    def open(self) -> None:
        """Connect and subscribe. Its listener is told ``connected`` and ``subscribed``, or ``lost`` instead."""

    def publish(self, leaving: Leaving) -> Deferred[Answer]:
        """Hand in a message with QoS 1. Fails with ConnectionError when the link is lost before the PUBACK."""

    def acknowledge(self, number: int) -> None:
        """Send a PUBACK. Does nothing when the link is lost."""

    def hold(self, holding: bool) -> None:
        """Read nothing more from the broker, or go on."""

    def close(self) -> None:
        """Send what waits, say goodbye and hang up, within a second. ``lost`` comes then."""


class Listener(Protocol):
    """Who is told what a link hears."""

    def connected(self, welcome: Welcome) -> None:
        """The broker has let us in. It may bring what it has kept before it has taken our subscription."""

    def subscribed(self) -> None:
        """From now on nothing is published that does not come, now or later."""

    def arrived(self, arrived: Arrived) -> None:
        """A message came."""

    def lost(self, why: str, *, taken_over: bool = False) -> None:
        """The link is no more: called exactly once. ``taken_over``: somebody else has our client id."""


class Relay(Protocol):
    """What is asked of the relay (``relay.extensions.IRelay``)."""

    reactor: Any
    limits: Any

    def wall(self) -> float: ...

    def count(self, name: str, number: int = 1) -> None: ...

    def publish(self, submission: Submission) -> Deferred[Outcome]: ...

    def attach(self, agent: str, handler: Any, lost: Any, *, max_in_flight: int) -> Deferred[Any]: ...


class Random(Protocol):
    """Chance, as ``random.Random`` has it."""

    def uniform(self, a: float, b: float, /) -> float: ...
