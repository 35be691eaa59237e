"""A session that only publishes: messages for other agents over one socket, and nothing received."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IStreamClientEndpoint

from relay.client.desk import Desk
from relay.client.message import Message, Nack
from relay.client.presence import Notice, Presence, Surroundings
from relay.client.settings import Settings
from relay.client.tokens import Token
from relay.core.wire import encode


class Feed(Presence):
    """Publishes over one WebSocket: ``publish`` while it is connected, which ``notice`` tells.

    It connects, comes back and stops as an ``Agent`` does, which can publish as well; the arguments are those of one.
    """

    def __init__(
        self,
        url: str,
        *,
        reactor: Any,
        settings: Settings | None = None,
        token: Token | None = None,
        notice: Notice | None = None,
        chance: Callable[[], float] = random.random,
        endpoint: IStreamClientEndpoint | None = None,
    ) -> None:
        super().__init__(url, settings or Settings(), Surroundings(reactor, token, notice, chance, endpoint))
        self._desk = Desk(_refuse, clock=reactor, say=self._say, ack=self._ack, concurrency=1, patience=1.0, most=1)

    def _hello(self) -> bytes:
        return encode("register", client=self.settings.client, max_frame=self.settings.max_frame)


async def _refuse(message: Message) -> None:
    raise Nack("this session only publishes")
