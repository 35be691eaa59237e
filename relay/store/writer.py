"""The thread that writes: batches into commits, and errors into answers."""

from __future__ import annotations

import os
from collections.abc import Sequence

from relay.core.model import Put, Snapshot, Write
from relay.core.ports import StoreRefused, StoreUnavailable
from relay.store.database import Database
from relay.store.faults import Health, StoreFull
from relay.store.lock import FileLock
from relay.store.opening import check_library, refusing
from relay.store.room import Room
from relay.store.work import Answer


class Writer:
    """Owns the database from ``open`` to ``close``. Every call is made on one thread."""

    def __init__(self, database: Database, room: Room, health: Health) -> None:
        self._database = database
        self._room = room
        self._health = health
        self._lock = FileLock(f"{database.path}.lock")

    def open(self, now: float) -> Snapshot:
        """Open the database and say what it holds at Unix time ``now``. Raises StoreRefused, and then holds nothing."""
        check_library()
        path = self._database.path
        directory = os.path.dirname(path)
        if not os.path.isdir(directory):
            raise StoreRefused(f"{path} cannot be made: there is no directory {directory}")
        with refusing(path):
            self._lock.acquire()
            try:
                self._room.clear()
                snapshot = self._database.open(now)
                self._room.refusal()  # make the reserve now, if there is room for it
                return snapshot
            except BaseException:
                self._lock.release()
                raise

    def close(self) -> None:
        """Let go of it, when no other thread uses it any more."""
        self._database.close(broken=self._health.broken is not None)
        self._lock.release()

    def commit(self, ops: Sequence[Write]) -> Sequence[Answer]:
        """Make these changes durable and say of each what came of it. Never raises.

        When the disk is full the new messages are refused, and the rest is committed without them: it makes room, once
        it is not remembered how messages ended.
        """
        try:
            self._health.check()
            refusal: StoreUnavailable | None = None
            if Put in set(map(type, ops)):
                refusal = self._room.refusal()
            if refusal is None:
                try:
                    return self._database.transact(ops)
                except Exception as error:
                    refusal = self._health.judge(error)
                    if not isinstance(refusal, StoreFull):
                        return [refusal] * len(ops)
                    self._room.ran_out()
            return self._without_puts(ops, refusal)
        except Exception as error:
            return [self._health.judge(error)] * len(ops)

    def _without_puts(self, ops: Sequence[Write], refusal: StoreUnavailable) -> Sequence[Answer]:
        answers: list[Answer] = [refusal] * len(ops)
        others = [(index, op) for index, op in enumerate(ops) if not isinstance(op, Put)]
        if others:
            done = self._in_little_room([op for _, op in others])
            for (index, _), answer in zip(others, done, strict=True):
                answers[index] = answer
        return answers

    def _in_little_room(self, ops: Sequence[Write]) -> Sequence[Answer]:
        try:
            return self._database.transact(ops)
        except Exception as error:
            if not isinstance(self._health.judge(error), StoreFull):
                raise
            self._room.ran_out()
        return self._database.transact(ops, lean=True)

    def tidy(self, now: float, *, idle: bool) -> bool:
        """Forget a slice of what is too old; when nothing else is to do, empty the log. Is there more to forget?

        Raises StoreUnavailable.
        """
        more = self._health.run(self._database.prune, now)
        if idle and not more:
            self._health.run(self._database.empty_log)
        return more
