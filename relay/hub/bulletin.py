"""What happens, told to whoever listens: a bounded memory of events, and subscribers (protocol 1.4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from twisted.logger import Logger


@dataclass(frozen=True, slots=True)
class Notice:
    """One event. ``number`` rises by one."""

    number: int
    event: str  #: ``agent.connected``, ``message.sent`` …
    agent: str
    at: float  #: Unix time
    fields: dict[str, Any]


Subscriber = Callable[[Notice], object]


class Bulletin:
    """Never in the way: a subscriber takes a notice at once or fails, which is logged."""

    log = Logger()

    def __init__(self, wall: Callable[[], float], most: int) -> None:
        self._wall = wall
        self._number = 0
        self._notices: deque[Notice] = deque(maxlen=most)
        self._subscribers: dict[Subscriber, None] = {}

    def tell(self, event: str, agent: str, **fields: Any) -> None:
        """Something happened."""
        self._number += 1
        notice = Notice(self._number, event, agent, self._wall(), fields)
        self._notices.append(notice)
        for subscriber in list(self._subscribers) if self._subscribers else ():
            try:
                subscriber(notice)
            except Exception:
                self.log.failure("a subscriber of events went wrong")

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Tell it everything from now on; what is returned ends that."""
        self._subscribers[subscriber] = None
        return lambda: self._subscribers.pop(subscriber, None)

    @property
    def number(self) -> int:
        """Of the last event."""
        return self._number

    def since(self, number: int) -> Iterator[Notice] | None:
        """The events after that one, or None if some of them are forgotten, or it is none of ours."""
        oldest = self._notices[0].number if self._notices else self._number + 1
        if number > self._number or number + 1 < oldest:
            return None
        return (notice for notice in list(self._notices) if notice.number > number)
