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

names = st.sampled_from(NAMES)
which = st.integers(0, 9)
windows = st.sampled_from([1, 2, 3, 1000])
ALL = (Put, EndOfMessage, Revise, Requeue)
KINDS: list[tuple[type, ...]] = [(Put,), (EndOfMessage,), (Revise,), (Put, Requeue), ALL]


class FloorMachine(RuleBasedStateMachine):
    kind = "memory"
    world: World

    @initialize()
    def begin(self) -> None:
        self.world = World(self.kind)

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

    def end(self, number: int) -> End | None:
        """One of the connections."""
        ends = [end for end in self.world.ends if end.registered and not end.lost]
        return ends[number % len(ends)] if ends else None

    # -- publishers

    @rule(
        agent=names,
        wait=st.sampled_from([0.0, 2.0, 5.0, 30.0]),
        respond_async=st.booleans(),
        ttl=st.sampled_from([None, None, None, None, 0.0, 1.0, 4.0, 40.0]),
        topic=st.sampled_from([None, None, "t", "u"]),
        key=st.sampled_from([None, None, None, "k", "l"]),
        size=st.sampled_from([0, 0, 0, 600]),
    )
    def post(self, ttl: float | None, respond_async: bool, **fields: Any) -> None:
        self.world.post(ttl=ttl, respond_async=respond_async and ttl != 0, **fields)

    @rule(agent=names, count=st.integers(2, 5), wait=st.sampled_from([0.0, 5.0]))
    def post_some(self, agent: str, count: int, wait: float) -> None:
        for _ in range(count):
            self.world.post(agent=agent, wait=wait)

    @rule(number=which, wait=st.sampled_from([0.0, 5.0]))
    def repeat(self, number: int, wait: float) -> None:
        keyed = [parcel for parcel in self.world.parcels if parcel.submission.key is not None]
        if keyed:
            parcel = keyed[number % len(keyed)]
            self.world.repeat(parcel, replace(parcel.submission, wait=wait))

    # -- agents

    @rule(name=names, window=windows, batch=st.booleans(), ack_wait=st.sampled_from([0.0, 3.0, 30.0]), resume=which)
    def connect(self, name: str, window: int, resume: int, **fields: Any) -> None:
        old = [end.session for end in self.world.ends if end.name == name and end.registered]
        if old and resume < 5:
            fields["resume"] = old[-1]
        self.world.connect(name, window, **fields)

    @rule(number=which, code=st.sampled_from([1000, 1001, 1011, None]))
    def leave(self, number: int, code: int | None) -> None:
        if (end := self.end(number)) is not None:
            if code in (1000, 1001):
                end.end(code)
            else:
                self.world.crash(end)

    @rule(number=which, first=which, count=st.integers(1, 4), reply=st.booleans(), confirm=st.booleans())
    def ack(self, number: int, first: int, count: int, reply: bool, confirm: bool) -> None:
        if (end := self.end(number)) is None or not end.outstanding:
            return
        ids = list(end.outstanding)
        start = first % len(ids)
        fields: dict[str, Any] = {"confirm": True} if confirm else {}
        if reply:
            self.world.ack(end, ids[start : start + 1], reply={"n": 1}, **fields)
        else:
            self.world.ack(end, ids[start : start + count], **fields)

    @rule(number=which)
    def ack_all(self, number: int) -> None:
        if (end := self.end(number)) is not None and end.outstanding:
            self.world.ack(end, end.outstanding)

    @rule(number=which, first=which)
    def ack_late_or_twice(self, number: int, first: int) -> None:
        """Of any message that the agent ever saw, from whichever of its sessions."""
        if (end := self.end(number)) is None:
            return
        seen = [p.id for p in self.world.parcels if p.sent and p.id is not None and p.submission.agent == end.name]
        if seen:
            self.world.ack(end, [seen[-1 - first % len(seen)]], confirm=True)

    @rule(number=which, first=which, requeue=st.booleans(), delay=st.sampled_from([None, 0.0, 3.0, 50.0]))
    def nack(self, number: int, first: int, requeue: bool, delay: float | None) -> None:
        if (end := self.end(number)) is not None and end.outstanding:
            ids = list(end.outstanding)
            self.world.nack(end, ids[first % len(ids)], requeue=requeue, **({} if delay is None else {"delay": delay}))

    @rule(number=which, first=which)
    def nack_late(self, number: int, first: int) -> None:
        if (end := self.end(number)) is None:
            return
        seen = [p.id for p in self.world.parcels if p.sent and p.id is not None and p.submission.agent == end.name]
        if seen:
            self.world.nack(end, seen[-1 - first % len(seen)], delay=3.0)

    @rule(number=which)
    def progress(self, number: int) -> None:
        if (end := self.end(number)) is not None:
            end.say("progress", ids=list(end.outstanding))

    @rule(number=which, window=st.sampled_from([0, 1, 2, 1000]))
    def window(self, number: int, window: int) -> None:
        if (end := self.end(number)) is not None and end.live:
            end.window = window
            end.say("window", max_in_flight=window)

    @rule(number=which, stalled=st.booleans())
    def stall(self, number: int, stalled: bool) -> None:
        if (end := self.end(number)) is not None:
            end.wire.stalled = stalled
            if not stalled:
                end.wire.take()

    @rule(number=which, answers=st.booleans())
    def fall_silent(self, number: int, answers: bool) -> None:
        if (end := self.end(number)) is not None:
            end.answers_pings = answers

    # -- operators

    @rule(number=which)
    def cancel(self, number: int) -> None:
        known = [parcel.id for parcel in self.world.parcels if parcel.id is not None]
        if known:
            self.world.asked(self.world.floor.hub.cancel(known[-1 - number % len(known)]))

    @rule(name=names)
    def empty(self, name: str) -> None:
        self.world.asked(self.world.floor.hub.empty(name))

    @rule(name=names)
    def disconnect(self, name: str) -> None:
        self.world.floor.hub.disconnect(name)

    @precondition(lambda self: self.world.store.calm)
    @rule(number=which)
    def requeue(self, number: int) -> None:
        if letters := self.world.letters():
            self.world.requeue(letters[number % len(letters)].past.id)

    @rule(number=which)
    def discard(self, number: int) -> None:
        if letters := self.world.letters():
            self.world.asked(self.world.floor.hub.discard(letters[number % len(letters)].past.id))

    @rule(number=which, wait=st.sampled_from([0.0, 10.0]))
    def look(self, number: int, wait: float) -> None:
        known = [parcel.id for parcel in self.world.parcels if parcel.id is not None]
        if known:
            self.world.asked(self.world.floor.hub.message(known[-1 - number % len(known)], wait=wait))

    # -- time, and the disk

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 6.0, 31.0, 95.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(writes=st.booleans(), reads=st.booleans())
    def hold(self, writes: bool, reads: bool) -> None:
        self.world.store.holding = (writes, reads)

    @rule(count=st.integers(1, 3))
    def let_through(self, count: int) -> None:
        self.world.store.let_through(count)

    @rule(kinds=st.sampled_from(KINDS), reads=st.booleans())
    def fail(self, kinds: tuple[type, ...], reads: bool) -> None:
        self.world.store.failing, self.world.store.reads_fail = kinds, reads

    @rule()
    def heal(self) -> None:
        self.world.store.heal()

    @rule(found=st.integers(0, 3))
    def kill(self, found: int) -> None:
        self.world.kill(found)


class FloorOverSqlite(FloorMachine):
    kind = "sqlite"


@pytest.mark.parametrize("machine", [FloorMachine, FloorOverSqlite], ids=["memory", "sqlite"])
def test_whatever_happens_nothing_is_lost_doubled_misdirected_or_leaked(machine: type[FloorMachine]) -> None:
    run_state_machine_as_test(machine, settings=RUNS)
