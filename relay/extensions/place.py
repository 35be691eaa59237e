"""What a plugin may ask of the relay that it is part of. Implements ``IRelay``, one for each plugin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.core.access import Grant
from relay.core.limits import Limits
from relay.core.model import Outcome, Submission
from relay.core.ports import Audit, Floor
from relay.core.problems import Problem
from relay.extensions.filters import sound
from relay.extensions.health import Health
from relay.extensions.inside import Handler, InsideWire
from relay.extensions.interfaces import IRelay
from relay.extensions.tally import Tally

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class World:
    """What every plugin is given a part of. ``watch`` takes what looks often for changes, and what reads again."""

    reactor: Any
    wall: Callable[[], float]
    limits: Limits
    audit: Audit
    tally: Tally
    watch: Callable[[Call, Call], object]


@implementer(IRelay)
@dataclass(eq=False)
class Place:
    """``floor`` is set when the relay is built: before that, nothing can be published."""

    health: Health
    world: World
    floor: Floor | None = None
    wires: set[InsideWire] = field(default_factory=set)

    @property
    def reactor(self) -> Any:
        return self.world.reactor

    @property
    def limits(self) -> Limits:
        return self.world.limits

    @property
    def audit(self) -> Audit:
        return self.world.audit

    def wall(self) -> float:
        return self.world.wall()

    def watch(self, look: Call, reload: Call) -> None:
        self.world.watch(look, reload)

    def count(self, name: str, number: int = 1) -> None:
        self.world.tally.add(self.health.name, name, number)

    def publish(self, submission: Submission) -> Deferred[Outcome]:
        def submit() -> Any:
            floor = self._floor()  # before it is started nothing is right
            return floor.submit(replace(sound(None, submission, self.limits), publisher=self._name))

        return maybeDeferred(submit)

    def attach(
        self,
        agent: str,
        handler: Handler,
        lost: Callable[[Problem], object] = lambda problem: None,
        *,
        max_in_flight: int = 100,
    ) -> Deferred[Callable[[], None]]:
        seconds, clock = self.limits.ack_wait, self.reactor

        def gone(why: Problem) -> object:
            self.wires.discard(wire)
            return lost(why)

        def end() -> None:
            self.wires.discard(wire)
            wire.end()

        def begin() -> Deferred[None]:
            floor = self._floor()
            floor.admit()
            self.wires.add(wire)
            grant = Grant(self._name, agent=(agent,))
            return wire.begin(floor.converse(wire, grant=grant), max_in_flight=max_in_flight)

        def not_begun(failure: Failure) -> Failure:
            self.wires.discard(wire)
            return failure

        wire = InsideWire(agent, handler, self.health, clock, seconds=seconds, lost=gone)
        return maybeDeferred(begin).addCallbacks(lambda _: end, not_begun)

    @property
    def _name(self) -> str:
        return f"x-{self.health.name}"

    def _floor(self) -> Floor:
        if self.floor is None:
            raise Problem("overloaded", "the relay is not started yet", retry_after=1)
        return self.floor
