"""Holds a session with the relay for as long as it runs, and comes back when one ends.

It has the form of Twisted's ``ClientService``: start it, stop it, or give it to a parent service.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Unpack

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.client.address import Address
from relay.client.desk import Desk
from relay.client.frames import Error, Frame, Registered, Result
from relay.client.link import LinkFactory
from relay.client.outgoing import Answer, Outgoing, Wishes
from relay.client.policy import Backoff, Ending, Verdict, judge
from relay.client.publications import Publications
from relay.client.renewal import Renewal
from relay.client.session import OPENING_SECONDS, Session
from relay.client.settings import Settings
from relay.client.tokens import Token, fresh

log = Logger()


@dataclass(frozen=True, slots=True)
class Joined:
    """The session is registered."""

    frame: Registered


@dataclass(frozen=True, slots=True)
class Parted:
    """A session, or the attempt at one, has ended."""

    verdict: Verdict
    again_in: float | None  #: seconds until the next attempt; None: there will be none


Notice = Callable[[Joined | Parted], object]


class Phase(enum.Enum):
    """It only moves down this list."""

    IDLE = "idle"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a presence is given from outside, all by name; ``Agent`` says what each is."""

    reactor: Any
    token: Token | None = None
    notice: Notice | None = None
    chance: Callable[[], float] = random.random
    endpoint: IStreamClientEndpoint | None = None


class Presence(Service):
    """What ``Agent`` and ``Feed`` have in common. Who inherits makes the desk and the ``register`` frame."""

    _desk: Desk

    def __init__(self, url: str, settings: Settings, around: Surroundings) -> None:
        self.settings = settings
        self._address = Address.parse(url)
        self._reactor = around.reactor
        self._token = around.token
        self._notice = around.notice
        self._endpoint = around.endpoint or self._address.endpoint(around.reactor, OPENING_SECONDS)
        self._backoff = Backoff(around.chance)
        self._phase = Phase.IDLE
        self._window = settings.max_in_flight
        self._resume: str | None = None
        self._session: Session | None = None
        self._pause: Deferred[None] | None = None
        self._last: Verdict | None = None
        self._waiters: list[Deferred[Verdict | None]] = []
        self._publications = Publications(around.reactor, self._say)
        self._renewal = Renewal(around.token, around.reactor, self._say)

    def startService(self) -> None:
        """Connect, and keep connecting. It runs once."""
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
        """Fires when it has stopped: with None when it was asked to, otherwise with the verdict behind it."""
        if self._phase is Phase.STOPPED:
            return succeed(self._last)
        waiter: Deferred[Verdict | None] = Deferred()
        self._waiters.append(waiter)
        return waiter

    def publish(self, agent: str, payload: bytes | str, **wishes: Unpack[Wishes]) -> Deferred[Answer]:
        """Send a message to another agent over this session's own socket; as ``Publisher.send`` does over HTTP.

        At most 1,000 of them, and 16 MiB, wait for their answer at a time: past that a further one fails at once with
        Refused (``rate-limited``). Fails with Unreachable when there is no session, and when it ends before the
        answer has come.
        """
        if self.settings.poll:
            return fail(ValueError("a session that polls publishes nothing: use a Publisher"))
        try:
            message = Outgoing(agent, payload, **wishes)
        except ValueError as error:
            return fail(error)
        return self._publications.publish(message)

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
            told=self._told,
        )
        session.resize(self._window)
        connecting = Deferred.fromCoroutine(self._connect(session))
        connecting.addErrback(lambda failure: session.lost(Ending(reached=False, detail=failure.getErrorMessage())))
        try:
            return await session.ended
        finally:
            self._session = None
            connecting.cancel()
            self._lost()

    async def _connect(self, session: Session) -> None:
        token = await fresh(self._token)
        factory = LinkFactory(self._address, token, self.settings.max_frame, session, self._reactor)
        await self._endpoint.connect(factory)

    def _hello(self) -> bytes:
        raise NotImplementedError

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
                self._session.resize(0)
            await self._desk.finish(self.settings.stop_limit)
            if self._session is not None:
                self._session.leave()
        await stopped

    def _stopping(self) -> bool:
        return self._phase is Phase.STOPPING

    def _say(self, frame: bytes) -> bool:
        return self._session is not None and self._session.say(frame)

    def _ack(self, id: str) -> None:
        if self._session is not None:
            self._session.ack(id)

    def _told(self, frame: Frame) -> None:
        """What the relay says beside messages."""
        match frame:
            case Registered():
                self._resume = frame.session
                self._publications.largest = frame.max_frame
                self._tell(Joined(frame))
            case Result():
                self._publications.decided(frame)
            case Error():
                self._publications.complained(frame)
        self._renewal.told(frame)

    def _lost(self) -> None:
        """The session has ended."""
        self._publications.lost()
        self._renewal.lost()

    def _tell(self, event: Joined | Parted) -> None:
        match event:
            case Joined(frame):
                log.info("{agent} is registered at {url}", agent=frame.agent or "a publisher", url=self._address.http)
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
