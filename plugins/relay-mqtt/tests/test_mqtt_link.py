"""The link with paho on the real reactor, against a broker that says what the test tells it to, byte for byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from relay_mqtt.link import TOO_LARGE, PahoLink
from relay_mqtt.ports import Arrived, Leaving, Properties, Welcome
from relay_mqtt.settings import read

pytestmark = pytest.mark.e2e

PATIENCE = 30
#: CONNACK, and SUBACK to our first packet (MQTT 5, 3.2 and 3.9)
WELCOME, TAKEN = bytes.fromhex("2003000000"), bytes.fromhex("900400010001")
GOODBYE = bytes.fromhex("e0028e00")  # DISCONNECT: session taken over


class Broker:
    """Reads once and says the first of ``lines``, reads again and says the next, and after the last listens."""

    def __init__(self, at: Path, lines: Sequence[bytes]) -> None:
        self.heard: list[bytes] = []
        self._lines = lines
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(at))
        self._door.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            line, _ = self._door.accept()
            line.settimeout(PATIENCE)
            with line:
                for said in self._lines:
                    self.heard.append(line.recv(65536))
                    line.sendall(said)
                while data := line.recv(65536):
                    self.heard.append(data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._thread.join(PATIENCE)


class Ears:
    """Implements Listener; what it was told, and a Deferred for what it will be told next."""

    def __init__(self) -> None:
        self.welcome: Welcome | None = None
        self.messages: list[Arrived] = []
        self.up: Deferred[None] = Deferred()
        self.over: Deferred[tuple[str, bool]] = Deferred()

    def connected(self, welcome: Welcome) -> None:
        self.welcome = welcome

    def subscribed(self) -> None:
        self.up.callback(None)

    def arrived(self, arrived: Arrived) -> None:
        self.messages.append(arrived)

    def lost(self, why: str, *, taken_over: bool = False) -> None:
        self.over.callback((why, taken_over))


Call = Callable[..., tuple[PahoLink, Ears, Broker]]


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Call]:
    """Connects to a broker that says these lines."""
    from twisted.internet import reactor

    made: list[tuple[PahoLink, Ears, Broker]] = []

    def call(*lines: bytes) -> tuple[PahoLink, Ears, Broker]:
        broker = Broker(tmp_path / "broker", lines)
        ears, settings = Ears(), read({"url": f"mqtt+unix://{tmp_path}/broker", "user": "me"})
        link = PahoLink(settings, reactor, ears, payload=1000, context=None, password=lambda: "word")
        link.open()
        made.append((link, ears, broker))
        return made[-1]

    yield call
    for link, ears, broker in made:
        link.close()
        pytest_twisted.blockon(within(ears.over))
        pytest_twisted.blockon(turn())  # the socket is closed in a turn of its own
        broker.close()


def within(waiting: Deferred[Any]) -> Deferred[Any]:
    from twisted.internet import reactor

    return waiting.addTimeout(PATIENCE, reactor)  # type: ignore[arg-type]  # its type names no interface


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["2003008700"], "it refuses us: Not authorized"),
        (["20050000022400"], "it takes nothing with QoS 1"),
        ([WELCOME.hex(), "900400010087"], "we may not subscribe to relay/to/# with QoS 1: Not authorized"),
        ([WELCOME.hex(), "900400010000"], "we may not subscribe to relay/to/# with QoS 1: Granted QoS 0"),
        (["ffffffffffff"], "the connection was lost: Protocol error"),
        (["200100"], ""),
        ([WELCOME.hex(), TAKEN.hex() + GOODBYE.hex()], "it says: Session taken over"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_broker_that_cannot_be_used_is_the_end_of_the_link_and_of_nothing_else(
    call: Call, lines: list[str], why: str
) -> None:
    _, ears, _ = call(*map(bytes.fromhex, lines))
    said, taken_over = await within(ears.over)
    ears.over = Deferred()
    ears.over.callback((said, taken_over))  # the end of the test awaits it too
    assert said.startswith(why)
    assert taken_over == ("taken over" in why)


@pytest_twisted.ensureDeferred
async def test_a_message_is_taken_with_all_that_is_said_of_it_and_acknowledged_when_we_say_so(call: Call) -> None:
    # PUBLISH (3.3), QoS 1 and again, number 7: expiry 60, UTF-8, correlation, a user property, content type.
    about = "020000003c" + "0101" + "09000200ff" + "26000161000162" + "0300" + "0a" + b"text/plain".hex()
    topic = b"relay/to/desk-1"
    rest = bytes([0, len(topic)]) + topic + bytes([0, 7, len(about) // 2]) + bytes.fromhex(about) + b"on"
    link, ears, broker = call(bytes.fromhex("2006010003210014"), TAKEN + bytes([0x3A, len(rest)]) + rest)
    await within(ears.up)
    assert ears.welcome == Welcome(resumed=True, in_flight=20)
    while not ears.messages:
        await turn()
    [arrived] = ears.messages
    assert (arrived.topic, arrived.payload, arrived.number, arrived.again) == ("relay/to/desk-1", b"on", 7, True)
    assert arrived.properties == Properties(60, "text/plain", True, "", b"\x00\xff", (("a", "b"),))
    assert len(broker.heard) == 2  # CONNECT and SUBSCRIBE: no PUBACK by itself
    link.acknowledge(7)
    while len(broker.heard) < 3:
        await turn()
    assert broker.heard[2] == bytes.fromhex("40020007")
    assert b"relay" in broker.heard[0] and b"word" in broker.heard[0]


@pytest_twisted.ensureDeferred
async def test_what_is_larger_than_the_broker_takes_is_not_even_sent(call: Call) -> None:
    link, ears, broker = call(bytes.fromhex("200800000527") + (100).to_bytes(4), TAKEN)
    await within(ears.up)
    assert await link.publish(Leaving("relay/from/desk-1", b"x" * 100, Properties())) == TOO_LARGE
    assert len(broker.heard) == 2


@pytest_twisted.ensureDeferred
async def test_what_was_not_acknowledged_when_the_link_broke_has_failed(call: Call) -> None:
    link, ears, broker = call(WELCOME, TAKEN)
    await within(ears.up)
    told = link.publish(Leaving("relay/from/desk-1", b"x", Properties()))
    while len(broker.heard) < 3:
        await turn()
    link.close()
    with pytest.raises(ConnectionError):
        await within(told)
    with pytest.raises(ConnectionError):
        await link.publish(Leaving("relay/from/desk-1", b"x", Properties()))


def turn() -> Deferred[None]:
    """Let the reactor look at its sockets."""
    from twisted.internet import reactor, task

    return task.deferLater(reactor, 0.001)  # type: ignore[arg-type]  # its type names no interface
