"""Group commit: what arrives while a commit runs goes into the next one, and the answers come home together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock
from typing import Any, Final

from twisted.internet.defer import Deferred, fail

from relay.core.model import Depth, End, Kept, Put, Write
from relay.core.ports import StoreUnavailable
from relay.store.faults import StoreOverloaded, again
from relay.store.work import Answer
from relay.store.worker import Worker

BATCH_COUNT: Final = 1000  #: writes of one commit: their answers are one turn of the reactor
BATCH_BYTES: Final = 8 * 1024 * 1024
MAX_COUNT: Final = 20_000  #: writes that may wait
MAX_BYTES: Final = 64 * 1024 * 1024


#: Who waits, and for how many of the writes together; 0: for one, by itself.
Waiter = tuple[Deferred[Any], int]


class Batch:
    """Writes of one commit, with those who wait for them."""

    __slots__ = ("bytes", "ops", "taken", "waiters")

    def __init__(self) -> None:
        self.ops: list[Write] = []
        self.waiters: list[Waiter] = []
        self.bytes = 0
        self.taken = False

    def takes(self, size: int) -> bool:
        """May another write of that size still go with these?"""
        return not self.taken and len(self.ops) < BATCH_COUNT and self.bytes + size <= BATCH_BYTES

    def told(self, answers: Sequence[Answer]) -> None:
        """Tell those who wait what came of each write. Those that were asked for together fail together."""
        at = 0
        for waiter, count in self.waiters:
            part = answers[at : at + (count or 1)]
            at += len(part)
            error = next((answer for answer in part if isinstance(answer, StoreUnavailable)), None)
            if error is not None:
                waiter.errback(again(error))
            else:
                waiter.callback(part if count else part[0])


class GroupCommit:
    """Gathers writes for the thread that commits them. Every call is made on the reactor thread.

    ``commit`` runs on the thread: it makes a batch durable and says of each write what came of it; it never raises.
    ``settled`` is called at home before the answers of a batch are given.
    """

    def __init__(
        self,
        worker: Worker,
        commit: Callable[[Sequence[Write]], Sequence[Answer]],
        settled: Callable[[], object],
    ) -> None:
        self._worker = worker
        self._commit = commit
        self._settled = settled
        self._lock = Lock()  # over what the thread and the reactor both look at: is the last batch taken?
        self._batches: deque[Batch] = deque()
        self._count = 0
        self._bytes = 0

    @property
    def waiting(self) -> int:
        """How many writes are not answered yet."""
        return self._count

    def write(self, op: Write) -> Deferred[Depth | Kept | None]:
        """Put it into the next commit. Fails with StoreOverloaded when too much waits."""
        return self._add((op,), 0)

    def write_all(self, ops: Sequence[Write]) -> Deferred[Sequence[Depth | Kept | None]]:
        """The same for several, which are in the same commit however many they are: their answers cost one turn."""
        return self._add(ops, len(ops))

    def _add(self, ops: Sequence[Write], together: int) -> Deferred[Any]:
        size = size_of(ops)
        if self._count + len(ops) > MAX_COUNT or self._bytes + size > MAX_BYTES:
            return fail(StoreOverloaded(f"{self._count} writes of {self._bytes} bytes wait for the disk: no more may"))
        self._count += len(ops)
        self._bytes += size
        answer: Deferred[Any] = Deferred()
        with self._lock:
            batch = self._batches[-1] if self._batches else None
            begun = batch is not None and batch.takes(size)
            if batch is None or not begun:
                batch = Batch()
                self._batches.append(batch)
            batch.ops.extend(ops)
            batch.waiters.append((answer, together))
            batch.bytes += size
        if not begun:
            self._worker.post(partial(self._turn, batch))
        return answer

    def _turn(self, batch: Batch) -> Callable[[], object]:
        with self._lock:
            batch.taken = True
        return partial(self._settle, batch, self._commit(batch.ops))

    def _settle(self, batch: Batch, answers: Sequence[Answer]) -> None:
        if not self._batches or self._batches[0] is not batch:
            return  # given up
        self._take_off(batch)
        self._settled()
        batch.told(answers)

    def _take_off(self, batch: Batch) -> None:
        self._batches.popleft()
        self._count -= len(batch.ops)
        self._bytes -= batch.bytes

    def give_up(self, error: StoreUnavailable) -> None:
        """Fail everything that waits: the thread does not come back."""
        while self._batches:
            batch = self._batches[0]
            with self._lock:
                batch.taken = True
            self._take_off(batch)
            batch.told([error] * len(batch.ops))


def size_of(ops: Sequence[Write]) -> int:
    """Bytes that these changes hold in memory while they wait, those which may be many."""
    return sum([len(op.record.message.payload) for op in ops if isinstance(op, Put)]) + sum(
        [len(op.reply) for op in ops if isinstance(op, End) and op.reply]
    )
