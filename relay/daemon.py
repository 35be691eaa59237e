"""The order in which a relay starts and stops: the store before the doors, the publishers' answers before the end."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, TimeoutError, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTime, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.core.ports import StoreRefused
from relay.endpoints import is_local, url

log = Logger()

#: Reading a large store after an unclean stop takes its time; past that something hangs.
START_SECONDS = 600.0


class Engine(Protocol):
    """What the daemon asks of the hub."""

    def start(self) -> Awaitable[None]:
        """Open the store. Raises StoreRefused."""

    def drain(self) -> Awaitable[None]:
        """Take nothing new, answer everybody, close the agents with 1001."""

    def close(self) -> Awaitable[None]:
        """Close the store."""

    def on_fatal(self, call: Callable[..., object]) -> None:
        """Call this when the process must end and be started again."""


class Companion(Protocol):
    """What runs beside the doors, from before they open until they are closed."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Surroundings(Protocol):
    """What the daemon asks of the process that it runs in."""

    def begin(self) -> None:
        """The service starts: make the process ready for it."""

    def notify(self, *lines: str) -> None:
        """Tell the service manager."""

    def die(self, why: str) -> None:
        """Say why in one line, stop the reactor and exit with a status that is not 0."""


@dataclass(frozen=True)
class Door:
    """One place to listen at: its endpoint string as it was configured, and what that means."""

    text: str
    endpoint: IStreamServerEndpoint


class Refused(Exception):
    """The relay may not start like this. The text is one line."""


class State(enum.Enum):
    IDLE = "idle"
    STARTING = "starting"  #: the store is not open yet
    OPEN = "open"  #: the store is open, the doors are being opened or are open
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(eq=False)
class RelayService(Service):
    """The daemon as a Twisted service.

    ``started`` fires when every door is open, or when that has failed; it never fails. ``patience`` is how long one
    step of stopping may take, in seconds: past that the next is taken.
    """

    engine: Engine
    factory: IProtocolFactory
    doors: Sequence[Door]
    surroundings: Surroundings
    clock: IReactorTime
    patience: float
    strangers: bool  #: may others than this machine reach a door?
    when_open: Callable[[Sequence[IListeningPort]], object] = lambda ports: None  #: told all doors, once they are open
    companions: Sequence[Companion] = ()
    services: Sequence[tuple[str, IService]] = ()  #: of plugins, by their names
    name: str = "relay"
    state: State = State.IDLE
    started: Deferred[None] = field(default_factory=Deferred)
    ports: list[IListeningPort] = field(default_factory=list)
    _begun: list[tuple[str, IService]] = field(default_factory=list)

    def startService(self) -> None:
        Service.startService(self)
        self.surroundings.begin()
        self.engine.on_fatal(self._fatal)
        self.state = State.STARTING
        starting = Deferred.fromCoroutine(self._start()).addErrback(self._cannot_start)
        starting.chainDeferred(self.started)

    async def _start(self) -> None:
        try:
            await _within(START_SECONDS, self.engine.start(), self.clock)
        except TimeoutError as error:
            raise Refused(f"the store did not open within {START_SECONDS:g} s") from error
        if self.state is not State.STARTING:
            # Stopped meanwhile: no door may open any more.
            return
        for name, service in self.services:
            await self._begin(name, service)
        if self.state is not State.STARTING:
            return
        self.state = State.OPEN
        for companion in self.companions:
            companion.start()
        for door in self.doors:
            await self._open(door)
        self.when_open(self.ports)
        self.surroundings.notify("READY=1")

    async def _begin(self, name: str, service: IService) -> None:
        self._begun.append((name, service))
        try:
            await _within(START_SECONDS, maybeDeferred(service.startService), self.clock)
        except Exception as error:
            raise Refused(f"plugin {name} does not start: {type(error).__name__}: {error}") from error

    async def _open(self, door: Door) -> None:
        try:
            port = await door.endpoint.listen(self.factory)
        except OSError as error:
            raise Refused(f"listen: cannot listen at {door.text}: {error}") from error
        self.ports.append(port)
        address = port.getHost()
        # An inherited socket, or a name for an interface, shows only now where it is. Nothing was accepted yet.
        if not self.strangers and not is_local(address):
            raise Refused(
                f"listen: {door.text} is not allowed: it listens at {url(door.text, address)}, where others than this "
                "machine can reach it, and nobody has to say who they are; --auth-file or --insecure-open lifts this"
            )
        log.info("relay listening on {url}", url=url(door.text, address))

    def _cannot_start(self, failure: Failure) -> None:
        if not failure.check(StoreRefused, CannotListenError, Refused):
            log.failure("relay cannot start", failure)
        self.surroundings.die(f"cannot start: {failure.getErrorMessage()}")

    def _fatal(self, *why: object) -> None:
        self.surroundings.die("the store failed, so this process ends: " + " ".join(map(str, why)))

    def stopService(self) -> Deferred[None]:
        """Drain with the doors still open (they answer 503), close them, close the store. Never fails."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.surroundings.notify("STOPPING=1")
        before, self.state = self.state, State.STOPPING
        if before is State.STARTING:
            await self._step("starting", lambda: self.started)
        # While agents are still here: what a plugin hands in now is delivered, and nothing comes of it later.
        await gatherResults([Deferred.fromCoroutine(self._end(*each)) for each in self._begun])
        if before is State.OPEN:
            await self._step("draining", self.engine.drain)
        while self.ports:
            await self._step("closing a door", self.ports.pop().stopListening)
        for companion in self.companions:
            companion.stop()
        if before is not State.IDLE:
            await self._step("closing the store", self.engine.close)
        self.state = State.STOPPED

    async def _end(self, name: str, service: IService) -> None:
        if service.running:
            await self._step(f"stopping the plugin {name}", lambda: maybeDeferred(service.stopService))

    async def _step(self, what: str, call: Callable[[], Any]) -> None:
        try:
            await _within(self.patience, call(), self.clock)
        except TimeoutError:
            log.error("{what} took more than {patience} s and is left alone", what=what, patience=self.patience)
        except Exception:
            log.failure("{what} failed", what=what)


def _within(seconds: float, waiting: object, clock: IReactorTime) -> Deferred[Any]:
    """What comes of ``waiting`` (a Deferred, or a plain value); TimeoutError when that takes longer.

    It is not cancelled: what a plugin's does then may fail, or be nothing.
    """
    told: Deferred[Any] = Deferred()
    maybeDeferred(lambda: waiting).addBoth(lambda result: None if told.called else told.callback(result))
    return told.addTimeout(seconds, clock)
