"""One agent's conversation: frames in and out, by the table of ``core.session``."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from relay.core import wire
from relay.core.access import NOBODY, Grant
from relay.core.bucket import Bucket
from relay.core.ports import AgentTransport
from relay.core.session import LIVE, WAITING, Act, Close, State, act, broke, closed_by
from relay.core.wire import BadFrame, Register
from relay.hub import answers, frames, publications, resend
from relay.hub.context import Context
from relay.hub.couriers import Couriers
from relay.hub.delivery import Delivery
from relay.hub.outlet import Outlet
from relay.hub.publications import Lot


class SessionHost(Protocol):
    """What a session asks of the registry."""

    def register(self, session: AgentSession, frame: Register) -> None:
        """It wants to hold its agent."""

    def shown(self, session: AgentSession, token: str) -> None:
        """It shows a fresh token."""

    def granted(self, session: AgentSession, grant: Grant) -> None:
        """It has this grant now."""

    def released(self, session: AgentSession, *, broke: bool) -> None:
        """It held its agent, and does so no more."""

    def over(self, session: AgentSession) -> None:
        """Its connection is gone."""

    def sign_of_life(self, session: AgentSession) -> None:
        """Somebody waits to hear from this one, and it was heard."""


class AgentSession:
    """Implements ``relay.core.ports.AgentConversation``."""

    log = Logger()

    def __init__(
        self,
        transport: AgentTransport,
        context: Context,
        couriers: Couriers,
        delivery: Delivery,
        host: SessionHost,
        token: str | None = None,
        vouched: Grant | None = None,
    ) -> None:
        self.transport = transport
        self.token = token  #: came with the upgrade, and is forgotten when it has been looked at
        self.vouched = vouched  #: it is part of this process, and needs no token
        self.grant = NOBODY
        self.state = State.OPEN
        self.agent = ""
        self.took_over: str | None = None
        self.client: str | None = None
        self.since = 0.0  #: Unix time of the registration
        self.heard_at = context.clock.seconds()
        self.strikes = 0  #: pings since anything was heard
        self.probed = False  #: does somebody wait for a sign of life?
        self.outlet: Outlet | None = None
        self.holds = transport.holds
        self.undecided = 0  #: publications
        self.lots: dict[Lot, None] = {}  #: of those; most sessions are idle, and an empty set takes 216 bytes
        self.context = context
        self.couriers = couriers
        self.delivery = delivery
        self.host = host
        self._kept: tuple[bytes, ...] = ()  # a list of one's own takes 72 bytes
        self._errors: tuple[float, ...] = ()
        self.pace = Bucket(context.limits.frames) if context.limits.frames else None
        self._deadline: IDelayedCall | None = context.clock.callLater(context.limits.register_seconds, self._too_late)

    # -- from the wire

    def received(self, *frames: bytes) -> None:
        self.heard()
        single = len(frames) == 1 and not frames[0].startswith(wire.PUBLISH)  # as nearly always
        for frame in frames if single else publications.taken_together(self, frames):
            self._take(frame)

    def _take(self, frame: bytes) -> None:
        is_live = self.state is LIVE
        if not is_live and self.state in WAITING:
            self._keep(frame)
            return
        if self.pace is not None and not self.pace.take(self.heard_at) and is_live:
            self.context.counters.reached("frames")
            detail = f"there may be {self.pace.rate:g} frames a second; this one had no effect"
            self.complain("rate-limited", detail, **wire.about(frame))
            return
        if is_live and self.agent and (id := wire.acknowledged(frame)) is not None:
            answers.acknowledge_one(self.couriers.of(self.agent), id, self.heard_at)  # as nearly always
            return
        try:
            kind, parsed = wire.parse(frame)
        except BadFrame as error:
            self._bad(error, wire.about(frame))
            return
        match act(self.state, kind):
            case Act.REGISTER if isinstance(parsed, Register):
                self._register(parsed)
            case Act.HANDLE:
                frames.handle(self, parsed)
            case Act.REFUSE:
                self.complain("already-registered", "this connection is registered already", **wire.about(frame))
            case Act.UNREGISTERED:
                self.transport.send(wire.error("not-allowed", "the first frame must be 'register'"))
                self.close(Close.UNREGISTERED, "register-first")

    def granted(self, grant: Grant) -> None:
        if self.state is State.LIVE and grant is not self.grant:
            self.host.granted(self, grant)

    def heard(self) -> None:
        self.heard_at = self.context.clock.seconds()
        self.strikes = 0
        if self.outlet is not None:
            self.outlet.doubted = False
        if self.probed:
            self.host.sign_of_life(self)

    def drained(self) -> None:
        if self.state is State.LIVE:
            self.flowed()

    def at_hand(self) -> bool:
        return bool(self.agent) and resend.is_at_hand(self.couriers.of(self.agent))

    def lost(self, code: int | None, by_relay: bool) -> None:
        was, self.state = self.state, State.OVER
        self._cancel_deadline()
        if was is State.LIVE:
            log_end(self, code, by_relay)
            self.host.released(self, broke=broke(code, by_relay))
        self.host.over(self)
        for lot in list(self.lots):
            lot.hang_up()

    # -- what is said

    def _register(self, frame: Register) -> None:
        self._cancel_deadline()
        self.agent = frame.agent or ""
        self.client = frame.client
        self.host.register(self, frame)

    def flowed(self) -> None:
        """Something may go out again."""
        if self.agent:
            resend.go_on(self.couriers.of(self.agent))

    def _keep(self, frame: bytes) -> None:
        """A newcomer's frames wait until it is known whether it may stay."""
        if len(self._kept) < self.context.limits.kept_frames:
            self._kept += (frame,)
        else:
            self.close(Close.ERRORS, "too-many-frames", limit="kept_frames")

    def _bad(self, error: BadFrame, about: dict[str, str]) -> None:
        if self.state is State.LIVE:
            self.complain(error.code, error.detail, **about)
        elif self.state is State.OPEN:
            self.transport.send(wire.error(error.code, error.detail, **about))
            self.close(Close.UNREGISTERED, "register-malformed" if error.kind == "register" else "register-first")

    def complain(self, code: str, detail: str, **fields: str | None) -> None:
        """Say what was wrong; the connection stays, unless it is wrong too often."""
        now, limits = self.context.clock.seconds(), self.context.limits
        while self._errors and now - self._errors[0] >= limits.error_seconds:
            self._errors = self._errors[1:]
        self._errors += (now,)
        self.transport.send(wire.error(code, detail, **fields))
        if len(self._errors) > limits.errors:
            self.close(Close.ERRORS, "too-many-errors", limit="errors")

    # -- what becomes of it

    def wait_in(self, state: State) -> None:
        """Nothing more is read from it until it is known whether it may stay."""
        self.state = state
        self.transport.hold(True)

    @property
    def id(self) -> str:
        """The name of the session; empty before it is registered."""
        return self.outlet.session if self.outlet is not None else ""

    def admitted(self, outlet: Outlet, registered: bytes) -> None:
        """It holds its agent now: ``registered`` is said, its queue goes out, and what it said meanwhile is heard."""
        was, self.state = self.state, State.LIVE
        self.outlet = outlet
        self.since = self.context.wall()
        self.strikes = 0
        self.transport.send(registered)
        if self.agent:
            self.couriers.begin(self.agent, outlet)
        kept, self._kept = self._kept, ()
        self.received(*kept)
        if was in WAITING:
            self.transport.hold(False)

    def close(self, code: Close, word: str, *, retry_after: int | None = None, limit: str | None = None) -> None:
        """Send a close frame, with a word and perhaps when to come back; the session is over for its agent now.

        ``limit``: the one that it reached.
        """
        was = self.state
        if was in (State.CLOSING, State.FENCED, State.OVER):
            return
        self._cancel_deadline()
        self.context.counters.reached(limit)
        self.state = closed_by(code)
        self.transport.close(code, word if retry_after is None else f"{word}; retry_after={retry_after}")
        if was in WAITING:
            self.transport.hold(False)
        if was is State.LIVE:
            log_end(self, code, True)
            self.host.released(self, broke=broke(code, True))

    def drop(self) -> None:
        """It is dead: no close handshake."""
        self.transport.abort()

    def _too_late(self) -> None:
        self._deadline = None
        if self.state is State.OPEN:
            self.close(Close.UNREGISTERED, "register-late", limit="register_seconds")

    def _cancel_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()


def log_end(session: AgentSession, code: int | None, by_relay: bool) -> None:
    """Say in the log how long it was, and how it ended."""
    session.log.info(
        "session of {agent} over: code {code}, closed by {side}, {sent} messages in {seconds:.0f} s from {peer}",
        agent=session.agent,
        code=code,
        side="the relay" if by_relay else "the agent",
        sent=session.outlet.sent_count if session.outlet else 0,
        seconds=session.context.wall() - session.since,
        peer=session.transport.peer,
    )
