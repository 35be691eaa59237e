"""The operator's side of a relay (protocol 1.3 and 1.4): who is there, what waits, what died, what happens."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from typing import Any, Final
from urllib.parse import quote

from twisted.internet.defer import Deferred

from relay.client import views
from relay.client.address import Address
from relay.client.door import Door
from relay.client.events import Events
from relay.client.tokens import Token
from relay.client.views import PAGE, AgentView, MessageView

LETTERS_PAGE: Final = 10  #: these come with their payloads, of 1 MiB perhaps


class Admin:
    """Looks at a relay and mends it. It needs a token of the scope ``admin`` where the relay asks for tokens at all.

    The arguments are those of ``Publisher``, and so is what its calls fail with. Lists are async iterators, which ask
    for a ``page`` of so many (1 to 1000) when they need it.
    """

    def __init__(self, url: str, *, reactor: Any, token: Token | None = None, http_agent: Any = None) -> None:
        self._reactor = reactor
        self._door = Door(Address.parse(url), reactor=reactor, token=token, agent=http_agent)

    def agents(self, *, connected: bool | None = None, prefix: str = "", page: int = PAGE) -> AsyncIterator[AgentView]:
        """The agents that the relay knows, by their names; all of them, or only who is (not) connected."""
        switch = None if connected is None else str(connected).lower()
        return views.pages(self._door, "/v1/agents", AgentView, page, connected=switch, prefix=prefix or None)

    def agent(self, name: str) -> Deferred[AgentView]:
        """One agent. Refused (``not-found``) when nobody knows it."""
        return Deferred.fromCoroutine(views.agent(self._door, name))

    def disconnect(self, agent: str) -> Deferred[bool]:
        """Close the session of an agent, which may come back after 30 s; False when it had none."""
        return self._delete(_of_agent(agent, "session")).addCallback(bool)

    def queue(self, agent: str, *, payload: bool = False, page: int = PAGE) -> AsyncIterator[MessageView]:
        """What is queued for an agent, oldest first; with its ``payload`` if that is wanted."""
        shown = "true" if payload else None
        return views.pages(self._door, _of_agent(agent, "messages"), MessageView, page, payload=shown)

    def empty(self, agent: str) -> Deferred[int]:
        """Cancel all that is queued for an agent, but for what is with it at the moment; how many that were."""
        return self._delete(_of_agent(agent, "messages"))

    def message(self, id: str, *, wait: float = 0) -> Deferred[MessageView]:
        """Anybody's message; otherwise as ``Publisher.message``."""
        return Deferred.fromCoroutine(views.message(self._door, id, wait))

    def cancel(self, id: str) -> Deferred[None]:
        """Anybody's message; otherwise as ``Publisher.cancel``."""
        return self._delete(f"/v1/messages/{quote(id, safe='')}").addCallback(lambda _: None)

    def dead_letters(self, *, page: int = LETTERS_PAGE) -> AsyncIterator[MessageView]:
        """The messages that did not end well, with their payloads."""
        return views.pages(self._door, "/v1/dead-letters", MessageView, page)

    def requeue(self, id: str) -> Deferred[MessageView]:
        """Send a dead letter again, at the end of its agent's order. Refused (``not-found``) when there is none."""
        return Deferred.fromCoroutine(self._requeue(id))

    def discard(self, id: str) -> Deferred[None]:
        """Put a dead letter away for good. Refused (``not-found``) when there is none."""
        return self._delete(f"/v1/dead-letters/{quote(id, safe='')}").addCallback(lambda _: None)

    def events(
        self,
        *,
        agent: str | None = None,
        types: tuple[str, ...] = (),
        since: str | None = None,
        chance: Callable[[], float] = random.random,
        pausing: Callable[[str, float], object] | None = None,
    ) -> Events:
        """What happens from now on, or after the event with the id ``since``; of one agent, of some types, or all."""
        return Events(self._door, self._reactor, agent=agent, types=types, since=since, chance=chance, pausing=pausing)

    def close(self) -> Deferred[None]:
        """Close the idle connections."""
        return self._door.close()

    def _delete(self, path: str) -> Deferred[int]:
        return Deferred.fromCoroutine(views.delete(self._door, path))

    async def _requeue(self, id: str) -> MessageView:
        path = f"/v1/dead-letters/{quote(id, safe='')}/requeue"
        return views.read((await self._door.request("POST", path, timeout=views.TIMEOUT)).body, MessageView)


def _of_agent(agent: str, what: str) -> str:
    return f"/v1/agents/{quote(agent, safe='')}/{what}"
