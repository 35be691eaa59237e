"""The stage of the command line: a reactor, a relay in memory, and the scene that is played while a command runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.internet.testing import MemoryReactorClock
from twisted.test.iosim import ConnectionCompleter, IOPump

from relay.client.cli import Work, execute
from relay.client.commands.common import Job
from tests.client.support import LIFE, RelayTwin, TwinFactory


class Theatre(MemoryReactorClock):
    """A reactor, a relay behind one of its ports, and the scene to be played."""

    def __init__(self, relay: Any) -> None:
        super().__init__()
        self.listenTCP(8080, relay)
        self.scene: Callable[[], object] = self.play
        self.code: int | None = None
        self._pumps: list[IOPump] = []

    def run(self) -> None:
        self.running = self.hasRun = True
        for call, args, fields in self.whenRunningHooks:
            call(*args, **fields)
        self.play()
        self.scene()
        assert not self.running, "the command has not ended"

    def stop(self) -> None:
        if not self.running:
            raise ReactorNotRunning  # as the real one does
        self.running = False
        for call, args, fields in self.triggers["before"]["shutdown"]:
            call(*args, **fields)
        self.play()

    def play(self) -> None:
        """Connections succeed, and bytes move until all is said."""
        while pump := ConnectionCompleter(self).succeedOnce():
            self._pumps.append(pump)
        for _ in range(5):
            for pump in self._pumps:
                pump.flush()

    def fail(self) -> None:
        ConnectionCompleter(self).failOnce()
        self.advance(1)

    def relay(self, *arguments: str, scene: Callable[[], object] | None = None) -> int:
        """Type it, and play the scene; the exit code."""
        self.scene = scene or self.play

        def run(job: Job) -> int:
            return Work(self, None).run(job)

        return execute(arguments, run)


class Wire:
    """The relay's end of an agent's connection, in a theatre."""

    def __init__(self) -> None:
        self.factory: TwinFactory
        self.theatre = Theatre(None)
        self.factory = TwinFactory(self.theatre)
        self.theatre.tcpServers[0] = (8080, self.factory, 50, "")

    @property
    def relay(self) -> RelayTwin:
        return self.factory.connections[-1]

    def say(self, kind: str, **fields: Any) -> None:
        self.relay.sendMessage(json.dumps({"type": kind, **fields}).encode())
        self.theatre.play()

    def register(self, **fields: Any) -> None:
        self.say("registered", **{"agent": "desk-1", "session": "s1", **fields})

    def push(self, id: str, payload: Any, content_type: str = "text/plain", **fields: Any) -> None:
        self.say("message", id=id, payload=payload, content_type=content_type, **{**LIFE, **fields})

    def answers(self, *kinds: str) -> list[str]:
        """The ids that were answered so."""
        return [frame["id"] for frame in self.relay.frames if frame["type"] in kinds]
