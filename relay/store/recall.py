"""What the memory store remembers of what is over: ends, dead letters, idempotency keys, callbacks."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import dropwhile, islice

from msgspec.structs import replace

from relay.core.limits import LETTERS_BYTES
from relay.core.model import Callback, Key, Letter, Message, Past, PutOff, Told
from relay.core.ports import KeysFull
from relay.store.ending import no_room_for_callbacks
from relay.store.retention import ENDED_COUNT_IN_MEMORY, Bounds


class Pasts:
    """How messages ended, oldest end first."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._most = min(bounds.ended_count, ENDED_COUNT_IN_MEMORY)
        self._past: dict[str, Past] = {}
        self._bytes = 0  #: of replies

    def __contains__(self, id: str) -> bool:
        return id in self._past

    def __iter__(self) -> Iterator[Past]:
        return iter(self._past.values())

    def get(self, id: str) -> Past | None:
        return self._past.get(id)

    def add(self, past: Past) -> None:
        """One more, or another word on one."""
        self.remove(past.id)
        self._past[past.id] = past
        self._bytes += len(past.reply or b"")

    def remove(self, id: str) -> None:
        """Forget it, if it is there."""
        if (past := self._past.pop(id, None)) is not None:
            self._bytes -= len(past.reply or b"")

    def prune(self, now: float) -> None:
        """Forget what is too old at Unix time ``now``, or too much."""
        while self._past:
            oldest = next(iter(self._past.values()))
            too_much = len(self._past) > self._most or self._bytes > self._bounds.ended_bytes
            if not too_much and oldest.ended_at >= now - self._bounds.ended_seconds:
                return
            self.remove(oldest.id)


@dataclass(frozen=True, slots=True)
class Shelved:
    """A dead letter, and the time to live that it was first given, in seconds."""

    letter: Letter
    ttl: float


class Letters:
    """Dead letters, oldest end first."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.spoilt: set[str] = set()  #: ids of messages that come back changed
        self._letters: dict[str, Shelved] = {}
        self._bytes = 0

    def __contains__(self, id: str) -> bool:
        return id in self._letters

    def add(self, letter: Letter, ttl: float) -> None:
        """One more."""
        self._letters[letter.past.id] = Shelved(letter, ttl)
        self._bytes += len(letter.record.message.payload)

    def remove(self, id: str) -> Shelved | None:
        """Take it away, if it is there."""
        if (kept := self._letters.pop(id, None)) is not None:
            self._bytes -= len(kept.letter.record.message.payload)
        return kept

    def get(self, id: str) -> Letter | None:
        kept = self._letters.get(id)
        return None if kept is None else self._as_it_is(kept.letter)

    def _as_it_is(self, letter: Letter) -> Letter:
        if letter.past.id not in self.spoilt:
            return letter
        return replace(letter, past=replace(letter.past, reason="corrupt"))

    def after(self, id: str, limit: int) -> list[Letter]:
        """Those behind that id (from the first if it is not there), as far as ``MessageStore.letters`` goes."""
        letters: Iterable[Letter] = (kept.letter for kept in self._letters.values())
        if id in self._letters:
            letters = islice(dropwhile(lambda letter: letter.past.id != id, letters), 1, None)
        found: list[Letter] = []
        left = LETTERS_BYTES
        for letter in islice(letters, limit):
            left -= len(letter.record.message.payload)
            found.append(self._as_it_is(letter))
            if left < 0 and len(found) > 1:
                break
        return found

    def prune(self, now: float) -> None:
        """Forget what is too old at Unix time ``now``, or too much."""
        while self._letters:
            oldest = next(iter(self._letters.values())).letter.past
            bounds = self._bounds
            too_much = len(self._letters) > bounds.letter_count or self._bytes > bounds.letter_bytes
            if not too_much and oldest.ended_at >= now - bounds.letter_seconds:
                return
            self.remove(oldest.id)


class Keys:
    """Idempotency keys: what each names, and the digest of it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._keys: dict[tuple[str, str, str], tuple[str, bytes]] = {}
        self._until: list[tuple[float, tuple[str, str, str]]] = []  #: a heap

    def get(self, key: Key) -> tuple[str, bytes] | None:
        """The id and the digest that it stands for."""
        return self._keys.get((key.publisher, key.agent, key.key))

    def add(self, key: Key, id: str) -> None:
        """Remember it until its time is over. Raises KeysFull."""
        if len(self._keys) >= self._most:
            raise KeysFull(f"{self._most} idempotency keys are remembered: no more may be")
        name = (key.publisher, key.agent, key.key)
        self._keys[name] = (id, key.digest)
        heapq.heappush(self._until, (key.until, name))

    def prune(self, now: float) -> None:
        """Forget those whose time is over at Unix time ``now``."""
        while self._until and self._until[0][0] < now:
            del self._keys[heapq.heappop(self._until)[1]]


class Callbacks:
    """What is to be told to URLs; ``most`` of it, with what is promised to messages that are queued."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._owed: dict[str, Callback] = {}
        self._promised = 0

    def check(self, message: Message) -> None:
        """May its end be promised to a URL, if it has one? Raises CallbacksFull."""
        if message.callback is not None and len(self._owed) + self._promised >= self._most:
            raise no_room_for_callbacks(self._most)

    def promise(self, message: Message) -> None:
        """It is queued. Raises CallbacksFull."""
        self.check(message)
        self._promised += message.callback is not None

    def keep(self, callback: Callback | None) -> None:
        """What was promised, if it was, is owed now."""
        self._promised -= callback is not None
        self.owe(callback)

    def owe(self, callback: Callback | None) -> None:
        """One more, if there is one, in place of an earlier one of its message that was not told yet."""
        if callback is None:
            return
        earlier = self._owed.get(callback.id)
        self._owed[callback.id] = callback if earlier is None else replace(callback, number=earlier.number + 1)

    def hear(self, op: PutOff | Told) -> None:
        """What came of telling one."""
        callback = self._owed.get(op.id)
        if callback is None or callback.number != op.number:
            return
        if isinstance(op, Told):
            del self._owed[op.id]
        else:
            self._owed[op.id] = replace(callback, tries=op.tries, due_at=op.due_at)

    def due(self, now: float, limit: int) -> list[Callback]:
        """Those that are due at Unix time ``now``, the earliest first."""
        due = (each for each in self._owed.values() if each.due_at <= now)
        return heapq.nsmallest(limit, due, key=lambda callback: callback.due_at)
