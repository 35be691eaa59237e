"""What happens, told to whoever listens: a bounded memory of notices, and subscribers (protocol 1.4)."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from itertools import count, islice
from typing import Any

from twisted.logger import Logger

from relay.core.model import Notice
from relay.core.ports import Subscriber

#: Of a message: what happened, agent, Unix time, id, detail. Three are kept of each message, and hardly ever is one of
#: them asked for: what a subscriber is given is made then, and its number is that of its place.
_Step = tuple[str, str, float, str, str | None]


class Bulletin:
    """Implements ``relay.core.ports.Notices``. Never in the way: what a subscriber does wrong is logged."""

    log = Logger()

    def __init__(self, wall: Callable[[], float], most: int, boot: str) -> None:
        self.boot = boot
        self.number = 0
        self.counts: dict[str, int] = defaultdict(int)  #: how often each kind happened, since the start
        self._wall = wall
        self._notices: deque[Notice | _Step] = deque(maxlen=most)
        self._subscribers: dict[Subscriber, None] = {}

    def tell(self, event: str, agent: str, **fields: Any) -> None:
        """Something happened."""
        self.number += 1
        self.counts[event] += 1
        notice = Notice(self.number, event, agent, self._wall(), fields)
        self._notices.append(notice)
        if self._subscribers:
            self._pass_on(notice)

    def add(self, name: str, agent: str, at: float, id: str, detail: str | None) -> None:
        """``message.name`` happened to a message at that Unix time."""
        step = (name, agent, at, id, detail)
        self.number += 1
        self.counts[name] += 1
        self._notices.append(step)
        if self._subscribers:
            self._pass_on(_notice(self.number, step))

    def add_two(self, first: str, second: str, agent: str, at: float, id: str) -> None:
        """Both happened to a message at that Unix time, one after the other."""
        if self._subscribers:
            self.add(first, agent, at, id, None)
            self.add(second, agent, at, id, None)
            return
        self.number += 2
        self.counts[first] += 1
        self.counts[second] += 1
        self._notices.extend(((first, agent, at, id, None), (second, agent, at, id, None)))

    def add_all(self, name: str, at: float, messages: Sequence[tuple[str, str]]) -> None:
        """The same of several messages, each given by its agent and its id."""
        if self._subscribers:
            for agent, id in messages:
                self.add(name, agent, at, id, None)
            return
        self.number += len(messages)
        self.counts[name] += len(messages)
        self._notices.extend([(name, agent, at, id, None) for agent, id in messages])

    def add_run(self, names: Sequence[str], agent: str, at: float, ids: Sequence[str]) -> None:
        """Each of these happened to all of these messages of an agent."""
        if self._subscribers:
            for name in names:
                self.add_all(name, at, [(agent, id) for id in ids])
            return
        self.number += len(names) * len(ids)
        for name in names:
            self.counts[name] += len(ids)
        self._notices.extend([(name, agent, at, id, None) for name in names for id in ids])

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
        oldest = self.number + 1 - len(self._notices)
        if number > self.number or number + 1 < oldest:
            return None
        return list(map(_notice, count(number + 1), islice(self._notices, number + 1 - oldest, None)))

    def close(self) -> None:
        """The relay shuts down: every subscriber is told so, and leaves when it has heard enough."""
        self._pass_on(None)


def _notice(number: int, kept: Notice | _Step) -> Notice:
    if isinstance(kept, Notice):
        return kept
    name, agent, at, id, detail = kept
    return Notice(number, f"message.{name}", agent, at, {"id": id} if detail is None else {"id": id, "detail": detail})
