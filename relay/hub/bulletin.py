"""What happens, told to whoever listens: a bounded memory of notices, and subscribers (protocol 1.4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from relay.core.model import Notice
from relay.core.ports import Subscriber


class Bulletin:
    """Implements ``relay.core.ports.Notices``. Never in the way: what a subscriber does wrong is logged."""

    log = Logger()

    def __init__(self, wall: Callable[[], float], most: int, boot: str) -> None:
        self.boot = boot
        self.number = 0
        self._wall = wall
        self._notices: deque[Notice] = deque(maxlen=most)
        self._subscribers: dict[Subscriber, None] = {}

    def tell(self, event: str, agent: str, **fields: Any) -> None:
        """Something happened."""
        self.add(event, agent, self._wall(), fields)

    def add(self, event: str, agent: str, at: float, fields: dict[str, Any]) -> None:
        """The same of something that happened at that Unix time, for who has the fields at hand."""
        self.number += 1
        notice = Notice(self.number, event, agent, at, fields)
        self._notices.append(notice)
        if self._subscribers:
            self._pass_on(notice)

    def _pass_on(self, notice: Notice | None) -> None:
        for subscriber in list(self._subscribers):
            try:
                subscriber(notice)
            except Exception:
                self.log.failure("a subscriber of events went wrong")

    def subscribe(self, subscriber: Subscriber) -> Callable[[], object]:
        self._subscribers[subscriber] = None
        return lambda: self._subscribers.pop(subscriber, None)

    @property
    def subscribers(self) -> int:
        return len(self._subscribers)

    def since(self, number: int) -> list[Notice] | None:
        oldest = self._notices[0].number if self._notices else self.number + 1
        if number > self.number or number + 1 < oldest:
            return None
        return [notice for notice in self._notices if notice.number > number]

    def close(self) -> None:
        """The relay shuts down: every subscriber is told so."""
        self._pass_on(None)
        self._subscribers.clear()
