"""Noise at both doors, by chance and by seed: nothing but documented answers, no trace in the log, nobody disturbed.

Sound requests and frames are taken, and spoiled in one to four places: a byte is changed, some are taken away, doubled
or swapped, or something is put in that parsers are known to trip over. ``RELAY_FUZZ_ROUNDS`` says how many are tried.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.bystander import undisturbed
from tests.e2e.door import dial, parse_head, rest_of
from tests.e2e.support import Daemon
from tests.e2e.wire import CONTINUATION, PING, PONG, Ended, Wire, frame, upgrade

pytestmark = [pytest.mark.e2e, pytest.mark.faults]
ROUNDS = int(os.environ.get("RELAY_FUZZ_ROUNDS", "300"))
MIB = 1024 * 1024
HASTE = {
    "RELAY_LIMITS_HEAD_SECONDS": "1",
    "RELAY_LIMITS_IDLE_SECONDS": "1",
    "RELAY_LIMITS_BODY_GRACE": "0.3",
    "RELAY_LIMITS_REGISTER_SECONDS": "1",
    "RELAY_LIMITS_MESSAGE_SECONDS": "0.3",
}
TRIPWIRES = [
    b"\r\n", b"\n", b"\r", b"\0", b"\xff", b":", b" ", b"\t", b"%", b"%2e", b"%00", b"%zz", b"..", b"//", b"?", b"#",
    b"chunked", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n", b"Content-Length: 99\r\n", b"Host: x\r\n",
    b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"HTTP/1.0", b"HTTP/9.9", b"-1", b"0x10", b"1e9", b"NaN",
    b"\xef\xbb\xbf", b"\xed\xa0\x80", b'"', b"{", b"[" * 200, b"null", b'"\\ud800"', b"9" * 50, b"x" * 3000,
]  # fmt: skip
CLOSE_CODES = {1000, 1002, 1003, 1005, 1006, 1007, 1009, 4000, 4002, 4004}


def spoil(data: bytes, chance: random.Random) -> bytes:
    """The same with one to four mistakes in it."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(found) + 1)
        size = chance.choice([1, 1, 2, 5, 20])
        match chance.randrange(5):
            case 0:
                found[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del found[at : at + size]
            case 2:
                found[at:at] = found[at : at + size]
            case 3:
                other = chance.randrange(len(found) + 1)
                found[at : at + size], found[other : other + size] = found[other : other + size], found[at : at + size]
            case _:
                found[at:at] = chance.choice(TRIPWIRES)
    return bytes(found)


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A hasty relay, beside which a bystander goes about its business all the time."""
    with Daemon(tmp_path_factory.mktemp("relay"), environment=HASTE) as daemon:
        before = daemon.resident()
        with undisturbed(daemon):
            yield daemon
        assert daemon.resident() - before < 64 * MIB
    assert not daemon.complaints(), daemon.past


def sound_requests(port: int) -> list[bytes]:
    head = "POST /v1/agents/fuzz/messages HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=0\r\n"
    return [
        f"{head}Content-Type: application/json\r\nContent-Length: 14\r\n\r\n".encode() + b'{"a": [1, 2]}\n',
        f"{head}Content-Type: text/plain; charset=utf-8\r\nContent-Length: 7\r\n\r\n".encode() + "grüße".encode(),
        f"{head}Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".encode(),
        b"GET /v1/agents?limit=10&prefix=a&connected=true HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /v1/agents/fuzz HTTP/1.1\r\nHost: [::1]:80\r\nOrigin: http://[::1]:80\r\n\r\n",
        b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" * 3,
        upgrade(port),
    ]


def test_spoiled_requests_get_documented_answers(relay: Daemon) -> None:
    def attempt(number: int) -> str:
        chance = random.Random(f"request {number}")
        noise = spoil(chance.choice(sound_requests(relay.port)), chance)
        with dial(relay.port) as line:
            line.sendall(noise)
            came = rest_of(line)
        if not came:
            return ""
        answer = parse_head(came.partition(b"\r\n\r\n")[0])
        sound = answer.status < 500 and b"Traceback" not in came
        return "" if sound else f"{number}: {noise!r} got {came!r}"

    with ThreadPoolExecutor(8) as pool:
        assert list(filter(None, pool.map(attempt, range(ROUNDS)))) == []


def sound_frames(chance: random.Random) -> list[bytes]:
    told = [
        {"type": "ack", "ids": ["a", "b"]},
        {"type": "nack", "id": "a", "requeue": True, "delay": 3, "reason": "grüße"},
        {"type": "progress", "id": "a"},
        {"type": "window", "max_in_flight": 10},
        {"type": "ping", "ref": "r"},
        {"type": "register", "agent": "again"},
    ]
    payload = json.dumps(chance.choice(told), ensure_ascii=False).encode()
    if chance.random() < 0.5:
        payload = spoil(payload, chance)
    return [
        frame(payload),
        frame(payload[:9], fin=False) + frame(payload[9:], CONTINUATION),
        frame(payload[:99], PING),
        frame(b"pong", PONG) + frame(payload),
    ]


def test_spoiled_frames_get_documented_answers(relay: Daemon) -> None:
    def attempt(number: int) -> str:
        chance = random.Random(f"frame {number}")
        frames = [chance.choice(sound_frames(chance)) for _ in range(chance.randint(1, 5))]
        noise = b"".join(spoil(found, chance) if chance.random() < 0.6 else found for found in frames)
        with Wire(relay.port, timeout=3) as wire:
            if chance.random() < 0.8:
                wire.register(f"fuzz-{number}")
            try:
                wire.put(noise)
                wire.close()
                while (told := wire.hear())["type"] in ("registered", "error", "pong"):
                    pass
                return f"{number}: {noise!r} got {told!r}"
            except Ended as end:
                return "" if end.code in CLOSE_CODES else f"{number}: {noise!r} ended with {end}"
            except ConnectionError:
                return ""
            except TimeoutError:
                return ""  # the rest of a frame that says it is larger is awaited: only the heartbeat may end that

    with ThreadPoolExecutor(8) as pool:
        assert list(filter(None, pool.map(attempt, range(ROUNDS)))) == []


def test_the_stores_file_is_sound_afterwards(tmp_path: Path) -> None:
    with Daemon(tmp_path) as relay:
        for number in range(50):
            chance = random.Random(f"store {number}")
            with dial(relay.port) as line:
                line.sendall(spoil(sound_requests(relay.port)[0], chance))
        assert relay.terminate() == 0
        relay.start()
        assert relay.terminate() == 0
