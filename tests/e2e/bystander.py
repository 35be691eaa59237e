"""Somebody who does nothing wrong, and must not notice that others do."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import post
from tests.e2e.support import Daemon

NUMBERS = itertools.count(1)
PACE = 0.03  #: seconds between two messages: a relay that is held up shows, a machine with two cores stays free


class Bystander:
    """A publisher and an agent, at it all the time in a thread of their own."""

    def __init__(self, relay: Daemon, agent: Agent, headers: Mapping[str, str]) -> None:
        self.outcomes: list[str] = []
        self._relay = relay
        self._agent = agent
        self._headers = headers
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self._thread.start()

    def _publish(self) -> None:
        while not self._enough.wait(PACE):
            try:
                outcome = self._post('"all is well"')
            except OSError as error:
                outcome = f"{type(error).__name__}: {error}"
            self.outcomes.append(outcome)

    def _post(self, payload: str) -> str:
        return post(self._relay.port, self._agent.name, payload, wait=10, headers=self._headers).outcome

    def finish(self) -> None:
        """Stop, and hold everybody to account: each message was delivered, the last ones after the disturbance."""
        self._enough.set()
        self._thread.join(60)
        self.outcomes += [self._post('"still"') for _ in range(3)]
        assert set(self.outcomes) == {"delivered"}, self.outcomes
        assert len(self._agent.messages) >= len(self.outcomes)
        assert self._agent.end is None


@contextmanager
def undisturbed(relay: Daemon, token: str | None = None) -> Iterator[Bystander]:
    """While the block goes on, and after it, a well-behaved agent gets all its messages in time. ``token``: it may
    publish, and be any agent.
    """
    shown = {} if token is None else {"token": token}
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with Agent(relay.port, f"bystander-{next(NUMBERS)}", acknowledge, **shown) as agent:
        bystander = Bystander(relay, agent, headers)
        try:
            yield bystander
        finally:
            bystander._enough.set()
        bystander.finish()
        assert relay.alive()
