"""What an agent has in hand: messages that came, that are being handled, and that were handled before.

A desk outlives the connections: a handler goes on while its agent reconnects, and its answer counts for whichever
session is there when it has finished (protocol 2.3, ACK).
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from relay.client.memory import Memory
from relay.client.message import Message, Nack
from relay.core.limits import KIB
from relay.core.wire import encode

Handler = Callable[[Message], Awaitable[object]]

LONGEST_REPLY: Final = 64 * KIB  #: bytes
LONGEST_REASON: Final = 1000  #: characters of a nack's reason

log = Logger()


class State(enum.Enum):
    """It only moves down this list."""

    OPEN = "open"
    CLOSING = "closing"  #: what is being handled is finished; nothing new is begun


class Desk:
    """Handles messages, at most ``concurrency`` at a time, begun in the order in which they came.

    ``say`` sends a frame to the relay, if one is connected; ``ack`` acknowledges an id without a word more.
    ``patience`` is the time (seconds) that a handler may take. Past ``most`` messages in hand a further one is refused:
    the relay would have sent more than it was asked for.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        clock: IReactorTime,
        say: Callable[[bytes], object],
        ack: Callable[[str], object],
        concurrency: int,
        patience: float,
        most: int,
    ) -> None:
        self._handler = handler
        self._clock = clock
        self._say = say
        self._ack = ack
        self._concurrency = concurrency
        self._patience = patience
        self._most = most
        self._state = State.OPEN
        self._memory = Memory()
        self._waiting: deque[Message] = deque()
        self._in_hand: dict[str, int] = {}  # id -> bytes
        self._running: dict[str, Deferred[object]] = {}
        self._workers = 0
        self._idle: list[Deferred[None]] = []
        self.bytes = 0  #: of the payloads in hand

    def in_hand(self) -> list[str]:
        """The ids of the messages that are waiting here or being handled, and are not acknowledged."""
        return [id for id in self._in_hand if id not in self._memory]

    def take(self, message: Message) -> None:
        """A message came. One that was handled before is acknowledged again, and nothing else is done with it."""
        if message.id in self._memory:
            self._ack(message.id)
        elif message.id in self._in_hand:
            self._say(encode("progress", id=message.id))
        elif self._state is State.CLOSING:
            pass  # it goes back to the queue with the end of the session
        elif len(self._in_hand) >= self._most:
            self._say(encode("nack", id=message.id, reason="the agent has more in hand than it asked for"))
        else:
            self._put(message)

    def acknowledged(self, message: Message) -> None:
        """This message was acknowledged before its handler has returned, which is then no answer any more."""
        self._memory.remember(message.id, message.life, self._clock.seconds())

    def forget_waiting(self) -> None:
        """The connection is gone: what was not begun will be sent again, if it is still for us."""
        while self._waiting:
            self._drop(self._waiting.popleft())

    def finish(self, limit: float) -> Deferred[None]:
        """Begin nothing more; fires when nothing is being handled. Handlers that take longer than ``limit`` seconds are
        cancelled, and their messages left unanswered: the relay sends them again.
        """
        self._state = State.CLOSING
        self.forget_waiting()
        done: Deferred[None] = Deferred()
        if not self._workers:
            done.callback(None)
            return done
        self._idle.append(done)
        timer = self._clock.callLater(limit, self._give_up)
        done.addBoth(lambda _: timer.cancel() if timer.active() else None)
        return done

    def _put(self, message: Message) -> None:
        self._in_hand[message.id] = len(message.raw)
        self.bytes += len(message.raw)
        self._waiting.append(message)
        if self._workers < self._concurrency:
            Deferred.fromCoroutine(self._work()).addErrback(lambda failure: log.failure("a worker ended", failure))

    def _drop(self, message: Message) -> None:
        self.bytes -= self._in_hand.pop(message.id)

    async def _work(self) -> None:
        # A worker goes on while there is something to do: a handler that never waits costs no stack for each message.
        self._workers += 1
        try:
            while self._waiting:
                await self._handle(self._waiting.popleft())
        finally:
            self._workers -= 1
            if not self._workers:
                waiters, self._idle = self._idle, []
                for waiter in waiters:
                    waiter.callback(None)

    async def _handle(self, message: Message) -> None:
        running = Deferred.fromCoroutine(_call(self._handler, message))
        self._running[message.id] = running
        try:
            answer = await self._outcome(message, running.addTimeout(self._patience, self._clock))
        finally:
            del self._running[message.id]
            self._drop(message)
        if answer is None:
            self._ack(message.id)
        elif answer:
            self._say(answer)

    async def _outcome(self, message: Message, running: Deferred[object]) -> bytes | None:
        """The frame that answers the message; None is an ACK without a word more, and nothing is no answer."""
        try:
            answer = await running
        except Exception as error:
            if message.id not in self._memory:
                return self._refusal(message, error)
            if not isinstance(error, CancelledError):
                log.failure("the handler failed for {id}, which it had acknowledged", id=message.id)
            return b""
        if message.id in self._memory:
            return b""
        self.acknowledged(message)
        reply = _reply(answer)
        return encode("ack", id=message.id, reply=reply) if reply is not None else None

    def _refusal(self, message: Message, error: Exception) -> bytes:
        """Why the handler did not process the message, for the relay."""
        match error:
            case Nack() as nack:
                requeue = None if nack.requeue else False
                reason = _short(nack.reason) or None
                return encode("nack", id=message.id, requeue=requeue, delay=nack.delay, reason=reason)
            case CancelledError():
                return b""
            case TimeoutError():
                return encode("nack", id=message.id, reason=f"not processed within {self._patience:g} s")
        log.failure("the handler failed for message {id}", id=message.id, level=LogLevel.error, failure=Failure(error))
        return encode("nack", id=message.id, reason=_short(f"{type(error).__name__}: {error}"))

    def _give_up(self) -> None:
        for running in list(self._running.values()):
            running.cancel()


async def _call(handler: Handler, message: Message) -> object:
    # In a coroutine of ours a handler that raises before its first await, and one that gives a Deferred, are the same.
    return await handler(message)


def in_json(answer: object) -> bytes:
    """A reply as JSON. Raises ValueError when it cannot be one."""
    try:
        reply = msgspec.json.encode(answer)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"a reply that is not JSON: {error}") from None
    if len(reply) > LONGEST_REPLY:
        raise ValueError(f"a reply of {len(reply)} bytes; allowed are {LONGEST_REPLY}")
    return reply


def _reply(answer: object) -> msgspec.Raw | None:
    """What a handler returned, as JSON for the publisher. The work is done: a reply that cannot be sent is left out."""
    if answer is None:
        return None
    try:
        return msgspec.Raw(in_json(answer))
    except ValueError as error:
        log.error("what a handler returned is left out: {error}", error=error)
        return None


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"
