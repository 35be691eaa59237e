"""Both stores, driven in step: nothing runs beside the test, and what a disk may do, the test decides.

``Shaky`` stands before the real store as a disk does behind it. Writes and reads can be held, one by one let through,
or refused; a kill loses what is held, or finds it done although nobody was told.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from relay.core.model import Depth, End, Past, Requeue, Standing, Status, Write
from relay.core.ports import MessageStore, StoreBroken, StoreUnavailable
from relay.store import frame, sqlite
from relay.store.memory import MemoryStore

T = TypeVar("T")

EVERYTHING: dict[str, Any] = {"after": 0, "before": 2**60, "now": float("inf"), "limit": 100_000, "max_bytes": 1 << 40}


class InStep:
    """A worker without a thread: each job is done when it is posted."""

    def __init__(self, name: str, reactor: object) -> None:
        pass

    def start(self) -> None:
        pass

    def end(self) -> None:
        pass

    def post(self, job: Callable[[], Callable[[], object]]) -> None:
        job()()

    def ask(self, call: Callable[..., T], *args: Any, **kw: Any) -> Deferred[T]:
        answer: Deferred[T] = Deferred()
        try:
            result = call(*args, **kw)
        except Exception:
            answer.errback()
        else:
            answer.callback(result)
        return answer


class Shelves:
    """Where the contents of one kind of store outlive the relay."""

    def __init__(self, kind: str, wall: Callable[[], float]) -> None:
        self._kind = kind
        self._wall = wall
        self._memory = MemoryStore(durable=True, wall=wall)
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def store(self) -> MessageStore:
        """A store over the same contents each time, as a restart finds them."""
        if self._kind == "memory":
            return self._memory
        if self._folder is None:
            fast = Path("/dev/shm")
            self._folder = tempfile.TemporaryDirectory(dir=fast if fast.is_dir() else None)
        with patch.object(frame, "Worker", InStep), patch.object(sqlite, "Worker", InStep):
            options: dict[str, Any] = {"reactor": None, "clock": Clock(), "wall": self._wall}
            path = str(Path(self._folder.name) / "relay.db")
            return sqlite.SqliteStore(path, reserve_bytes=0, min_free_bytes=0, **options)

    def remove(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()


@dataclass
class Call:
    """A call that waits for the disk."""

    op: Write | None  #: None: a read
    run: Callable[[], Any]
    answer: Deferred[Any]


class Shaky:
    """``MessageStore`` before another one, as moody as a disk."""

    durable = True

    def __init__(self, shelves: Shelves) -> None:
        self._shelves = shelves
        self.inner = shelves.store()
        self.held: deque[Call] = deque()
        self.holding: tuple[bool, bool] = (False, False)  #: writes, reads
        self.failing: tuple[type[Write], ...] = ()
        self.reads_fail = False
        self.ends: dict[str, Status] = {}  #: committed, by message
        self._on_broken: list[Callable[[StoreBroken], object]] = []

    # -- MessageStore

    def open(self) -> Deferred[Any]:
        return _deferred(self.inner.open())

    def close(self) -> Deferred[None]:
        """In order: what is under way is done first."""
        self.holding = (False, False)
        self.let_through(1_000_000)
        return _deferred(self.inner.close())

    def on_broken(self, call: Callable[[StoreBroken], object]) -> None:
        self._on_broken = [call]

    def write(self, op: Write) -> Deferred[Any]:
        return self._call(op, lambda: self._write(op))

    def write_all(self, ops: Sequence[Write]) -> Deferred[Any]:
        """In one commit: a crash finds all of them or none."""
        return self._call(ops[0], lambda: self._write_all(ops))

    def _write_all(self, ops: Sequence[Write]) -> Any:
        answers = at_once(self.inner.write_all(ops))
        for op, answer in zip(ops, answers, strict=True):
            self._note(op, answer)
        return answers

    def _write(self, op: Write) -> Any:
        answer = at_once(self.inner.write(op))
        self._note(op, answer)
        return answer

    def _note(self, op: Write, answer: Any) -> None:
        if isinstance(op, End) and isinstance(answer, Depth):
            self.ends[op.id] = op.status
        elif isinstance(op, Requeue) and answer is not None:
            self.ends.pop(op.id, None)

    def page(self, agent: str, after: int, before: int, now: float, limit: int, max_bytes: int) -> Deferred[Any]:
        return self._call(None, lambda: at_once(self.inner.page(agent, after, before, now, limit, max_bytes)))

    def load(self, agent: str, ids: Sequence[str]) -> Deferred[Any]:
        return self._call(None, lambda: at_once(self.inner.load(agent, ids)))

    def find(self, id: str) -> Deferred[Any]:
        return self._call(None, lambda: at_once(self.inner.find(id)))

    def letters(self, after: str, limit: int) -> Deferred[Any]:
        return self._call(None, lambda: at_once(self.inner.letters(after, limit)))

    def letter(self, id: str) -> Deferred[Any]:
        return self._call(None, lambda: at_once(self.inner.letter(id)))

    def overdue(self, now: float, limit: int) -> Deferred[Any]:
        return self._call(None, lambda: at_once(self.inner.overdue(now, limit)))

    def callbacks(self, now: float, limit: int) -> Deferred[Any]:
        return self._call(None, lambda: at_once(self.inner.callbacks(now, limit)))

    def oldest(self, agents: Sequence[str]) -> Deferred[Any]:
        return self._call(None, lambda: at_once(self.inner.oldest(agents)))

    def _call(self, op: Write | None, run: Callable[[], Any]) -> Deferred[Any]:
        call = Call(op, run, Deferred())
        if self.holding[op is None] or any((other.op is None) == (op is None) for other in self.held):
            self.held.append(call)
        else:
            self._do(call)
        return call.answer

    def _do(self, call: Call) -> None:
        refused = self.reads_fail if call.op is None else isinstance(call.op, self.failing)
        if refused:
            call.answer.errback(StoreUnavailable("disk full"))
            return
        try:
            answer = call.run()
        except StoreUnavailable as error:
            call.answer.errback(error)
        else:
            call.answer.callback(answer)

    # -- moods

    @property
    def calm(self) -> bool:
        """Does it behave?"""
        return not (self.held or any(self.holding) or self.failing or self.reads_fail)

    def let_through(self, count: int) -> None:
        """Do and answer the first of what waits."""
        while self.held and count > 0:
            count -= 1
            self._do(self.held.popleft())

    def heal(self) -> None:
        """Do and answer all that waits; hold and refuse nothing more."""
        self.failing, self.reads_fail, self.holding = (), False, (False, False)
        self.let_through(1_000_000)

    def killed(self, found: int) -> None:
        """The process dies; of the writes under way the first ``found`` are found on the disk all the same."""
        for call in [call for call in self.held if call.op is not None][:found]:
            if not isinstance(call.op, self.failing):
                call.run()
        self.held.clear()
        self.failing, self.reads_fail, self.holding = (), False, (False, False)
        at_once(self.inner.close())
        self.inner = self._shelves.store()

    def breaks(self, found: int) -> None:
        """A commit fails at its fsync: nobody knows what of it is on the disk; the first ``found`` writes are."""
        waiting, self.held = self.held, deque()
        for call in [call for call in waiting if call.op is not None][:found]:
            if not isinstance(call.op, self.failing):
                call.run()
        self.holding = (False, False)
        self.failing, self.reads_fail = (object,), True  # type: ignore[assignment]  # every kind of write
        for call in waiting:
            call.answer.errback(StoreBroken("fsync failed"))
        for call in self._on_broken:  # type: ignore[assignment]  # another loop, another call
            call(StoreBroken("fsync failed"))  # type: ignore[operator]  # another loop, another call

    # -- what the test looks at, whatever the mood

    def known(self, id: str) -> Standing | Past | None:
        found: Standing | Past | None = at_once(self.inner.find(id))
        return found

    def depth(self, agent: str) -> Depth:
        page = at_once(self.inner.page(agent, **EVERYTHING))
        assert not page.more
        return Depth(len(page.records), sum(len(record.message.payload) for record in page.records))


def _deferred(work: Any) -> Deferred[Any]:
    assert isinstance(work, Deferred)
    return work


def at_once(work: Any) -> Any:
    """What a call gave that is answered already; what it failed with is raised."""
    answers: list[Any] = []
    work.addCallbacks(answers.append, lambda failure: answers.append(failure.value))
    assert answers, "a store in step answers at once"
    if isinstance(answers[0], Exception):
        raise answers[0]
    return answers[0]


__all__ = ["Shaky", "Shelves", "at_once", "fail"]
