"""An agent as its author would write it: a thread reads its frames, answers pings and acknowledges by a rule."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import msgspec

from tests.e2e.wire import PATIENCE, Ended, Wire

Told = dict[str, Any]


class Slices(msgspec.Struct):
    """A ``message`` frame with the payload as the bytes that stand in it."""

    payload: msgspec.Raw


def raw_payload(frame: bytes) -> bytes:
    """The payload's bytes in a ``message`` frame, untouched: what a parser makes of them is another matter."""
    return bytes(msgspec.json.decode(frame, type=Slices).payload)


def integer(digits: str) -> int | str:
    """An integer; one that Python would not read (4,300 digits) is left as it stands."""
    return int(digits) if len(digits) < 4000 else digits


def acknowledge(agent: Agent, message: Told) -> None:
    """The plainest rule: take it."""
    agent.say(type="ack", id=message["id"])


class Agent:
    """A registered agent with a thread of its own.

    ``rule`` is called in that thread for every message; None leaves it to the test. What comes is kept in ``frames``
    in order; ``messages`` are all ``message`` frames so far, ``slices`` their payloads byte for byte.
    """

    def __init__(
        self, port: int, name: str, rule: Callable[[Agent, Told], object] | None = None, **register: Any
    ) -> None:
        self.name = name
        self.messages: list[Told] = []
        self.slices: list[bytes] = []
        self.end: Ended | None = None
        self._rule = rule
        self._wire = Wire(port, timeout=120.0)  # it may well hear nothing but pings
        self._frames: queue.Queue[Told | None] = queue.Queue()
        self._sending = threading.Lock()
        try:
            self.registered = self._wire.register(name, **register)
        except BaseException:
            self._wire.drop()
            raise
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    @property
    def session(self) -> str:
        return str(self.registered["session"])

    def _read(self) -> None:
        try:
            while True:
                frame = self._wire.raw()
                found = json.loads(frame, parse_int=integer)
                if found["type"] == "message":
                    self.messages.append(found)
                    self.slices.append(raw_payload(frame))
                    if self._rule is not None:
                        self._rule(self, found)
                self._frames.put(found)
        except Ended as end:
            self.end = end
        except OSError:
            self.end = Ended(1006, "")
        self._frames.put(None)

    def say(self, **fields: Any) -> None:
        """Send one JSON object. A connection that is gone is no error here: ``ended`` tells."""
        with self._sending, contextlib.suppress(OSError):
            self._wire.say(**fields)

    def ack(self, *ids: str) -> None:
        self.say(type="ack", ids=list(ids))

    def nack(self, message_id: str, **fields: Any) -> None:
        self.say(type="nack", id=message_id, **fields)

    def next(self, kind: str = "message") -> Told:
        """The next frame, which must be of that type."""
        found = self._frames.get(timeout=PATIENCE)
        assert found is not None, f"the connection ended: {self.end}"
        assert found["type"] == kind, found
        return found

    def take(self, count: int) -> list[Told]:
        """The next ``count`` messages."""
        return [self.next() for _ in range(count)]

    def nothing_more(self) -> None:
        """Nothing came that was not taken: shown by a ``ping`` whose answer is the very next frame."""
        self.say(type="ping", ref="barrier")
        assert self.next("pong")["ref"] == "barrier"

    def ended(self) -> Ended:
        """Wait until the relay ends the connection, and say how."""
        self._thread.join(PATIENCE)
        assert self.end is not None, "the connection is still there"
        return self.end

    def leave(self) -> None:
        """Close with 1000 and wait for the end of the thread."""
        with self._sending, contextlib.suppress(OSError):
            self._wire.close()
        self._thread.join(10)
        self._wire.drop()
