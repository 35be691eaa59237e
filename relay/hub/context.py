"""What every part of the floor shares: time, chance, limits, the ledger, and the next place in the order."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from relay.core import ids
from relay.core.counters import Counters
from relay.core.limits import Limits
from relay.core.model import Put
from relay.core.ports import Audit
from relay.hub.acks import Crowd
from relay.hub.chronicle import Chronicle
from relay.hub.ledger import Ledger
from relay.hub.patience import Patience
from relay.hub.pressure import Pressure

if TYPE_CHECKING:
    from relay.hub.screen import Screen

CHANCES = 64  #: asked for at a time: the kernel's are a system call each time


@dataclass(slots=True)
class Context:
    """Made once by the hub and handed to its parts. Times: ``clock`` is monotonic, ``wall`` is Unix time."""

    clock: IReactorTime
    wall: Callable[[], float]
    random: random.Random
    limits: Limits
    ledger: Ledger
    pressure: Pressure
    chronicle: Chronicle
    audit: Audit
    patience: Patience  #: the clock of those who wait for an ACK
    crowd: Crowd = field(default_factory=Crowd)
    counters: Counters = field(default_factory=Counters)
    on_the_way: dict[str, Put] = field(default_factory=dict)  #: to the store, in a parcel, by id
    last_place: int = 0
    draining: bool = False
    ack_timeout: float = 5.0  #: seconds, the publishers' default wait
    callback_hosts: frozenset[str] = frozenset()  #: hosts that callbacks may go to
    key_secret: bytes = b""  #: ids of messages with a key are derived with it, and sessions' names proved

    screen: Screen | None = None  #: filters before a message is sent, if there are any

    tails: list[str] = field(default_factory=list)  #: of ids to come

    def next_place(self) -> int:
        """A place in the order: higher than any before."""
        self.last_place += 1
        return self.last_place

    def next_places(self, count: int) -> range:
        """So many of them."""
        first = self.last_place + 1
        self.last_place += count
        return range(first, first + count)

    def message_id(self, now: float) -> str:
        """The id of a message of Unix time ``now``."""
        if not self.tails:
            self.tails = ids.tails(CHANCES, self.random.getrandbits)
        return ids.head(int(now * 1000)) + self.tails.pop()

    def message_ids(self, count: int, now: float) -> list[str]:
        """So many at once, of Unix time ``now``."""
        return ids.message_ids(now, count, self.random.getrandbits)

    def session_name(self, agent: str) -> str:
        """An unguessable name for a session of that agent."""
        return ids.session_name(self.key_secret, agent, self.random.getrandbits(128))

    def given(self, agent: str, name: str | None) -> str | None:
        """That name, if it was given to a session of that agent."""
        return name if name is not None and ids.is_session_name(self.key_secret, agent, name) else None
