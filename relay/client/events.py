"""What happens on a relay, as it happens (protocol 1.4): read as Server-Sent Events, resumed when a stream breaks."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import deferLater

from relay.client.door import Door
from relay.client.policy import Backoff
from relay.client.refusal import Refused, Unreachable
from relay.core.limits import MIB

SILENCE: Final = 60.0  #: seconds without a byte: the relay sends a comment each 20
MOST: Final = 1000  #: events that wait here; past that nothing is read, and the relay keeps them for a while
LONGEST_EVENT: Final = MIB  #: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. The first of each connection is of the type ``hello``."""

    type: str  #: ``message.delivered``, ``agent.connected`` …
    id: str  #: for ``since``
    at: str = ""  #: RFC 3339
    agent: str | None = None
    lost: bool = False  #: with ``hello``: between this and the last one some are missing
    fields: dict[str, Any] = field(default_factory=dict)  #: all that was said, by name


class Events:
    """An async iterator of events, which ends when it is told to, or when the relay says that it may not go on.

    After a broken stream, and after 429 or 5xx, it comes back as an agent does, from where it was; ``pausing`` is told
    why, and in how many seconds. Raises Refused for any other answer.
    """

    def __init__(
        self,
        door: Door,
        clock: IReactorTime,
        *,
        agent: str | None = None,
        types: tuple[str, ...] = (),
        since: str | None = None,
        chance: Callable[[], float] = random.random,
        pausing: Callable[[str, float], object] | None = None,
    ) -> None:
        asked_for = {"agent": agent, "types": ",".join(types) or None}
        query = urlencode({name: value for name, value in asked_for.items() if value is not None})
        self._path = "/v1/events" + (f"?{query}" if query else "")
        self._door = door
        self._clock = clock
        self._backoff = Backoff(chance)
        self._pausing = pausing or (lambda why, seconds: None)
        self._last = since
        self._work: Deferred[None] | None = None
        self._stream: _Stream | None = None
        self._stopped = False

    async def __aiter__(self) -> AsyncIterator[Event]:
        while not self._stopped:
            begun = self._clock.seconds()
            stream = self._stream = _Stream(self._clock)
            self._work = Deferred.fromCoroutine(stream.run(self._door, self._path, self._last))
            try:
                async for event in stream:
                    if event.type != "hello" or self._last is None or event.lost:
                        self._last = event.id
                    yield event
                why, at_least = "the relay ended the stream", 0.0
            except Unreachable as error:
                why, at_least = str(error), 0.0
            except Refused as error:
                if error.problem.status != 429 and error.problem.status < 500:
                    raise
                why, at_least = str(error), error.problem.retry_after or 0.0
            finally:
                self._work.cancel()
            lasted = self._clock.seconds() - begun if stream.greeted else 0.0
            await self._rest(why, self._backoff.delay(at_least, lasted))

    def stop(self) -> None:
        """End the iteration, now."""
        self._stopped = True
        if self._stream is not None:
            self._stream.end(None)
        if self._work is not None:
            self._work.cancel()

    async def _rest(self, why: str, seconds: float) -> None:
        if self._stopped:
            return
        self._pausing(why, seconds)
        pause = self._work = deferLater(self._clock, seconds)
        try:
            await pause
        except CancelledError:
            if not self._stopped:
                raise


class _Stream:
    """One connection: bytes in, events out. It reads no more than who iterates takes."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._rest = b""
        self._waiting: deque[Event] = deque()
        self._wanted: Deferred[None] | None = None
        self._over = False
        self._error: Exception | None = None
        self._wire: IPushProducer | None = None
        self._paused = False
        self._heard_at = clock.seconds()
        self.greeted = False

    async def run(self, door: Door, path: str, last: str | None) -> None:
        """Open it, and read to its end, which is told to who iterates. Raises nothing."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last is not None else {})
        reading = Deferred.fromCoroutine(
            door.stream("GET", path, headers=headers, timeout=None, take=self._take, begun=self._begun)
        )
        timer = self._clock.callLater(SILENCE, self._look, reading)
        self._timer = timer
        try:
            await reading
        except (Refused, Unreachable) as error:
            self.end(error)
        except CancelledError:
            self.end(Unreachable(f"nothing came for {SILENCE:g} s"))
        finally:
            if self._timer.active():
                self._timer.cancel()
        self.end(None)

    def end(self, error: Exception | None) -> None:
        """Nothing more comes: after what waits, ``error`` is raised."""
        if not self._over:
            self._over, self._error = True, error
            self._wake()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._waiting:
                event = self._waiting.popleft()
                if self._paused and len(self._waiting) <= MOST // 2 and self._wire is not None:
                    self._paused, self._heard_at = False, self._clock.seconds()
                    self._wire.resumeProducing()
                yield event
            if self._over:
                if self._error is not None:
                    raise self._error
                return
            self._wanted = Deferred()
            await self._wanted

    def _begun(self, wire: IPushProducer) -> None:
        self._wire = wire

    def _take(self, data: bytes) -> None:
        self._heard_at = self._clock.seconds()
        *whole, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n\n")
        if len(self._rest) > LONGEST_EVENT:
            raise Unreachable(f"what answered is not a relay: an event of more than {LONGEST_EVENT} bytes")
        self._waiting += (event for event in map(_event, whole) if event is not None)
        self.greeted = self.greeted or bool(self._waiting)
        if not self._paused and len(self._waiting) > MOST and self._wire is not None and not self._over:
            self._paused = True
            self._wire.pauseProducing()
        self._wake()

    def _wake(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            wanted.callback(None)

    def _look(self, reading: Deferred[None]) -> None:
        """Is anything still coming? What we do not read cannot."""
        left = self._heard_at + SILENCE - self._clock.seconds()
        if left <= 0 and not self._paused:
            reading.cancel()
        else:
            self._timer = self._clock.callLater(left if left > 0 else SILENCE, self._look, reading)


def _event(text: bytes) -> Event | None:
    """One event of the stream (the WHATWG's format); None for a comment. Raises Unreachable: a relay says no such."""
    said: dict[bytes, bytes] = {}
    for line in text.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        said[name] = said[name] + b"\n" + value if name == b"data" and name in said else value
    if b"data" not in said:
        return None
    try:
        fields: dict[str, Any] = msgspec.json.decode(said[b"data"], type=dict[str, Any])
        kind, id = said.get(b"event", b"message").decode(), said.get(b"id", b"").decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreachable(f"what answered is not a relay: {error}") from None
    return Event(
        type=kind,
        id=id,
        at=str(fields.get("at", "")),
        agent=fields.get("agent"),
        lost=fields.get("lost") is True,
        fields=fields,
    )
