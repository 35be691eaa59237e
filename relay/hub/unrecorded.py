"""The ends that the store does not know yet: each is recorded, however long that takes."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
from twisted.python.failure import Failure

from relay.core.model import Depth, End, Kept, Revise, Status, Trials
from relay.core.ports import StoreUnavailable
from relay.hub.later import asked

if TYPE_CHECKING:
    from relay.hub.ledger import Ledger

#: Ends that the store is asked to record at the same time. Agents may acknowledge far more in a burst, and if all of
#: that lay before the store, new messages would be refused that it can keep very well.
UNDER_WAY = 10_000
AT_A_TIME = 1000  #: ends that could not be recorded and are tried again


class Owed(msgspec.Struct, eq=False):
    """An end that the store does not know yet. ``refused`` is called once, if it does not take it."""

    end: End
    size: int | None
    recorded: Callable[[bool], object]
    refused: tuple[Callable[[], object], ...] = ()


class Unrecorded:
    """A part of the ledger. What could not be recorded is tried again, once a second."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._owed: dict[str, dict[str, Owed]] = {}
        self._failed: dict[Owed, None] = {}  #: of these the writes that failed
        self._waiting: deque[Sequence[Owed]] = deque()  #: of these what the store is not asked yet; the others …
        self._under_way = 0  #: … it is being asked
        self._gathered: list[Owed] | None = None

    def __len__(self) -> int:
        return sum(map(len, self._owed.values()))

    def count(self, agent: str) -> int:
        """How many of the agent's messages there are."""
        return len(self._owed.get(agent, ()))

    def end(self, end: End, size: int | None, recorded: Callable[[bool], object]) -> None:
        """Record an end, however long that takes; ``recorded`` is called once, with whether the store had the message.

        ``size`` is that of the payload where the message is known to be queued: it leaves the depth now.
        """
        if size is not None:
            self._ledger.add(end.agent, Depth(-1, -size))
        owed = Owed(end, size, recorded)
        self._owed.setdefault(end.agent, {})[end.id] = owed
        if self._gathered is None:
            self._record([owed])
        else:
            self._gathered.append(owed)

    def end_all(self, agent: str, owed: Sequence[Owed]) -> None:
        """The same for several messages of an agent that are known to be queued."""
        self._ledger.add(agent, Depth(-len(owed), -sum([each.size or 0 for each in owed])))
        self._owed.setdefault(agent, {}).update([(each.end.id, each) for each in owed])
        if self._gathered is None:
            self._record(owed)
        else:
            self._gathered.extend(owed)

    @contextmanager
    def together(self) -> Iterator[None]:
        """The ends that come meanwhile are recorded by one write: those of an ACK of many messages."""
        if self._gathered is not None:
            yield
            return
        self._gathered = []
        try:
            yield
        finally:
            gathered, self._gathered = self._gathered, None
            self._record(gathered)

    def ending(self, agent: str, id: str) -> Status | None:
        """How that message ended, while this is being recorded."""
        owed = self._owed.get(agent, {}).get(id)
        return None if owed is None else owed.end.status

    def has_left(self, agent: str, id: str) -> bool:
        """Is the end of that message being recorded, and did it leave the depth already when it ended?"""
        owed = self._owed.get(agent, {}).get(id)
        return owed is not None and owed.size is not None

    def when_recorded(self, agent: str, id: str, recorded: Callable[[bool], object]) -> None:
        """The same for somebody else who asks about that end; at once, with True, if it is recorded already."""
        owed = self._owed.get(agent, {}).get(id)
        if owed is None:
            recorded(True)
            return
        first = owed.recorded

        def both(had: bool) -> None:
            first(had)
            recorded(had)

        owed.recorded = both

    def when_refused(self, agent: str, id: str, refused: Callable[[], object]) -> None:
        """Call that if the store does not take that end now: it is tried again, and may be lost with this process."""
        owed = self._owed.get(agent, {}).get(id)
        if owed is None:
            return
        if owed in self._failed:
            refused()
        else:
            owed.refused += (refused,)

    def _record(self, owed: Sequence[Owed]) -> None:
        if self._are_too_many(owed):
            self._waiting.append(owed)
        elif owed:
            self._under_way += len(owed)
            written = asked(self._ledger.store.write_all, [each.end for each in owed])
            written.addCallbacks(self._recorded, self._not_recorded, (owed,), errbackArgs=(owed,))
            written.addErrback(self._ledger.swallow)

    def _are_too_many(self, owed: Sequence[Owed]) -> bool:
        return self._under_way > 0 and self._under_way + len(owed) > UNDER_WAY

    def _not_recorded(self, failure: Failure, owed: Sequence[Owed]) -> Failure:
        self._under_way -= len(owed)
        if failure.check(StoreUnavailable):
            waiting, self._waiting = self._waiting, deque()  # it would not take these either
            for each in itertools.chain(owed, *waiting):
                self._failed[each] = None
                told, each.refused = each.refused, ()
                for refused in told:
                    refused()
        return self._ledger.took_not(failure)

    def _recorded(self, answers: Sequence[Depth | Kept | None], owed: Sequence[Owed]) -> None:
        self._under_way -= len(owed)
        self._ledger.took(answers)
        while self._waiting and not self._are_too_many(self._waiting[0]):
            self._record(self._waiting.popleft())
        for left, each in zip(answers, owed, strict=True):
            agent = each.end.agent
            waiting = self._owed.get(agent, {})
            if waiting.pop(each.end.id, None) is None:
                continue
            if not waiting:
                del self._owed[agent]
            if each.size is None and isinstance(left, Depth):
                self._ledger.add(agent, Depth(-left.count, -left.bytes))
            each.recorded(left is not None)

    def try_again(self) -> None:
        """Record what could not be recorded; ask a store that was away whether it is back. Called once a second."""
        owed = list(itertools.islice(self._failed, AT_A_TIME))
        for item in owed:
            del self._failed[item]
        self._record(owed)
        if not owed and not self._ledger.up:
            self._ledger.revise(Revise("", "", Trials()))
