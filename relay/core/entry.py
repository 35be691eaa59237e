"""A message as its agent's line has it in mind, and the steps that a line asks for."""

from __future__ import annotations

import enum
from collections import deque
from typing import Final

import msgspec

from relay.core.model import Event, Message, Record, Trials, Value


class Phase(enum.Enum):
    """Where a message stands with its session."""

    WAITING = "waiting"  #: for its first send; in the tail
    FLYING = "flying"  #: sent in this session and not ended
    RESTING = "resting"  #: not before its time, or left behind by a session that is over
    ENDED = "ended"  #: whatever the store still says


class Saved(enum.Enum):
    """Where a message stands with the store."""

    NO = "no"
    SAVING = "saving"
    YES = "yes"


# A member that is named by its class is looked for by a function of the class's, each time. Where every message passes,
# it goes by these.
FLYING: Final = Phase.FLYING
ENDED: Final = Phase.ENDED
UNSAVED: Final = Saved.NO


class Entry(msgspec.Struct, eq=False, gc=False):
    """A message that the line has in mind. ``message`` is None when only the disk has its payload."""

    place: int  #: 0 = not known
    id: str
    size: int  #: payload bytes; 0 = not known yet
    message: Message | None
    trials: Trials
    expires_at: float
    phase: Phase = Phase.WAITING
    saved: Saved = Saved.NO
    writes: int = 0  #: under way about it; each ends with ``Line.written``
    left: bool = False  #: by a session that is over, while the store does not have it as it is
    sends: int = 0  #: in this session, since the agent last refused it
    pause: float | None = None  #: among the redelivery timers, with this delay in seconds
    topic: str | None = None
    replaced_by: str = ""  #: a newer message of its topic came while it was in flight: it is not sent again
    publisher: str = ""
    launched: tuple[float, str] | None = None  #: when (Unix time) and in which session it was accepted and sent at once
    events: tuple[Event, ...] = ()  #: since then, or in all, that the store does not know yet

    @property
    def unproved(self) -> bool:
        """Was it put off by its id alone? Then the store may have it or not, or may have ended it."""
        return not self.place and self.phase is Phase.RESTING


#: Most agents are idle, and an empty deque takes 760 bytes: this one is everybody's, and takes nothing in.
_NONE: Final[deque[Entry]] = deque(maxlen=0)


class Tail:
    """The messages behind the disk's range, in order, with the sum of their payloads."""

    __slots__ = ("bytes", "entries")

    def __init__(self) -> None:
        self.entries = _NONE
        self.bytes = 0

    def __len__(self) -> int:
        return len(self.entries)

    def first(self) -> Entry | None:
        return self.entries[0] if self.entries else None

    def push(self, entry: Entry) -> None:
        if self.entries is _NONE:
            self.entries = deque()
        self.entries.append(entry)
        self.bytes += entry.size

    def take_out(self, entry: Entry) -> None:
        """Remove it, wherever it is; nothing happens if it is not there. It is nearly always at an end."""
        entries = self.entries
        if entries and entries[-1] is entry:
            entries.pop()
        elif entries and entries[0] is entry:
            entries.popleft()
        elif entry in entries:
            entries.remove(entry)
        else:
            return
        self.bytes -= entry.size


class Send(Value, frozen=True):
    """Send this now: its first send, or one after it rested."""

    record: Record
    entry: Entry | None  #: None: it came from the disk and is not in mind yet

    @property
    def trials(self) -> Trials:
        """What was tried before this send; the line knows it better than the disk."""
        return self.entry.trials if self.entry is not None else self.record.trials


class Read(Value, frozen=True):
    """Read the queue at places in the open range (after, before) and tell ``Line.arrived``."""

    session: int
    after: int
    before: int


class Recall(Value, frozen=True):
    """Read these messages again, their time has come, and tell ``Line.recalled``."""

    session: int
    ids: tuple[str, ...]


Step = Send | Read | Recall
