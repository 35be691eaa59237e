"""First sends are in the order of acceptance, whatever goes on meanwhile (protocol 2.3, Order).

The dangerous moment is a message that is on its way into the store while its agent registers, and the next one that
could go directly: it must not overtake. The moment is short, so these tests try it many times, beside other writers
who keep the store busy.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import dial, get, post, take_answer
from tests.e2e.support import Daemon
from tests.e2e.wire import Wire, text

pytestmark = pytest.mark.e2e
ROUNDS = 80


@contextmanager
def busy_store(relay: Daemon) -> Iterator[None]:
    """Somebody has large messages written all the time, so that commits take their time."""
    enough = threading.Event()

    def write() -> None:
        while not enough.wait(0.001):
            post(relay.port, "archive", b"x" * 200_000, content_type="text/plain", wait=0)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join(30)


def raw_post(agent: str, payload: bytes, wait: int) -> bytes:
    head = (
        f"POST /v1/agents/{agent}/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Prefer: wait={wait}\r\nContent-Length: {len(payload)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + payload


def test_a_message_on_its_way_into_the_store_is_not_overtaken_by_the_next(shared: Daemon) -> None:
    with busy_store(shared):
        for number in range(ROUNDS):
            agent = f"racer-{number}"
            with dial(shared.port) as first, dial(shared.port) as second:
                first.sendall(raw_post(agent, b'"first"', 10))
                # The answer to this one comes a turn of the reactor after the first was accepted, at the earliest.
                get(shared.port, "/healthz")
                with Wire(shared.port, after=text(type="register", agent=agent)) as wire:
                    second.sendall(raw_post(agent, b'"second"', 10))
                    wire.hear("registered")
                    found = [wire.hear("message") for _ in range(2)]
                    wire.say(type="ack", ids=[message["id"] for message in found])
                    answers = [take_answer(line)[0] for line in (first, second)]
            assert [message["payload"] for message in found] == ["first", "second"]
            assert [message["attempt"] for message in found] == [1, 1]
            assert {answer.status for answer in answers} == {200}
            assert [answer.json["id"] for answer in answers] == [message["id"] for message in found]


def test_what_nobody_waited_for_is_not_called_silent(shared: Daemon) -> None:
    """It was accepted without a session, so it is ``queued`` at once: no agent had the time to be silent."""
    with busy_store(shared):
        for number in range(20):
            agent = f"sudden-{number}"
            with dial(shared.port) as line:
                line.sendall(raw_post(agent, b"1", 30))
                get(shared.port, "/healthz")  # by its answer the POST was accepted, before there is a session
                with Wire(shared.port, after=text(type="register", agent=agent)) as wire:
                    wire.hear("registered")
                    wire.hear("message")
                    answer, _ = take_answer(line)
            assert answer.outcome in ("queued: away", "queued: sent", "queued: lost")


@pytest.mark.parametrize("wait", [0, 1])
def test_one_publisher_keeps_its_order_while_its_agent_comes_and_goes(shared: Daemon, wait: int) -> None:
    name, last = f"commuter-{wait}", 250
    seen: list[tuple[int, int]] = []

    def publish() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=60)
        for number in range(last + 1):
            headers = {"Content-Type": "application/json", "Prefer": f"wait={wait}"}
            connection.request("POST", f"/v1/agents/{name}/messages", str(number), headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
        connection.close()

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    acknowledged: set[int] = set()
    stay = 1
    while last not in acknowledged:
        with Agent(shared.port, name, acknowledge, max_in_flight=1 + stay % 7) as agent:
            for _ in range(stay):
                acknowledged.add(agent.next()["payload"])
                if last in acknowledged:
                    break
        seen += [(message["payload"], message["attempt"]) for message in agent.messages]
        stay = stay % 11 + 1
    thread.join(60)
    firsts = [payload for payload, attempt in seen if attempt == 1]
    assert firsts == sorted(firsts)
    assert len(firsts) == len(set(firsts))
    assert {payload for payload, _ in seen} == set(range(last + 1))


def test_publishers_side_by_side_each_keep_their_order(shared: Daemon) -> None:
    def publish(lane: int) -> None:
        for number in range(60):
            post(shared.port, "lanes", f"[{lane}, {number}]", wait=0)

    threads = [threading.Thread(target=publish, args=(lane,), daemon=True) for lane in range(4)]
    for thread in threads[:2]:
        thread.start()
    with Agent(shared.port, "lanes", acknowledge, max_in_flight=5) as agent:
        for thread in threads[2:]:
            thread.start()
        found = [message["payload"] for message in agent.take(240)]
    for thread in threads:
        thread.join(30)
    for lane in range(4):
        assert [number for at, number in found if at == lane] == list(range(60))
