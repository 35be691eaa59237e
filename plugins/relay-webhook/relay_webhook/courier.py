"""Hears what happens, and sees to it that it is posted: in order, in batches, again and again for a while."""

from __future__ import annotations

import enum
from collections import deque
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.core.ids import message_id
from relay.core.webhooks import Answer, Verdict
from relay.core.wire import stamp
from relay.extensions import Notice
from relay_webhook.sender import Batch, Sender
from relay_webhook.settings import Webhook

FIRST_PAUSE: Final = 1.0  #: seconds after the first failure; twice that after each further one …
LONGEST_PAUSE: Final = 60.0  #: … up to this
LONGEST_ASKED: Final = 3600.0  #: ``Retry-After`` may ask for that much and no more
LONGEST_DETAIL: Final = 1000  #: characters of what an event says
ID_BITS: Final = 74

_encode: Final = msgspec.json.Encoder().encode


class Relay(Protocol):
    """What is asked of the relay."""

    reactor: Any

    def wall(self) -> float: ...

    def count(self, name: str, number: int = 1) -> None: ...


class Random(Protocol):
    """Chance, as ``random.Random`` has it."""

    def uniform(self, a: float, b: float, /) -> float: ...

    def getrandbits(self, k: int, /) -> int: ...


class State(enum.Enum):
    """What the courier is about."""

    WAITING = "waiting"  #: for events, or for a batch to fill
    POSTING = "posting"  #: one batch is under way
    RETRYING = "retrying"  #: one batch waits for its next try
    CLOSED = "closed"  #: the relay stops, or the receiver wants no more: what is heard is dropped


class Courier(Service):
    """One batch is under way at a time, so that the receiver hears of everything in its order.

    What it drops it counts, and tells the receiver the number of with the next batch that it makes.
    """

    log = Logger()

    def __init__(self, settings: Webhook, relay: Relay, sender: Sender, random: Random) -> None:
        self._settings = settings
        self._relay = relay
        self._sender = sender
        self._random = random
        self._clock: IReactorTime = relay.reactor
        self._state = State.WAITING
        self._waiting: deque[tuple[float, bytes]] = deque()  #: (when it was heard, the event)
        self._missed = 0  #: dropped since the last batch was made
        self._timer: IDelayedCall | None = None  #: in WAITING: the batch is made then
        self._work: Deferred[None] = succeed(None)  #: fires when what is under way is done
        self._pause: Deferred[None] | None = None  #: in RETRYING
        self._stopping = False
        self._failures = 0  #: in a row

    # -- what happens

    def hear(self, notice: Notice) -> None:
        """The listener. Never waits, and never fails."""
        if not self._settings.wants(notice):
            return
        if self._state is State.CLOSED or self._stopping or len(self._waiting) >= self._settings.queue:
            self._drop(1)
            return
        self._waiting.append((self._clock.seconds(), encode(notice)))
        if self.running:
            self._look()

    def startService(self) -> None:
        super().startService()
        self._look()

    def stopService(self) -> Deferred[None]:
        """Post what waits, each batch once, for ``stop_seconds``; what is left then is dropped."""
        super().stopService()
        self._stopping = True
        if self._pause is not None:
            self._pause.callback(None)  # not in a minute: now or never
        self._look()
        limit = self._clock.callLater(self._settings.stop_seconds, self._out_of_time)
        ended: Deferred[None] = Deferred()

        def done(_: object) -> None:
            if limit.active():
                limit.cancel()
            self._close()
            ended.callback(None)

        self._work.addBoth(done)
        return ended

    def _out_of_time(self) -> None:
        self._close()
        self._work.cancel()

    # -- one batch after the other

    def _look(self) -> None:
        """Begin a batch if it is full, or old enough; otherwise see to it that somebody looks then."""
        if self._state is not State.WAITING or not self._waiting:
            return
        due = self._waiting[0][0] + self._settings.batch_seconds
        left = due - self._clock.seconds()
        if self._stopping or left <= 0 or len(self._waiting) >= self._settings.batch:
            self._forget_timer()
            self._state = State.POSTING
            self._work = Deferred.fromCoroutine(self._post_all())
            self._work.addErrback(self._broken)
        elif self._timer is None:
            self._timer = self._clock.callLater(left, self._timed)

    def _timed(self) -> None:
        self._timer = None
        self._look()

    def _forget_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    async def _post_all(self) -> None:
        """Post batches as long as one is due."""
        while self._waiting and self._state is not State.CLOSED:
            await self._post(self._take())
            if not self._stopping and len(self._waiting) < self._settings.batch:
                break
        if self._state is not State.CLOSED:
            self._state = State.WAITING
            # In a turn of its own: this one is about to end what is looked at there.
            self._timer = self._clock.callLater(0, self._timed)

    def _take(self) -> Batch:
        count = min(len(self._waiting), self._settings.batch)
        events = b",".join(self._waiting.popleft()[1] for _ in range(count))
        missed, self._missed = self._missed, 0
        body = b'{"events":[%b],"dropped":%d}' % (events, missed)
        return Batch(message_id(self._relay.wall(), self._random.getrandbits(ID_BITS)), body, count, missed)

    async def _post(self, batch: Batch) -> None:
        """Try until it is taken, or given up."""
        until = self._clock.seconds() + self._settings.retry_seconds
        while True:
            answer = await self._sender.send(batch)
            if answer.verdict is Verdict.TAKEN:
                return self._taken(batch)
            if self._state is State.CLOSED:
                return self._give_up(batch, "no time was left")
            if answer.verdict is Verdict.GONE:
                self._give_up(batch, "it answered 410, and gets nothing more until the relay is started again")
                return self._close()
            wait = self._failed(answer)
            if self._stopping or self._clock.seconds() + wait > until:
                return self._give_up(batch, answer.detail)
            await self._rest(wait)

    def _taken(self, batch: Batch) -> None:
        self._relay.count("posted", batch.count)
        if self._failures:
            self.log.info("{host} takes events again", host=self._host)
        self._failures = 0

    def _failed(self, answer: Answer) -> float:
        """Seconds until the next try. A receiver may ask for more, but not for less."""
        self._relay.count("failed_posts")
        if not self._failures:
            # Once: what comes after it is counted, and every minute a line would say nothing new.
            self.log.warn("{host} does not take events: {detail}", host=self._host, detail=answer.detail)
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures, 10))
        self._failures += 1
        asked = min(answer.retry_after or 0.0, LONGEST_ASKED)
        return max(asked, self._random.uniform(longest / 2, longest))

    async def _rest(self, seconds: float) -> None:
        pause: Deferred[None] = Deferred()
        timer = self._clock.callLater(seconds, pause.callback, None)
        self._state, self._pause = State.RETRYING, pause
        try:
            await pause
        finally:
            self._state, self._pause = State.POSTING, None
            if timer.active():
                timer.cancel()

    # -- what is not told

    def _drop(self, number: int) -> None:
        self._missed += number
        self._relay.count("dropped", number)

    def _give_up(self, batch: Batch, why: str) -> None:
        self._missed += batch.missed
        self._drop(batch.count)
        self.log.warn("{count} events were not told to {host}: {why}", count=batch.count, host=self._host, why=why)

    def _broken(self, failure: Failure) -> None:
        self.log.failure("posting events went wrong", failure)
        if self._state is not State.CLOSED:
            self._state = State.WAITING

    def _close(self) -> None:
        """Nothing more is posted."""
        if self._state is State.CLOSED:
            return
        self._state = State.CLOSED
        self._forget_timer()
        left = len(self._waiting)
        self._waiting.clear()
        if left:
            self._drop(left)
            self.log.warn("{count} events were not told to {host}: no time was left", count=left, host=self._host)
        self._sender.close()

    @property
    def _host(self) -> str:
        # Not the whole URL: what follows the host is often a secret.
        return urlsplit(self._settings.url).hostname or ""


def encode(notice: Notice) -> bytes:
    """An event as it is posted. ``detail`` may be as long as an agent likes: it is cut."""
    fields: dict[str, object] = {"event": notice.event, "at": stamp(notice.at), "agent": notice.agent, **notice.fields}
    detail = fields.get("detail")
    if isinstance(detail, str) and len(detail) > LONGEST_DETAIL:
        fields["detail"] = detail[: LONGEST_DETAIL - 1] + "…"
    return _encode(fields)
