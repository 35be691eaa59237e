"""Any interleaving of what publishers, agents, operators, time and the disk may do, over both stores.

Hypothesis draws the steps; the world (``world.py``) keeps the books and says what must be true after each of them, and
when everything has come to rest. ``make test`` looks at 300 runs of each store, always the same; ``make nightly`` at
10,000 others.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from relay.core.model import End as EndOfMessage
from relay.core.model import Put, Requeue, Revise
from tests.simulation.peers import End
from tests.simulation.world import NAMES, World

NIGHTLY = settings().max_examples >= 2000
RUNS = settings(
    settings(),
    max_examples=10_000 if NIGHTLY else 300,
    stateful_step_count=60,
    suppress_health_check=list(HealthCheck),
    # To make an example short takes up to five minutes, and then the watchdog ends the run without a word of it.
    phases=list(Phase) if NIGHTLY else [Phase.generate],
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


def buried(machine: FloorMachine) -> bool:
    """Did anything end that may be a dead letter? What the store has of it is asked for by the rule alone."""
    return any(end in ("expired", "rejected", "dead") for end in machine.world.over.values())


def moody(machine: FloorMachine) -> bool:
    return not machine.world.store.calm


class FloorMachine(RuleBasedStateMachine):
    kind = "memory"
    world: World

    @initialize(here=st.booleans(), window=windows, between=st.booleans())
    def begin(self, here: bool, window: int, between: bool) -> None:
        self.world = World(self.kind)
        if between:
            self.world.pass_time(0.5)  # what happens at full seconds is then between two beats of the heart
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

    # -- publishers

    @rule(
        agent=names,
        wait=st.sampled_from([0.0, 0.0, 2.0, 5.0, 30.0]),
        respond_async=st.booleans(),
        ttl=st.sampled_from([None, None, None, None, 0.0, 1.0, 4.0, 40.0]),
        topic=st.sampled_from([None, None, "t", "u"]),
        key=st.sampled_from([None, None, None, "k", "l", "new"]),
        size=st.sampled_from([0, 0, 0, 600]),
        line=st.sampled_from([False, False, True]),
    )
    def post(self, ttl: float | None, respond_async: bool, **fields: Any) -> None:
        self.world.post(ttl=ttl, respond_async=respond_async and ttl != 0, **fields)

    @precondition(someone)
    @rule(number=which, wait=st.sampled_from([0.0, 0.0, 5.0]))
    def replace_what_may_be_in_flight(self, number: int, wait: float) -> None:
        agent = self.end(number).name
        self.world.post(agent=agent, topic="t", wait=0.0)
        self.world.post(agent=agent, topic="t", wait=wait)

    @precondition(someone)
    @rule(number=which)
    def post_behind_one_that_is_saved_first(self, number: int) -> None:
        agent = self.end(number).name
        self.world.store.holding = (True, False)
        self.world.post(agent=agent, wait=5.0, key="new")
        self.world.post(agent=agent, wait=5.0)

    @rule(agent=names, count=st.integers(2, 5), ttl=st.sampled_from([None, None, 4.0]))
    def post_some(self, agent: str, count: int, ttl: float | None) -> None:
        for _ in range(count):
            self.world.post(agent=agent, wait=0.0, ttl=ttl)

    @rule(
        lines=st.lists(
            st.fixed_dictionaries(
                {
                    "agent": names,
                    "wait": st.sampled_from([0.0, 5.0]),
                    "ttl": st.sampled_from([None, None, 4.0]),
                    "topic": st.sampled_from([None, None, None, "t"]),
                }
            ),
            min_size=2,
            max_size=6,
        )
    )
    def post_together(self, lines: list[dict[str, Any]]) -> None:
        self.world.post_together(lines)

    @precondition(lambda self: any(parcel.submission.key is not None for parcel in self.world.parcels))
    @rule(number=which, wait=st.sampled_from([0.0, 5.0]))
    def repeat(self, number: int, wait: float) -> None:
        keyed = [parcel for parcel in self.world.parcels if parcel.submission.key is not None]
        parcel = keyed[-1 - number % len(keyed)]
        self.world.repeat(parcel, replace(parcel.submission, wait=wait))

    @precondition(lambda self: self.world.store.calm and self.world.keyed_and_sent())
    @rule(number=which)
    def repeat_at_a_full_queue(self, number: int) -> None:
        sent = self.world.keyed_and_sent()
        self.world.repeat_at_a_full_queue(sent[-1 - number % len(sent)])

    # -- agents

    @rule(
        name=names,
        window=windows,
        batch=st.booleans(),
        ack_wait=st.sampled_from([0.0, 3.0, 30.0]),
        polls=st.sampled_from([False, False, True]),
    )
    def connect(self, name: str, window: int, polls: bool, batch: bool, ack_wait: float) -> None:
        self.world.connect(name, window, polls=polls, batch=batch and not polls, ack_wait=ack_wait)

    @precondition(someone)
    @rule(
        number=which,
        window=windows,
        batch=st.booleans(),
        ack_wait=st.sampled_from([0.0, 3.0, 30.0]),
        which=st.sampled_from(["own", "own", "taken over", "wrong"]),
    )
    def resume(self, number: int, window: int, which: str, **fields: Any) -> None:
        """By the name of the holder's session, or of the one that it took over; a wrong one is worth nothing."""
        end = self.end(number)
        session = {"own": end.session, "taken over": end.took_over, "wrong": "wrong"}[which]
        self.world.resume(end, window, session or "wrong", **fields)

    @precondition(someone)
    @rule(number=which, window=windows)
    def resume_twice(self, number: int, window: int) -> None:
        """What it was answered was lost: it comes again by the name that it knows."""
        end = self.end(number)
        again = self.world.resume(end, window, end.session)
        if again.live:
            self.world.resume(again, window, end.session)

    @precondition(someone)
    @rule(number=which, window=windows, orderly=st.booleans())
    def end_each_time(self, number: int, window: int, orderly: bool) -> None:
        """A poisonous message, or a bad machine; or an agent that takes a look and goes."""
        self.world.end_each_time(self.end(number), window, orderly)

    @precondition(someone)
    @rule(number=which, code=st.sampled_from([1000, 1001, 1011, None]))
    def leave(self, number: int, code: int | None) -> None:
        if code in (1000, 1001):
            self.end(number).end(code)
        else:
            self.world.crash(self.end(number))

    @precondition(someone)
    @rule(number=which, window=windows, orderly=st.booleans(), by_name=st.booleans())
    def come_back(self, number: int, window: int, orderly: bool, by_name: bool) -> None:
        end = self.end(number)
        if orderly:
            end.end(1000)
        else:
            self.world.crash(end)
        session = end.session if by_name else "wrong"
        self.world.connect(end.name, window, resume=session)

    @precondition(in_flight)
    @rule(number=which, window=windows, slowly=st.booleans())
    def come_back_with_acks(self, number: int, window: int, slowly: bool) -> None:
        """What it had, it did while it was away."""
        if slowly:
            self.world.store.holding = (self.world.store.holding[0], True)
        self.world.come_back_with_acks(self.end(number, busy=True), window)

    @precondition(in_flight)
    @rule(number=which, first=which, count=st.integers(1, 4), confirm=st.booleans())
    def ack(self, number: int, first: int, count: int, confirm: bool) -> None:
        end = self.end(number, busy=True)
        ids = list(end.outstanding)
        start = first % len(ids)
        self.world.ack(end, ids[start : start + count], **({"confirm": True} if confirm else {}))

    @precondition(in_flight)
    @rule(number=which)
    def reply(self, number: int) -> None:
        end = self.end(number, busy=True)
        self.world.ack(end, list(end.outstanding)[:1], reply={"n": 1})

    @precondition(in_flight)
    @rule(number=which)
    def ack_all(self, number: int) -> None:
        end = self.end(number, busy=True)
        self.world.ack(end, end.outstanding)

    @precondition(seen)
    @rule(number=which, first=which)
    def ack_late_or_twice(self, number: int, first: int) -> None:
        """Of any message that the agent ever saw, from whichever of its sessions."""
        end = self.end(number)
        if ids := self.world.seen_by(end):
            self.world.ack(end, [ids[-1 - first % len(ids)]], confirm=True)

    @precondition(in_flight)
    @rule(number=which, first=which, requeue=st.booleans(), delay=st.sampled_from([None, 0.0, 3.0, 50.0]))
    def nack(self, number: int, first: int, requeue: bool, delay: float | None) -> None:
        end = self.end(number, busy=True)
        ids = list(end.outstanding)
        self.world.nack(end, ids[first % len(ids)], requeue=requeue, **({} if delay is None else {"delay": delay}))

    @precondition(seen)
    @rule(number=which, first=which)
    def nack_late(self, number: int, first: int) -> None:
        end = self.end(number)
        if ids := self.world.seen_by(end):
            self.world.nack(end, ids[-1 - first % len(ids)], delay=3.0)

    @precondition(in_flight)
    @rule(number=which)
    def progress(self, number: int) -> None:
        self.world.progress(self.end(number, busy=True))

    @precondition(in_flight)
    @rule(number=which)
    def work_long(self, number: int) -> None:
        """Longer than may be without a word, and say so in time."""
        self.world.work_long(self.end(number, busy=True))

    @precondition(someone)
    @rule(number=which, window=st.sampled_from([0, 1, 2, 1000]))
    def window(self, number: int, window: int) -> None:
        end = self.end(number)
        if end.live:
            end.window = window
            end.say("window", max_in_flight=window)

    @precondition(someone)
    @rule(number=which)
    def stall_or_take(self, number: int) -> None:
        wire = self.end(number).wire
        wire.stalled = not wire.stalled
        if not wire.stalled:
            wire.take()

    @precondition(someone)
    @rule(number=which)
    def fall_silent(self, number: int) -> None:
        end = self.end(number)
        end.answers_pings = not end.answers_pings

    @precondition(lambda self: any(end.registered and end.wire.kind == "poll" for end in self.world.ends))
    @rule(number=which)
    def call_or_hang_up(self, number: int) -> None:
        """An agent that polls."""
        polls = [end for end in self.world.ends if end.registered and end.wire.kind == "poll"]
        self.world.call_or_hang_up(polls[number % len(polls)])

    # -- operators

    @precondition(named)
    @rule(number=which, slowly=st.booleans())
    def cancel(self, number: int, slowly: bool) -> None:
        if slowly:
            self.world.store.holding = (True, self.world.store.holding[1])
        known = [parcel.id for parcel in self.world.parcels if parcel.id is not None]
        self.world.cancel(known[-1 - number % len(known)])

    @precondition(named)
    @rule(name=names)
    def empty(self, name: str) -> None:
        self.world.empty(name)

    @precondition(someone)
    @rule(name=names)
    def disconnect(self, name: str) -> None:
        self.world.floor.hub.disconnect(name)

    @precondition(lambda self: self.world.store.calm and buried(self))
    @rule(number=which, times=st.sampled_from([1, 2]), here=st.booleans())
    def requeue(self, number: int, times: int, here: bool) -> None:
        """Perhaps its agent comes for it."""
        if letters := self.world.letters():
            letter = letters[number % len(letters)]
            if here:
                self.world.connect(letter.record.message.agent, 1000)
            self.world.requeue(letter.past.id, times=times)

    @precondition(buried)
    @rule(number=which)
    def discard(self, number: int) -> None:
        if letters := self.world.letters():
            self.world.asked(self.world.floor.hub.discard(letters[number % len(letters)].past.id))

    @precondition(named)
    @rule(number=which, wait=st.sampled_from([0.0, 10.0]))
    def look(self, number: int, wait: float) -> None:
        known = [parcel.id for parcel in self.world.parcels if parcel.id is not None]
        self.world.look(known[-1 - number % len(known)], wait)

    # -- time, and the disk

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 6.0, 31.0, 95.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(writes=st.booleans(), reads=st.booleans())
    def hold(self, writes: bool, reads: bool) -> None:
        self.world.store.holding = (writes, reads)

    @precondition(lambda self: self.world.store.held)
    @rule(count=st.integers(1, 3))
    def let_through(self, count: int) -> None:
        self.world.store.let_through(count)

    @rule(kinds=st.sampled_from(KINDS), reads=st.booleans())
    def fail(self, kinds: tuple[type, ...], reads: bool) -> None:
        self.world.store.failing, self.world.store.reads_fail = kinds, reads

    @precondition(moody)
    @rule()
    def heal(self) -> None:
        self.world.store.heal()

    # One rule: three would end the process every few steps, and little grows old in a run.
    @rule(how=st.sampled_from(["killed", "killed", "told to end", "broken disk"]), found=st.integers(0, 3))
    def the_process_ends(self, how: str, found: int) -> None:
        """And comes back. Of the writes under way the first ``found`` are on the disk."""
        if how == "killed":
            self.world.kill(found)
        elif how == "broken disk":
            self.world.breaks(found)
        elif self.world.parcels:
            self.world.stop(acks=found > 1)


class FloorOverSqlite(FloorMachine):
    kind = "sqlite"


@pytest.mark.parametrize("machine", [FloorMachine, FloorOverSqlite], ids=["memory", "sqlite"])
def test_whatever_happens_nothing_is_lost_doubled_misdirected_or_leaked(machine: type[FloorMachine]) -> None:
    run_state_machine_as_test(machine, settings=RUNS)
