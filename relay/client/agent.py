"""The agent: holds a session with the relay for as long as it runs, and comes back when one ends.

It has the form of Twisted's ``ClientService``: start it, stop it, or give it to a parent service.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.client.address import Address
from relay.client.desk import Desk, Handler
from relay.client.frames import Registered
from relay.client.link import LinkFactory
from relay.client.policy import Backoff, Ending, Verdict, judge
from relay.client.session import OPENING_SECONDS, Session
from relay.core.ids import is_agent_id
from relay.core.limits import KIB, MIB
from relay.core.wire import LONGEST_CLIENT, SMALLEST_MAX_FRAME, encode

Token = str | Callable[[], str]

#: bytes: a text of 1 MiB that JSON must escape throughout fits in it
DEFAULT_MAX_FRAME: Final = 8 * MIB

log = Logger()


@dataclass(frozen=True, slots=True)
class Settings:
    """What an agent asks of the relay, and of itself. Each is checked; ValueError names the one that is wrong."""

    client: str = "relay.client"  #: what it is, for operators: at most 128 characters
    max_in_flight: int = 100  #: messages sent to it and not yet answered
    ack_wait: float = 30.0  #: seconds until the relay sends a message again; 0 = never in this session
    max_frame: int = DEFAULT_MAX_FRAME  #: bytes: larger messages are not sent to it, but rejected
    on_duplicate: str | None = None  #: ``reject`` or ``replace``, if the relay allows a choice
    concurrency: int = 1  #: handlers at a time; 1 keeps the order
    patience: float = 3600.0  #: seconds that a handler may take
    max_bytes: int = 64 * MIB  #: payload bytes in hand, above which the relay is asked to pause
    stop_limit: float = 10.0  #: seconds that handlers are waited for when the agent stops

    def __post_init__(self) -> None:
        checks = (
            (len(self.client) <= LONGEST_CLIENT, "client", f"at most {LONGEST_CLIENT} characters"),
            (1 <= self.max_in_flight <= 10_000, "max_in_flight", "1 to 10000"),
            (0 <= self.ack_wait <= 3600, "ack_wait", "0 to 3600 seconds"),
            (self.max_frame >= SMALLEST_MAX_FRAME, "max_frame", f"at least {SMALLEST_MAX_FRAME} bytes"),
            (self.on_duplicate in (None, "reject", "replace"), "on_duplicate", "'reject' or 'replace'"),
            (1 <= self.concurrency <= 10_000, "concurrency", "1 to 10000"),
            (0 < self.patience < float("inf"), "patience", "more than 0 seconds"),
            (self.max_bytes >= 64 * KIB, "max_bytes", f"at least {64 * KIB} bytes"),
            (0 <= self.stop_limit < float("inf"), "stop_limit", "0 seconds or more"),
        )
        for holds, name, allowed in checks:
            if not holds:
                raise ValueError(f"{name} must be {allowed}, not {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True)
class Joined:
    """The agent is registered."""

    frame: Registered


@dataclass(frozen=True, slots=True)
class Parted:
    """A session, or the attempt at one, has ended."""

    verdict: Verdict
    again_in: float | None  #: seconds until the next attempt; None: there will be none


class Phase(enum.Enum):
    """It only moves down this list."""

    IDLE = "idle"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Agent(Service):
    """Receives the messages of one agent.

    ``handler`` is called with each ``Message``: when it returns, the message is acknowledged, and what it returns
    (anything that can be JSON, up to 64 KiB; None is nothing) is the reply to the publisher; ``Nack``, or any other
    exception, gives the message back. A message that was acknowledged and comes again is acknowledged again without a
    call, and without its reply.

    ``notice`` is told of ``Joined`` and ``Parted``. ``token`` may be a callable that gives a fresh one. ``chance``
    gives numbers from 0 up to 1, for the jitter. ``endpoint`` replaces the way to the relay that follows from ``url``.

    Raises ValueError for a URL or a name that cannot be one.
    """

    def __init__(
        self,
        url: str,
        agent: str,
        handler: Handler,
        *,
        reactor: Any,
        settings: Settings | None = None,
        token: Token | None = None,
        notice: Callable[[Joined | Parted], object] | None = None,
        chance: Callable[[], float] = random.random,
        endpoint: IStreamClientEndpoint | None = None,
    ) -> None:
        if not is_agent_id(agent):
            raise ValueError(f"an agent's name is 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ -, not {agent[:200]!r}")
        self.agent = agent
        self.settings = settings = settings or Settings()
        self._address = Address.parse(url)
        self._reactor = reactor
        self._token = token
        self._notice = notice
        self._endpoint = endpoint or self._address.endpoint(reactor, OPENING_SECONDS)
        self._backoff = Backoff(chance)
        self._phase = Phase.IDLE
        self._resume: str | None = None
        self._session: Session | None = None
        self._pause: Deferred[None] | None = None
        self._last: Verdict | None = None
        self._waiters: list[Deferred[Verdict | None]] = []
        self._desk = Desk(
            handler,
            clock=reactor,
            say=self._say,
            concurrency=settings.concurrency,
            patience=settings.patience,
            most=settings.max_in_flight + settings.concurrency,
        )

    def startService(self) -> None:
        """Connect, and keep connecting. An agent runs once."""
        if self._phase is not Phase.IDLE:
            raise RuntimeError("an agent runs once: make another")
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        self._phase = Phase.RUNNING
        Deferred.fromCoroutine(self._run()).addCallbacks(self._done, self._failed)

    def stopService(self) -> Deferred[None]:
        """Ask for nothing new, finish what is being handled (up to ``stop_limit``), and leave in order.

        Fires when the connection is gone. May be called at any time, any number of times.
        """
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        return Deferred.fromCoroutine(self._stop())

    def when_stopped(self) -> Deferred[Verdict | None]:
        """Fires when the agent has stopped: with None when it was asked to, otherwise with the verdict behind it."""
        if self._phase is Phase.STOPPED:
            return succeed(self._last)
        waiter: Deferred[Verdict | None] = Deferred()
        self._waiters.append(waiter)
        return waiter

    async def _run(self) -> Verdict | None:
        while True:
            ending = await self._attend()
            self._desk.forget_waiting()
            verdict = judge(ending)
            if self._stopping():
                return None
            if not verdict.again:
                self._tell(Parted(verdict, None))
                return verdict
            delay = self._backoff.delay(verdict.at_least, ending.lasted)
            self._tell(Parted(verdict, delay))
            await self._rest(delay)
            if self._stopping():
                return None

    async def _attend(self) -> Ending:
        """One session, from the attempt to its end."""
        settings = self.settings
        session = self._session = Session(
            self._hello(),
            self._desk,
            self._reactor,
            max_in_flight=settings.max_in_flight,
            max_bytes=settings.max_bytes,
            joined=self._on_joined,
        )
        token = self._token() if callable(self._token) else self._token
        factory = LinkFactory(self._address, token, settings.max_frame, session, self._reactor)
        connecting = self._endpoint.connect(factory)
        connecting.addErrback(lambda failure: session.lost(Ending(reached=False, detail=failure.getErrorMessage())))
        try:
            return await session.ended
        finally:
            self._session = None
            connecting.cancel()

    def _hello(self) -> bytes:
        settings = self.settings
        return encode(
            "register",
            agent=self.agent,
            resume=self._resume,
            client=settings.client,
            max_in_flight=settings.max_in_flight,
            ack_wait=settings.ack_wait,
            max_frame=settings.max_frame,
            on_duplicate=settings.on_duplicate,
        )

    async def _rest(self, seconds: float) -> None:
        self._pause = deferLater(self._reactor, seconds)
        try:
            await self._pause
        except CancelledError:
            pass  # only ``_stop`` does that
        finally:
            self._pause = None

    async def _stop(self) -> None:
        stopped = self.when_stopped()
        if self._phase is Phase.IDLE:
            self._done(None)
        elif self._phase is Phase.RUNNING:
            self._phase = Phase.STOPPING
            if self._pause is not None:
                self._pause.cancel()
            if self._session is not None:
                self._session.pause()
            await self._desk.finish(self.settings.stop_limit)
            if self._session is not None:
                self._session.leave()
        await stopped

    def _stopping(self) -> bool:
        return self._phase is Phase.STOPPING

    def _on_joined(self, frame: Registered) -> None:
        self._resume = frame.session
        self._tell(Joined(frame))

    def _say(self, frame: bytes) -> None:
        if self._session is not None:
            self._session.say(frame)

    def _tell(self, event: Joined | Parted) -> None:
        match event:
            case Joined(frame):
                log.info("{agent} is registered at {url}", agent=frame.agent, url=self._address.http)
            case Parted(verdict, again_in):
                log.info("{sentence}; again in {again_in} s", sentence=verdict.sentence, again_in=again_in)
        if self._notice is not None:
            with log.failuresHandled("the callback for notices failed"):
                self._notice(event)

    def _done(self, verdict: Verdict | None) -> None:
        self._phase = Phase.STOPPED
        self._last = verdict
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(verdict)

    def _failed(self, failure: Failure) -> None:
        log.failure("the agent failed", failure)
        self._done(Verdict(False, 0, f"this client failed: {failure.getErrorMessage()}"))
