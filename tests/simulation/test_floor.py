"""Any interleaving of what publishers, agents, operators, time and the disk may do, over both stores.

Hypothesis draws the steps; the world (``world.py``) keeps the books and says what must be true after each of them, and
when everything has come to rest. ``make test`` looks at 300 runs of each store, always the same; ``make nightly`` at
10,000 others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from relay.core.model import End as EndOfMessage
from relay.core.model import Put, Requeue, Revise
from tests.simulation.world import NAMES, End, World

NIGHTLY = settings().max_examples >= 2000
RUNS = settings(
    settings(),
    max_examples=10_000 if NIGHTLY else 300,
    stateful_step_count=60,
    suppress_health_check=list(HealthCheck),
)

names = st.sampled_from([NAMES[0], *NAMES])  # one of them is busier than the others
which = st.integers(0, 9)
windows = st.sampled_from([1, 2, 3, 1000])
ALL = (Put, EndOfMessage, Revise, Requeue)
KINDS: list[tuple[type, ...]] = [(Put,), (EndOfMessage,), (Revise,), (Put, Requeue), ALL]


def someone(machine: FloorMachine) -> bool:
    """Is anybody registered?"""
    return any(end.registered for end in machine.world.ends)


def in_flight(machine: FloorMachine) -> bool:
    return any(end.outstanding for end in machine.world.ends)


def seen(machine: FloorMachine) -> bool:
    """Was anything ever sent, and is there somebody who may speak of it?"""
    return someone(machine) and any(parcel.sent for parcel in machine.world.parcels)


def named(machine: FloorMachine) -> bool:
    return any(parcel.id is not None for parcel in machine.world.parcels)


def moody(machine: FloorMachine) -> bool:
    return not machine.world.store.calm


class FloorMachine(RuleBasedStateMachine):
    kind = "memory"
    world: World

    @initialize(here=st.booleans(), window=windows)
    def begin(self, here: bool, window: int) -> None:
        self.world = World(self.kind)
        if here:
            self.world.connect(NAMES[0], window)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.world.come_to_rest()
        finally:
            self.world.bury()

    @invariant()
    def what_must_be_true(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def end(self, number: int, *, busy: bool = False) -> End:
        """One of the connections; a ``busy`` one has something in flight."""
        ends = [end for end in self.world.ends if end.registered and (end.outstanding or not busy)]
        return ends[number % len(ends)]

