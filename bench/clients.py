"""The two sorts of clients: an agent that acknowledges whatever it gets, and a publisher that posts one by one."""

from __future__ import annotations

import re
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from bench.loop import Line, Loop
from bench.wire import (
    CLOSE,
    PING,
    PONG,
    RETRY_AFTER,
    TEXT,
    Answer,
    Frame,
    Outcome,
    masked,
    post,
    take_answer,
    take_frames,
    upgrade,
)

#: What a person says to a program: short, and not all of it ASCII.
PAYLOAD = '{"text":"Bitte den Termin mit Frau Müller auf Donnerstag, halb vier, verschieben.","lang":"de"}'.encode()
AGAIN = 1.0  #: seconds until a broken connection is tried again, where the server does not say when
LEAST = 0.05  #: seconds, also where it says 0

decode_frame = msgspec.json.Decoder(Frame).decode
decode_outcome = msgspec.json.Decoder(Outcome).decode


@dataclass
class Tally:
    """What has happened, counted."""

    registered: int = 0  #: agents that hold a session now
    publishers: int = 0  #: connections of publishers that are open
    acked: int = 0
    posted: int = 0
    delivered: int = 0
    other: dict[str, int] = field(default_factory=dict)  #: answers that were not "delivered", by what was said
    retries: dict[str, int] = field(default_factory=dict)  #: connections that had to be tried again, by the reason

    def retry(self, why: str) -> None:
        self.retries[why] = self.retries.get(why, 0) + 1

    def odd(self, what: str) -> None:
        self.other[what] = self.other.get(what, 0) + 1


class Agent:
    """Registers a name, however often it takes, and acknowledges every message."""

    def __init__(self, loop: Loop, port: int, name: str, tally: Tally, on_registered: Callable[[], None]) -> None:
        self.loop = loop
        self.port = port
        self.tally = tally
        self.hello = masked(TEXT, b'{"type":"register","agent":"%s"}' % name.encode())
        self.on_registered = on_registered
        self.line = AgentLine(self)

    def registered(self) -> None:
        self.tally.registered += 1
        self.on_registered()

    def broken(self, why: str, was_registered: bool, after: float) -> None:
        """The connection has ended: ``after`` is the number of seconds that the server asks to wait."""
        self.tally.registered -= was_registered
        self.tally.retry(why)
        self.loop.later(max(after, LEAST), self._again)

    def close(self) -> None:
        self.line.close()

    def _again(self) -> None:
        self.line = AgentLine(self)


class AgentLine(Line):
    """One connection of an agent: upgrade, registration, then messages."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.upgraded = False
        self.registered = False
        self.after = AGAIN
        self.why = ""
        self._rest = b""
        super().__init__(agent.loop, agent.port)

    def opened(self) -> None:
        self.send(upgrade(self.agent.port))

    def received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        if not self.upgraded:
            answer, data = take_answer(data)
            if answer is not None:
                self._answered(answer)
        if self.upgraded:
            frames, data = take_frames(data)
            for opcode, payload in frames:
                self._frame(opcode, payload)
        self._rest = data

    def lost(self, why: str) -> None:
        self.agent.broken(self.why or why, self.registered, self.after)

    def _answered(self, answer: Answer) -> None:
        if answer.status == 101:
            self.upgraded = True
            self.send(self.agent.hello)
            return
        found = RETRY_AFTER.search(answer.head)
        self._refused(f"upgrade: {answer.status}", float(found[1]) if found else AGAIN)

    def _frame(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self._text(payload)
        elif opcode == PING:
            self.send(masked(PONG, payload))
        elif opcode == CLOSE:
            self.send(masked(CLOSE, payload[:2]))
            found = re.search(rb"retry_after=([\d.]+)", payload[2:])
            code = int.from_bytes(payload[:2], "big")
            self._refused(f"close: {code}", float(found[1]) if found else AGAIN)

    def _text(self, payload: bytes) -> None:
        frame = decode_frame(payload)
        if frame.type == "message":
            self.send(masked(TEXT, b'{"type":"ack","id":"%s"}' % frame.id.encode()))
            self.agent.tally.acked += 1
        elif frame.type == "registered":
            self.registered = True
            self.agent.registered()

    def _refused(self, why: str, after: float) -> None:
        self.why, self.after = why, after
        self._end(why)


class Targets:
    """The POSTs of a run: to each agent in turn, so many and no more."""

    def __init__(self, port: int, agents: list[str]) -> None:
        self._posts = [post(port, agent, PAYLOAD) for agent in agents]
        self._next = 0
        self.left = 0

    def take(self) -> bytes | None:
        """The next request; None when all have been taken."""
        if not self.left:
            return None
        self.left -= 1
        self._next += 1
        return self._posts[self._next % len(self._posts)]


class Publisher(Line):
    """Posts a message, waits for the answer, posts the next."""

    def __init__(self, loop: Loop, port: int, targets: Targets, tally: Tally, seconds: array[float]) -> None:
        self.targets = targets
        self.tally = tally
        self.seconds = seconds  #: how long each POST took
        self._rest = b""
        self._since = 0.0
        super().__init__(loop, port)

    def opened(self) -> None:
        self.tally.publishers += 1

    def start(self) -> None:
        """Post the next one, if there is one."""
        request = self.targets.take()
        if request is not None:
            self.tally.posted += 1
            self._since = time.perf_counter()
            self.send(request)

    def received(self, data: bytes) -> None:
        answer, self._rest = take_answer(self._rest + data if self._rest else data)
        if answer is None:
            return
        self.seconds.append(time.perf_counter() - self._since)
        status = decode_outcome(answer.body).status if answer.status == 200 else ""
        if status == "delivered":
            self.tally.delivered += 1
        else:
            self.tally.odd(status or answer.body.decode(errors="replace")[:200])
        self.start()

    def lost(self, why: str) -> None:
        raise ConnectionError(f"a publisher lost its connection: {why}")
