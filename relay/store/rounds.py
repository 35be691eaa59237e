"""Cutting a batch into rounds: changes that may be made kind by kind, many rows with one statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from relay.core.model import Discard, End, Put, PutOff, Requeue, Revise, Seen, Told, Write

Topic = tuple[str, str]


@dataclass(slots=True)
class Round:
    """Changes that may be made in this order of kinds. Each comes with its index in the batch."""

    words: dict[tuple[str, int], PutOff | Told] = field(default_factory=dict)  #: the last word on each callback
    puts: list[tuple[int, Put]] = field(default_factory=list)
    revisions: list[tuple[int, Revise]] = field(default_factory=list)
    ends: list[tuple[int, End]] = field(default_factory=list)
    mending: tuple[int, Requeue | Discard] | None = None  #: alone in its round
    seen: dict[str, float] = field(default_factory=dict)
    _steps: dict[str, int] = field(default_factory=dict)  #: by message: the kind of its last change
    _keys: set[tuple[str, str, str]] = field(default_factory=set)
    _topics: set[Topic] = field(default_factory=set)
    _changed: set[str] = field(default_factory=set)  #: agents with a revision or an end

    @property
    def empty(self) -> bool:
        """Is nothing to be done about messages?"""
        return not self._steps and self.mending is None

    def takes(self, op: Put | Revise | End) -> bool:
        """May this one still be made in this round, as if it came behind the others?

        Not if it is about a message that had a change of the same kind or a later one, if its key is asked for already,
        or if it ends others by their topic of which this round may know something.
        """
        if self.mending is not None or self._steps.get(id_of(op), -1) >= kind_of(op):
            return False
        if not isinstance(op, Put):
            return True
        if op.key is not None and (op.key.publisher, op.key.agent, op.key.key) in self._keys:
            return False
        message = op.record.message
        if message.topic is None:
            return True
        return (message.agent, message.topic) not in self._topics and not (
            op.supersedes and message.agent in self._changed
        )

    def hears(self, op: PutOff | Told) -> bool:
        """May this word still be heard in this round, before all else of it? Not if the message ends in it."""
        return self.mending is None and op.id not in self._steps and not self._topics

    def hear(self, op: PutOff | Told) -> None:
        """Hear this one too. What was told is not put off any more."""
        if not isinstance(self.words.get((op.id, op.number)), Told):
            self.words[op.id, op.number] = op

    def add(self, index: int, op: Put | Revise | End) -> None:
        """Make this one too."""
        self._steps[id_of(op)] = kind_of(op)
        match op:
            case Put():
                self.puts.append((index, op))
                if op.key is not None:
                    self._keys.add((op.key.publisher, op.key.agent, op.key.key))
                if op.record.message.topic is not None:
                    self._topics.add((op.record.message.agent, op.record.message.topic))
            case Revise():
                self.revisions.append((index, op))
                self._changed.add(op.agent)
            case End():
                self.ends.append((index, op))
                self._changed.add(op.agent)


def rounds(ops: Sequence[Write]) -> Iterator[Round]:
    """Cut a batch into as few rounds as keep the order of what belongs together: mostly one."""
    if whole := of_one_kind(ops):
        yield whole
        return
    current = Round()
    for index, op in enumerate(ops):
        match op:
            case Seen():
                current.seen[op.agent] = op.at
            case PutOff() | Told():
                if not current.hears(op):
                    yield current
                    current = Round()
                current.hear(op)
            case Requeue() | Discard():
                if not current.empty:
                    yield current
                    current = Round()
                current.mending = (index, op)
            case _:
                if not current.takes(op):
                    yield current
                    current = Round()
                current.add(index, op)
    yield current


def of_one_kind(ops: Sequence[Write]) -> Round | None:
    """The round of a batch of new messages alone, or of ends alone, each about nothing but itself.

    Most are that, and it is seen at once. A key or a topic may concern others.
    """
    ends = [(index, op) for index, op in enumerate(ops) if isinstance(op, End)]
    if ends and len({op.id for _, op in ends}) == len(ops):
        return Round(ends=ends)
    puts = [(index, op) for index, op in enumerate(ops) if isinstance(op, Put) and op.key is None]
    if puts and len({op.record.message.id for _, op in puts if op.record.message.topic is None}) == len(ops):
        return Round(puts=puts)
    return None


def id_of(op: Put | Revise | End) -> str:
    """Which message a change is about."""
    return op.record.message.id if isinstance(op, Put) else op.id


def kind_of(op: Put | Revise | End) -> int:
    """Where its kind comes in a round: in the order of a message's life."""
    return 0 if isinstance(op, Put) else 1 if isinstance(op, Revise) else 2
