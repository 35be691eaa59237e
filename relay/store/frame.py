"""What a store with threads behind it is on the reactor thread: its state, what is asked of it, how it ends.

One thread writes: whatever waits goes into one commit. One reads. No call waits on the reactor thread.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, TimeoutError, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger

from relay.core.model import Depth, Kept, Snapshot, Write
from relay.core.ports import StoreBroken, StoreUnavailable
from relay.store.faults import Health, StoreOverloaded, again
from relay.store.group import GroupCommit
from relay.store.work import Answer
from relay.store.worker import Worker

T = TypeVar("T")

MAX_READS: Final = 20_000  #: that may wait
CLOSE_SECONDS: Final = 10.0  #: it is waited for so long at the end


class State(enum.Enum):
    """Where a store stands. It only moves down this list, but for a refused opening."""

    NEW = "not open"
    OPEN = "open"
    BROKEN = "broken"
    CLOSED = "closed"


class Writing(Protocol):
    """Whoever writes, in the thread for that."""

    def commit(self, ops: Sequence[Write]) -> Sequence[Answer]:
        """Make a batch durable and say of each write what came of it. Never raises."""

    def open(self, now: float) -> Snapshot:
        """Open it and say what it holds. Raises StoreRefused with one clear line."""


class Chores(Protocol):
    """What is to be done from time to time."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Frame:
    """The common part of stores: all of ``MessageStore`` but the reads, which each asks in its own way by ``_ask``.

    ``reactor`` brings answers home from the threads, ``clock`` measures, ``wall`` gives Unix time, ``more`` are further
    threads. Who is built on it sets ``_chores``, says in ``_let_go`` how it lets go of what it holds, and does in
    ``_left_alone`` what is to be done when that takes too long.
    """

    durable = True
    log = Logger()
    _chores: Chores

    def __init__(
        self,
        writer: Writing,
        health: Health,
        *,
        reactor: IReactorFromThreads,
        clock: IReactorTime,
        wall: Callable[[], float],
        more: Sequence[Worker] = (),
    ) -> None:
        self._health = health
        self._clock = clock
        self._wall = wall
        self._opening = writer.open
        self._writing = Worker("store-writer", reactor)
        self._reading = Worker("store-reader", reactor)
        self._workers = (self._writing, self._reading, *more)
        self._group = GroupCommit(self._writing, writer.commit, self._settled)
        self._state = State.NEW
        self._turn = DeferredLock()  # a close waits for the open that is under way
        self._on_broken: list[Callable[[StoreBroken], object]] = []
        self._reads = 0

    def open(self) -> Deferred[Snapshot]:
        """Open it, off the reactor thread, and say what it holds. Raises StoreRefused with one clear line."""
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> Snapshot:
        async with self._turn:
            if self._state is not State.NEW:
                raise StoreUnavailable(f"the store is {self._state.value}: it cannot be opened again")
            for worker in self._workers:
                worker.start()
            try:
                snapshot = await self._writing.ask(self._opening, self._wall())
            except BaseException:
                self._end_workers()
                self._state = State.CLOSED
                raise
            self._state = State.OPEN
            self._chores.start()
            return snapshot

    def close(self) -> Deferred[None]:
        """Finish the writes under way and let go of it. A second call does nothing."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        async with self._turn:
            if self._state in (State.NEW, State.CLOSED):
                return
            self._state = State.CLOSED
            self._chores.stop()
            try:
                for worker, last in self._let_go():
                    await worker.ask(last).addTimeout(CLOSE_SECONDS, self._clock)
            except TimeoutError:
                self._left_alone()
                self._group.give_up(StoreUnavailable("the store is closed"))
            finally:
                self._end_workers()

    def _let_go(self) -> Sequence[tuple[Worker, Callable[[], None]]]:
        """What each thread does last, in this order."""
        raise NotImplementedError

    def _left_alone(self) -> None:
        """One of them took too long."""
        raise NotImplementedError

    def _end_workers(self) -> None:
        for worker in self._workers:
            worker.end()

    def on_broken(self, call: Callable[[StoreBroken], object]) -> None:
        """Call this once, on the reactor thread, when the store breaks for good."""
        self._on_broken.append(call)

    # -- what is asked of it

    def write(self, op: Write) -> Deferred[Depth | Kept | None]:
        """Make one change. The answer comes when it is durable; giving up on it does not undo the change.

        A Put of an id that is kept already, queued or ended, changes nothing.
        """
        if refusal := self._refusal():
            return fail(refusal)
        self._begins_to_write()
        return self._group.write(op)

    def write_all(self, ops: Sequence[Write]) -> Deferred[Sequence[Depth | Kept | None]]:
        """Make these changes, in one commit."""
        if not ops:
            return succeed([])
        if refusal := self._refusal():
            return fail(refusal)
        self._begins_to_write()
        return self._group.write_all(ops)

    def _begins_to_write(self) -> None:
        """A change is about to wait for its commit."""

    def _ask(self, call: Callable[..., T], *about: Any) -> Deferred[T]:
        """Read, in the thread for that."""
        if refusal := self._refusal():
            return fail(refusal)
        if self._reads >= MAX_READS:
            return fail(StoreOverloaded(f"{MAX_READS} reads wait for the store: no more may"))
        self._reads += 1
        return self._reading.ask(self._health.run, call, *about).addBoth(self._was_read)

    def _was_read(self, result: T) -> T:
        self._reads -= 1
        self._look_at_health()
        return result

    def _refusal(self) -> StoreUnavailable | None:
        if self._state is State.OPEN:
            return None
        return again(self._health.broken) if self._health.broken else StoreUnavailable("the store is not open")

    # -- what becomes of it

    def _settled(self) -> None:
        """A commit is over."""
        self._look_at_health()

    def _look_at_health(self) -> None:
        if self._health.broken is not None and self._state is State.OPEN:
            self._break(self._health.broken)

    def _break(self, error: StoreBroken) -> None:
        """Take nothing any more, and say so."""
        self._state = State.BROKEN
        self._chores.stop()
        for call in self._on_broken:
            with self.log.failuresHandled("who was to be told that the store broke failed"):
                call(again(error))
        self._group.give_up(error)
