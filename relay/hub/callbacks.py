"""Callbacks: when each end is told, how often, and to how many receivers at a time (protocol 1.6)."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from relay.core.model import Callback, PutOff, Told
from relay.core.ports import StoreUnavailable
from relay.core.webhooks import Answer, Sender, Verdict, pause
from relay.hub.context import Context

UNDER_WAY: Final = 64  #: tries at a time …
TO_ONE: Final = 8  #: … and of these to one receiver
WAITING: Final = 100  #: callbacks that wait in memory for one receiver; the store keeps the others
READ: Final = 200  #: of the store, at a time
REST: Final = 30.0  #: seconds that the others are put off for at least, so that they hide nobody else's
LONGEST_REST: Final = 3600.0
UNWRITTEN: Final = 1000  #: outcomes that the store has not taken; past that nothing more is told


@dataclass(slots=True)
class Receiver:
    """One host: what is told to it now, and what waits for that."""

    busy: int = 0
    waiting: deque[Callback] = field(default_factory=deque)
    rest: float = REST
    crowded: bool = False  #: was anything put off at this look?


class Callbacks:
    """Looks once a second for what is due in the store, and sees each try through.

    A try changes nothing until the store has noted what came of it: a crash, or a store that is away, may tell an end
    twice under the same ``webhook-id``, but never forgets to. Of one message only one try is under way at a time, so
    that a receiver hears of a second end after the first.
    """

    log = Logger()

    def __init__(self, context: Context, sender: Sender) -> None:
        self._context = context
        self._sender = sender
        self._receivers: dict[str, Receiver] = {}
        self._tries: dict[str, Deferred[None]] = {}
        self._in_mind: set[str] = set()  #: ids that wait for their turn, are being told, or whose outcome is unwritten
        self._unwritten = 0  #: outcomes that the store does not know yet
        self._failed: list[PutOff | Told] = []  #: of these the ones whose write failed
        self._settled: set[tuple[str, int]] = set()  #: outcomes written during this look, which may not see that
        self._looking = False
        self._closed = False

    def sweep(self) -> None:
        """Once a second: write what the store could not take, and look for what is due."""
        failed, self._failed = self._failed, []
        for op in failed:
            self._start(self._write(op))
        self._look()

    def close(self) -> None:
        """Break off every try; the store has them still."""
        self._closed = True
        for attempt in list(self._tries.values()):
            attempt.cancel()

    # -- what is due

    def _look(self) -> None:
        if self._looking or self._closed or self._context.draining or self._unwritten >= UNWRITTEN:
            return
        self._looking = True
        self._settled.clear()
        self._start(self._take())

    async def _take(self) -> None:
        context = self._context
        try:
            due = await context.ledger.store.callbacks(context.wall(), len(self._in_mind) + READ)
        except StoreUnavailable:
            return  # said by the ledger; the next look finds the same
        finally:
            self._looking = False
        for callback in due:
            if callback.id not in self._in_mind and (callback.id, callback.number) not in self._settled:
                self._line_up(callback)
        for receiver in self._receivers.values():
            receiver.rest = min(receiver.rest * 2, LONGEST_REST) if receiver.crowded else REST
            receiver.crowded = False
        self._go_on()

    def _line_up(self, callback: Callback) -> None:
        # By its host, which the configuration names; of ports a publisher could think up any number.
        receiver = self._receivers.setdefault(urlsplit(callback.url).hostname or "", Receiver())
        if len(receiver.waiting) < WAITING:
            self._in_mind.add(callback.id)
            receiver.waiting.append(callback)
            return
        # Left as they are, the many for a slow receiver would be all that a look ever sees.
        receiver.crowded = True
        rest = self._context.random.uniform(receiver.rest, 2 * receiver.rest)
        self._note(PutOff(callback.id, callback.number, callback.tries, self._context.wall() + rest))

    def _go_on(self) -> None:
        """Begin as many tries as may be under way, in turn for each receiver."""
        begun = True
        while begun and not self._closed and not self._context.draining:
            begun = False
            for receiver in self._receivers.values():
                if receiver.waiting and receiver.busy < TO_ONE and len(self._tries) < UNDER_WAY:
                    self._begin(receiver, receiver.waiting.popleft())
                    begun = True

    def _start(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        Deferred.fromCoroutine(work).addErrback(lambda failure: self.log.failure("callbacks went wrong", failure))

    # -- one try

    def _begin(self, receiver: Receiver, callback: Callback) -> None:
        receiver.busy += 1
        attempt = Deferred.fromCoroutine(self._try(callback))
        self._tries[callback.id] = attempt
        attempt.addErrback(lambda failure: failure.trap(CancelledError) and None)
        attempt.addErrback(lambda failure: self.log.failure("a callback went wrong", failure))
        attempt.addCallback(lambda _: self._ended(receiver, callback))

    def _ended(self, receiver: Receiver, callback: Callback) -> None:
        receiver.busy -= 1
        del self._tries[callback.id]
        if not self._closed:
            # In the next turn: a sender that answers at once would bring us deeper and deeper here.
            self._context.clock.callLater(0, self._go_on)

    async def _try(self, callback: Callback) -> None:
        answer = await self._sender.tell(callback)
        if not self._closed:
            self._note(self._after(callback, answer))

    def _after(self, callback: Callback, answer: Answer) -> PutOff | Told:
        context, tries = self._context, callback.tries + 1
        if answer.verdict is not Verdict.FAILED:
            return Told(callback.id, callback.number)
        wait = pause(tries, answer.retry_after, context.random.uniform)
        if wait is not None:
            return PutOff(callback.id, callback.number, tries, context.wall() + wait)
        # Not the whole URL: what follows the host is often a secret.
        host = urlsplit(callback.url).hostname
        self.log.warn(
            "the end of {id} could not be told to {host}: {detail}", id=callback.id, host=host, detail=answer.detail
        )
        return Told(callback.id, callback.number)

    # -- what the store is told

    def _note(self, op: PutOff | Told) -> None:
        self._in_mind.add(op.id)
        self._unwritten += 1
        self._start(self._write(op))

    async def _write(self, op: PutOff | Told) -> None:
        try:
            await self._context.ledger.call_back(op)
        except StoreUnavailable:
            self._failed.append(op)  # said by the ledger; the next sweep tries again
            return
        self._unwritten -= 1
        self._settled.add((op.id, op.number))
        self._in_mind.discard(op.id)
