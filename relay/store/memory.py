"""The store without a disk: everything is lost with the process, and it says so.

It is the shipped twin of the SQLite store, held to the same contract test. For the tests of other rooms it can be
made to behave as a disk does: writes that take their time (``hold``), fail (``fail_with``) or never work again
(``break_down``), and rows that come back changed (``spoil``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeVar, get_args

from twisted.internet.defer import Deferred, fail, succeed

from relay.core.model import Callback, Depth, Kept, Letter, Page, Past, Snapshot, Standing, Write
from relay.core.ports import StoreBroken, StoreUnavailable
from relay.store.faults import StoreOverloaded, again
from relay.store.retention import DEFAULTS, Bounds
from relay.store.shelf import Shelf

T = TypeVar("T")

MAX_WAITING: Final = 20_000


class MemoryStore:
    """``MessageStore`` in memory. Unless it is held, every answer is there when the call returns.

    ``wall`` gives Unix time; without it nothing is forgotten by age. ``durable`` is what it claims to be: the relay
    leaves it False. ``secret`` is the snapshot's, ``bounds`` say how much it keeps. What it holds outlives ``close``,
    so that a test can restart the relay around it.
    """

    def __init__(
        self,
        *,
        durable: bool = False,
        wall: Callable[[], float] = lambda: 0.0,
        secret: bytes = bytes(32),
        bounds: Bounds = DEFAULTS,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.durable = durable
        self._wall = wall
        self._max_waiting = max_waiting
        self._shelf = Shelf(secret, bounds)
        self._open = False
        self._broken: StoreBroken | None = None
        self._on_broken: list[Callable[[StoreBroken], object]] = []
        self._holds: tuple[bool, bool] = (False, False)  #: writes, reads
        self._waiting: deque[Callable[[], object]] = deque()
        self._error: Callable[[Write | None], StoreUnavailable | None] = lambda op: None

    # -- MessageStore

    def open(self) -> Deferred[Snapshot]:
        """Say what it holds. After ``break_down`` this is the restart: it works again."""
        self._open, self._broken = True, None
        self._shelf.settle(self._wall())
        return succeed(self._shelf.snapshot(self._wall()))

    def close(self) -> Deferred[None]:
        """Finish the writes that are held and let go."""
        self.release()
        self._open = False
        return succeed(None)

    def on_broken(self, call: Callable[[StoreBroken], object]) -> None:
        """Call this when ``break_down`` is called."""
        self._on_broken.append(call)

    def write(self, op: Write) -> Deferred[Depth | Kept | None]:
        """Make one change. A Put of an id that is kept already, queued or ended, changes nothing."""
        return self._answer(lambda: self._shelf.apply(op, self._wall()), op, held=self._holds[0])

    def write_all(self, ops: Sequence[Write]) -> Deferred[Sequence[Depth | Kept | None]]:
        """Make these changes, all or none."""
        if not ops:
            return succeed([])
        return self._answer(lambda: [self._shelf.apply(op, self._wall()) for op in ops], ops[0], held=self._holds[0])

    def page(self, agent: str, after: int, before: int, now: float, limit: int, max_bytes: int) -> Deferred[Page]:
        """Read a piece of a queue."""
        return self._read(lambda: self._shelf.page(agent, after, before, now, limit, max_bytes))

    def load(self, agent: str, ids: Sequence[str]) -> Deferred[Page]:
        """Read those messages that are still queued."""
        return self._read(lambda: self._shelf.load(agent, ids))

    def find(self, id: str) -> Deferred[Standing | Past | None]:
        """The message of that id: queued, or remembered."""
        return self._read(lambda: self._shelf.find(id))

    def letters(self, after: str, limit: int) -> Deferred[list[Letter]]:
        """Dead letters; fewer than ``limit`` also where their payloads are large, but two if there are two."""
        return self._read(lambda: self._shelf.letters(after, limit))

    def letter(self, id: str) -> Deferred[Letter | None]:
        """One dead letter."""
        return self._read(lambda: self._shelf.letter(id))

    def overdue(self, now: float, limit: int) -> Deferred[list[tuple[str, str, int]]]:
        """What is queued and has expired."""
        return self._read(lambda: self._shelf.overdue(now, limit))

    def callbacks(self, now: float, limit: int) -> Deferred[list[Callback]]:
        """Callbacks that are due."""
        return self._read(lambda: self._shelf.callbacks(now, limit))

    def oldest(self, agents: Sequence[str]) -> Deferred[dict[str, float]]:
        """When the first message in each queue was created."""
        return self._read(lambda: self._shelf.oldest(agents))

    def _read(self, call: Callable[[], T]) -> Deferred[T]:
        return self._answer(call, held=self._holds[1])

    def _answer(self, call: Callable[[], T], op: Write | None = None, *, held: bool) -> Deferred[T]:
        if error := self._refusal():
            return fail(error)
        if not held:
            return self._done(call, op)
        if len(self._waiting) >= self._max_waiting:
            return fail(StoreOverloaded(f"{self._max_waiting} calls wait for the store: no more may"))
        answer: Deferred[T] = Deferred()
        self._waiting.append(lambda: self._done(call, op).chainDeferred(answer))
        return answer

    def _done(self, call: Callable[[], T], op: Write | None) -> Deferred[T]:
        error = self._broken or self._error(op)
        if error:
            return fail(again(error))
        try:
            return succeed(call())
        except StoreUnavailable as refusal:
            return fail(refusal)

    def _refusal(self) -> StoreUnavailable | None:
        if self._broken is not None:
            return again(self._broken)
        return None if self._open else StoreUnavailable("the store is not open")

    # -- behaving as a disk does

    def hold(self, *, writes: bool = True, reads: bool = False) -> None:
        """From now on writes (and reads) wait for ``release``. Until then no read sees them."""
        self._holds = (writes, reads)

    @property
    def held(self) -> int:
        """How many calls wait for ``release``."""
        return len(self._waiting)

    def release(self, count: int | None = None) -> None:
        """Do and answer the first ``count`` of what waits, in order. Without a count: all, and hold nothing more."""
        if count is not None:
            for _ in range(count):
                self._waiting.popleft()()
            return
        while self._waiting:  # what an answer gives rise to still waits its turn: the order of the calls holds
            self._waiting.popleft()()
        self._holds = (False, False)

    def fail_with(self, error: StoreUnavailable, *kinds: type[Write], reads: bool = False) -> None:
        """From now on every write (or only those kinds), and on demand every read, fails with this until ``heal``."""
        chosen = kinds or get_args(Write)
        self._error = lambda op: error if (reads if op is None else isinstance(op, chosen)) else None

    def heal(self) -> None:
        """Undo ``fail_with``."""
        self._error = lambda op: None

    def break_down(self, reason: str = "the store broke") -> None:
        """Break for good: what waits and what comes fails with StoreBroken, and who asked for it is told."""
        if self._broken is not None:
            return
        broken = self._broken = StoreBroken(reason)
        self.release()
        for call in self._on_broken:
            call(broken)

    def spoil(self, id: str) -> None:
        """Let the payload of this message come back changed: its page says ``corrupt``."""
        self._shelf.spoil(id)
