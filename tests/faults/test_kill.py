"""``kill -9`` at random moments, while four publishers post and twenty agents come and go; and SIGTERM likewise.

The moment of a kill is a random number of answers after the start, so that it depends on nothing but the seed and the
work done. Whoever loses the connection comes back when the relay does. At the end everybody's notes are compared:

* every message that was answered ``queued`` or ``delivered`` was received and acknowledged by its agent in the end;
* what is ``delivered`` had been acknowledged before the answer;
* an id stands for one payload, however often it came, and a payload for one id;
* nobody received what was meant for somebody else, or what nobody had posted.

``RELAY_KILL_ROUNDS`` says how often the relay is killed (``make nightly`` sets it higher), ``RELAY_KILL_SEED`` begins
another story.
"""

from __future__ import annotations

import json
import os
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agents import raw_payload
from tests.e2e.door import get, post, settle
from tests.e2e.support import Daemon
from tests.e2e.wire import Ended, Wire

pytestmark = [pytest.mark.e2e, pytest.mark.faults]
ROUNDS = int(os.environ.get("RELAY_KILL_ROUNDS", "6"))
SEED = int(os.environ.get("RELAY_KILL_SEED", "1"))
PUBLISHERS = 4
AGENTS = [f"agent-{number}" for number in range(20)]
PATIENCE = 60.0  #: seconds, for a thread to end and for the next answers
SILENCE = 25.0  #: seconds without a word from the relay, which still owes something; less than a heartbeat


class Notes:
    """What everybody saw, put down in one place."""

    def __init__(self) -> None:
        self.posted: dict[str, str] = {}  #: payload -> agent, before it was sent
        self.answered: dict[str, tuple[str, str, str]] = {}  #: id -> (agent, payload, status)
        self.received: dict[str, set[tuple[str, str]]] = defaultdict(set)  #: id -> {(agent, payload)}
        self.acknowledged: set[str] = set()  #: put down before the ACK was sent
        self.failures: list[str] = []
        self._lock = threading.Condition()

    def post(self, agent: str, payload: str) -> None:
        with self._lock:
            self.posted[payload] = agent

    def answer(self, told: dict[str, Any], payload: str) -> None:
        with self._lock:
            if told["id"] in self.answered:
                self.failures.append(f"two messages were given the id {told['id']}")
            if told["status"] == "delivered" and told["id"] not in self.acknowledged:
                self.failures.append(f"{told['id']} is delivered, and nobody acknowledged it")
            self.answered[told["id"]] = (told["agent"], payload, told["status"])
            self._lock.notify_all()

    def receive(self, agent: str, message_id: str, payload: str) -> None:
        with self._lock:
            self.received[message_id].add((agent, payload))

    def acknowledge(self, message_id: str) -> None:
        with self._lock:
            self.acknowledged.add(message_id)

    def wait_for_answers(self, count: int) -> None:
        """Return once so many were answered in all."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self.answered) >= count, PATIENCE), "the relay answers nobody"

    def open(self, agent: str) -> set[str]:
        """Ids that were answered for that agent, and that it did not acknowledge yet."""
        with self._lock:
            return {found for found, (owner, *_) in self.answered.items() if owner == agent} - self.acknowledged


class Crowd:
    """Publishers and agents, each a thread that goes on until it is told to stop."""

    def __init__(self, daemon: Daemon, notes: Notes, seed: int) -> None:
        self._daemon = daemon
        self._notes = notes
        self.up = threading.Event()
        self._over = threading.Event()
        publishers = [(self._publish, number) for number in range(PUBLISHERS)]
        agents = [(self._attend, name) for name in AGENTS]
        self._threads = [
            threading.Thread(target=self._repeat, args=(work, who, random.Random(f"{seed} {who}")), daemon=True)
            for work, who in [*publishers, *agents]
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        self.up.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _repeat(self, work: Any, who: Any, chance: random.Random) -> None:
        while not self._over.is_set():
            try:
                if self.up.wait(PATIENCE):
                    work(who, chance)
            except (OSError, Ended, HTTPException):
                self._over.wait(0.02)  # killed under our hands: not to spin until it is back
            except BaseException as error:
                self._notes.failures.append(f"{who}: {error!r}")
                raise

    def _publish(self, number: int, chance: random.Random) -> None:
        agent = chance.choice(AGENTS)
        mark = f"{number}-{chance.getrandbits(64):x}"
        payload = json.dumps({"for": agent, "mark": mark, "fill": "é" * chance.choice([0, 10, 500, 5000])})
        self._notes.post(agent, payload)
        answer = post(self._daemon.port, agent, payload, wait=chance.choice([0, 0, 1]))
        if answer.status == 200:
            self._notes.answer(answer.json, payload)
        elif answer.status != 503:
            self._notes.failures.append(f"{answer.status}: {answer.body!r}")

    def _attend(self, agent: str, chance: random.Random) -> None:
        """One visit: take some messages, acknowledge most of them, and leave in one of three ways."""
        with Wire(self._daemon.port, timeout=0.3) as wire:
            wire.register(agent, max_in_flight=chance.choice([1, 3, 100]))
            for _ in range(chance.randrange(1, 40)):
                try:
                    frame = wire.raw()
                except TimeoutError:
                    break
                self._handle(wire, agent, frame, chance)
            if chance.random() < 0.8:
                wire.close()
        self._over.wait(chance.random() * 0.2)

    def _handle(self, wire: Wire, agent: str, frame: bytes, chance: random.Random) -> None:
        message = json.loads(frame)
        if message["type"] != "message":
            self._notes.failures.append(f"{agent} was told {message}")
            return
        self._notes.receive(agent, message["id"], raw_payload(frame).decode())
        mood = chance.random()
        if mood < 0.8:
            self._notes.acknowledge(message["id"])
            wire.say(type="ack", id=message["id"])
        elif mood < 0.9:
            wire.say(type="nack", id=message["id"], delay=chance.choice([0, 0, 1]))


@contextmanager
def crowd(daemon: Daemon, notes: Notes) -> Iterator[Crowd]:
    people = Crowd(daemon, notes, SEED)
    people.start()
    try:
        yield people
    finally:
        people.stop()


def drain(daemon: Daemon, notes: Notes, agent: str) -> None:
    """Take and acknowledge all that is there, until nothing is owed to that agent."""
    owed = notes.open(agent)
    with Wire(daemon.port, timeout=SILENCE) as wire:
        waiting = wire.register(agent)["queued"]
        seen: set[str] = set()
        while owed or len(seen) < waiting:
            try:
                frame = wire.raw()
            except TimeoutError:
                raise AssertionError(f"{agent} never got {owed}; {len(seen)} of {waiting} came") from None
            message = json.loads(frame)
            notes.receive(agent, message["id"], raw_payload(frame).decode())
            notes.acknowledge(message["id"])
            wire.say(type="ack", id=message["id"])
            owed.discard(message["id"])
            seen.add(message["id"])
        wire.barrier()
    settle(daemon.port)
    assert get(daemon.port, f"/v1/agents/{agent}").json["queued"] == 0


def compare(notes: Notes) -> None:
    """Hold the relay to its word."""
    assert notes.failures == []
    for message_id, (agent, payload, status) in notes.answered.items():
        assert (agent, payload) in notes.received[message_id], f"{message_id} was {status}, and {agent} never got it"
        assert message_id in notes.acknowledged
    marks: dict[str, str] = {}
    for message_id, copies in notes.received.items():
        assert len(copies) == 1, f"{message_id} came as different things: {copies}"
        ((agent, payload),) = copies
        assert notes.posted.get(payload) == agent, f"{agent} got {payload!r}"
        assert marks.setdefault(payload, message_id) == message_id, f"{payload!r} came under two ids"


def kill(daemon: Daemon) -> None:
    daemon.kill()


def stop_in_order(daemon: Daemon) -> None:
    assert daemon.terminate() == 0


@pytest.mark.parametrize(("end", "rounds"), [(kill, ROUNDS), (stop_in_order, ROUNDS // 2)], ids=["killed", "stopped"])
def test_nothing_that_was_answered_is_lost_when_the_relay_is(
    tmp_path: Path, end: Callable[[Daemon], None], rounds: int
) -> None:
    chance, notes = random.Random(SEED), Notes()
    with Daemon(tmp_path) as daemon:
        with crowd(daemon, notes) as people:
            for _ in range(rounds):
                people.up.set()
                notes.wait_for_answers(len(notes.answered) + chance.randrange(5, 150))
                people.up.clear()
                end(daemon)
                daemon.start()
            people.up.set()
            notes.wait_for_answers(len(notes.answered) + 50)
        for agent in AGENTS:
            drain(daemon, notes, agent)
        assert daemon.terminate() == 0
    compare(notes)
    assert not daemon.complaints(), daemon.past
    statuses = [status for _, _, status in notes.answered.values()]
    assert min(statuses.count("queued"), statuses.count("delivered")) > 10, "the story was too dull to show anything"
