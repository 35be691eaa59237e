"""Somebody who does nothing wrong, and must not notice that others do."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import post
from tests.e2e.support import Daemon

NUMBERS = itertools.count(1)
PACE = 0.03  #: seconds between two messages: a relay that is held up shows, a machine with two cores stays free


class Bystander:
    """A publisher and an agent, at it all the time in a thread of their own."""

    def __init__(self, relay: Daemon, agent: Agent) -> None:
        self.outcomes: list[str] = []
        self._relay = relay
        self._agent = agent
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self._thread.start()

    def _publish(self) -> None:
        while not self._enough.wait(PACE):
            try:
                outcome = post(self._relay.port, self._agent.name, '"all is well"', wait=10).outcome
            except OSError as error:
                outcome = f"{type(error).__name__}: {error}"
            self.outcomes.append(outcome)

    def finish(self) -> None:
        """Stop, and hold everybody to account: each message was delivered, the last ones after the disturbance."""
        self._enough.set()
        self._thread.join(60)
        self.outcomes += [post(self._relay.port, self._agent.name, '"still"', wait=10).outcome for _ in range(3)]
        assert set(self.outcomes) == {"delivered"}, self.outcomes
        assert len(self._agent.messages) >= len(self.outcomes)
        assert self._agent.end is None


@contextmanager
def undisturbed(relay: Daemon) -> Iterator[Bystander]:
    """While the block goes on, and after it, a well-behaved agent gets all its messages in time."""
    with Agent(relay.port, f"bystander-{next(NUMBERS)}", acknowledge) as agent:
        bystander = Bystander(relay, agent)
        try:
            yield bystander
        finally:
            bystander._enough.set()
        bystander.finish()
        assert relay.alive()
