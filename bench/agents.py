"""Agents that acknowledge whatever they get, and any other client of the WebSocket door."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from bench.loop import Line, Loop
from bench.tally import Tally
from bench.wire import (
    CLOSE,
    PING,
    PONG,
    RETRY_AFTER,
    TEXT,
    Answer,
    Frame,
    ack,
    masked,
    register,
    take_answer,
    take_frames,
    upgrade,
)

AGAIN = 1.0  #: seconds until a broken connection is tried again, where the server does not say when
LEAST = 0.05  #: seconds, also where it says 0

decode_frame = msgspec.json.Decoder(Frame).decode


class SocketLine(Line):
    """One WebSocket: the upgrade, then frames. A subclass says what ``upgraded`` and ``texts`` mean."""

    def __init__(self, loop: Loop, port: int) -> None:
        self.after = AGAIN  #: seconds that the server asked to wait, once it is lost
        self._port = port
        self._is_upgraded = False
        self._rest = b""
        self._why = ""
        super().__init__(loop, port)

    def upgraded(self) -> None: ...

    def texts(self, payloads: list[bytes]) -> None:
        """The text frames that came in one read."""

    def ponged(self) -> None: ...

    def ended(self, why: str) -> None: ...

    def ping(self) -> None:
        """Ask for a pong: when it comes, everything that was sent before has been read."""
        self.send(masked(PING, b""))

    def opened(self) -> None:
        self.send(upgrade(self._port))

    def received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        if not self._is_upgraded:
            answer, data = take_answer(data)
            if answer is not None:
                self._answered(answer)
        if self._is_upgraded:
            frames, data = take_frames(data)
            texts = [payload for opcode, payload in frames if opcode == TEXT]
            if texts:
                self.texts(texts)
            if len(texts) < len(frames):
                self._control(frames)
        self._rest = data

    def lost(self, why: str) -> None:
        self.ended(self._why or why)

    def _answered(self, answer: Answer) -> None:
        if answer.status == 101:
            self._is_upgraded = True
            self.upgraded()
            return
        found = RETRY_AFTER.search(answer.head)
        self._refused(f"upgrade: {answer.status}", float(found[1]) if found else AGAIN)

    def _control(self, frames: list[tuple[int, bytes]]) -> None:
        for opcode, payload in frames:
            if opcode == PING:
                self.send(masked(PONG, payload))
            elif opcode == PONG:
                self.ponged()
            elif opcode == CLOSE:
                self.send(masked(CLOSE, payload[:2]))
                found = re.search(rb"retry_after=([\d.]+)", payload[2:])
                code = int.from_bytes(payload[:2], "big")
                self._refused(f"close: {code}", float(found[1]) if found else AGAIN)

    def _refused(self, why: str, after: float) -> None:
        self._why, self.after = why, after
        self._end(why)


class Agent:
    """Registers a name, however often it takes, and acknowledges every message.

    With ``batch`` it takes several messages in a frame, and acknowledges what came in one read with one frame; without
    it, one by one.
    """

    def __init__(
        self, loop: Loop, port: int, name: str, tally: Tally, on_registered: Callable[[], None], *, batch: bool = False
    ) -> None:
        self.loop = loop
        self.port = port
        self.name = name
        self.tally = tally
        self.batch = batch
        self.on_registered = on_registered
        self.session = ""  #: of its last registration
        self._here = False
        self._line = AgentLine(self)

    def registered(self, session: str) -> None:
        self.session, self._here = session, True
        self.tally.registered += 1
        self.on_registered()

    def broken(self, why: str, after: float) -> None:
        """The connection has ended: ``after`` is the number of seconds that the server asks to wait."""
        self._gone()
        self.tally.retry(why)
        self.loop.later(max(after, LEAST), self._connect)

    def close(self) -> None:
        """Close the connection, and stay away."""
        self._gone()
        self._line.close()

    def ping(self) -> None:
        """Ask for a pong, which the tally counts."""
        self._line.ping()

    def again(self) -> None:
        """Lose the connection, and come back at once."""
        self.close()
        self._connect()

    def _gone(self) -> None:
        self.tally.registered -= self._here
        self._here = False

    def _connect(self) -> None:
        self._line = AgentLine(self)


class AgentLine(SocketLine):
    """One connection of an agent: registration, then messages."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        super().__init__(agent.loop, agent.port)

    def upgraded(self) -> None:
        self.send(register(self.agent.name, batch=self.agent.batch, resume=self.agent.session))

    def texts(self, payloads: list[bytes]) -> None:
        ids: list[str] = []
        for payload in payloads:
            frame = decode_frame(payload)
            if frame.type == "message":
                ids.append(frame.id)
            elif frame.type == "messages":
                ids += [item.id for item in frame.messages]
            elif frame.type == "registered":
                self.agent.registered(frame.session)
        if not ids:
            return
        self.agent.tally.acked += len(ids)
        # Several frames may go in one write, as they do from any client under load.
        self.send(ack(ids) if self.agent.batch else b"".join(ack([each]) for each in ids))

    def ponged(self) -> None:
        self.agent.tally.pongs += 1

    def ended(self, why: str) -> None:
        self.agent.broken(why, self.after)
