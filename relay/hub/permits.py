"""Who may hold a session, from its registration to its end: tokens are shown, renewed, revoked, and expire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.core import wire
from relay.core.access import Grant
from relay.core.ports import Authenticator
from relay.core.problems import Problem
from relay.core.session import Close, State
from relay.core.wire import Register
from relay.hub.context import Context
from relay.hub.session import AgentSession

Admit = Callable[[AgentSession, Register], object]


@dataclass(slots=True)
class _Look:
    """A fresh token of a session is being looked at. What it showed since, and has still to be asked, is ``newer``."""

    overtaken: bool = False
    newer: str | None = None


class Permits:
    """The grants of all sessions. Somebody calls ``sweep`` about once a second.

    A session goes on with the grant that it has until another is known to be good.
    """

    log = Logger()

    def __init__(self, context: Context, authenticator: Authenticator) -> None:
        self._context = context
        self._authenticator = authenticator
        self._registered: set[AgentSession] = set()
        self._expiring: set[AgentSession] = set()  #: of those the ones whose grant has an end
        self._looks: dict[AgentSession, _Look] = {}
        authenticator.on_change(self._look_again)

    # -- registration

    def ask(self, session: AgentSession, frame: Register, admit: Admit) -> None:
        """Who is it, and may it be this agent? If so ``admit`` is called, at once or later; if not it is closed."""
        token, session.token = session.token if frame.token is None else frame.token, None
        known = session.vouched or self._authenticator.nobody or self._authenticator.known(token)
        if known is not None:
            self._admit(session, frame, known, admit)
            return
        session.wait_in(State.CHECKING)

        def found(grant: Grant) -> None:
            if session.state is State.CHECKING:
                self._admit(session, frame, grant, admit)

        def refused(failure: Failure) -> None:
            if session.state is State.CHECKING:
                self._refuse(session, failure)

        self._check(token, session).addCallbacks(found, refused).addErrback(self._went_wrong)

    def _admit(self, session: AgentSession, frame: Register, grant: Grant, admit: Admit) -> None:
        if not grant.may_register(session.agent):
            what = f"be {session.agent}" if session.agent else "publish"
            self._turn_away(session, Close.UNAUTHORISED, "forbidden", f"the token of {grant.name} may not {what}")
        elif grant.ended(self._context.wall()):
            self._turn_away(session, Close.TOKEN_EXPIRED, "token-expired", "the token has expired")
        else:
            session.grant = grant
            admit(session, frame)

    def _refuse(self, session: AgentSession, failure: Failure) -> None:
        problem = failure.value
        if isinstance(problem, Problem) and problem.word == "unauthenticated":
            self._turn_away(session, Close.UNAUTHORISED, problem.word, problem.detail)
            return
        retry_after = problem.retry_after if isinstance(problem, Problem) else None
        session.close(Close.OVERLOADED, "overloaded", retry_after=retry_after)
        if not isinstance(problem, Problem):
            failure.raiseException()

    def _turn_away(self, session: AgentSession, code: Close, word: str, detail: str) -> None:
        session.transport.send(wire.error(word, detail))
        session.close(code, word)

    # -- while it lasts

    def begun(self, session: AgentSession) -> None:
        """The session is registered."""
        self._registered.add(session)
        self._note_end(session)
        self._audit("session-began", session, client=session.client)

    def finished(self, session: AgentSession) -> None:
        """The session is registered no more."""
        if session in self._registered:
            self._registered.discard(session)
            self._expiring.discard(session)
            self._looks.pop(session, None)
            self._audit("session-ended", session)

    def shown(self, session: AgentSession, token: str) -> None:
        """It shows a fresh token. Of several the last counts, and one at a time is looked at: whoever showed thousands
        would have thousands looked at, and noted in the log.
        """
        known = self._authenticator.nobody or self._authenticator.known(token)
        look = self._looks.get(session)
        if look is not None:
            look.overtaken, look.newer = True, token if known is None else None
        if known is not None:
            self._renew(session, known)
        elif look is None:
            self._look_at(session, token)

    def _look_at(self, session: AgentSession, token: str) -> None:
        look = self._looks[session] = _Look()

        def found(grant: Grant) -> None:
            if self._counts(session, look):
                self._renew(session, grant)

        def refused(failure: Failure) -> None:
            if not isinstance(failure.value, Problem):
                self._looks.pop(session, None)
                failure.raiseException()
            elif self._counts(session, look):
                session.complain(failure.value.word, failure.value.detail)

        self._check(token, session).addCallbacks(found, refused).addErrback(self._went_wrong)

    def _counts(self, session: AgentSession, look: _Look) -> bool:
        """Does what was found out still matter? If another was shown meanwhile, that one is looked at now."""
        if self._looks.get(session) is not look:
            return False  # it is over
        del self._looks[session]
        if look.newer is not None:
            self._look_at(session, look.newer)
        return not look.overtaken

    def _renew(self, session: AgentSession, grant: Grant) -> None:
        if grant.may_register(session.agent):
            self.granted(session, grant)
            session.transport.send(wire.authenticated(grant.expires_at))
        else:
            session.complain("forbidden", f"the token of {grant.name} may not be {session.agent or 'a publisher'}")

    def granted(self, session: AgentSession, grant: Grant) -> None:
        """From now on it goes by this grant."""
        session.grant = grant
        self._note_end(session)

    def _note_end(self, session: AgentSession) -> None:
        if session.grant.expires_at is None:
            self._expiring.discard(session)
        else:
            self._expiring.add(session)

    def sweep(self) -> None:
        """Close the sessions whose token has expired and was not renewed in time."""
        now = self._context.wall()
        for session in [each for each in self._expiring if each.grant.ended(now)]:
            session.close(Close.TOKEN_EXPIRED, "token-expired")

    def holds(self, session: AgentSession) -> bool:
        """Is its grant still good, for what it holds or is about to? It goes by what is granted now, or is closed."""
        grant = session.vouched or self._authenticator.still(session.grant)
        if grant is None or not grant.may_register(session.agent):
            session.close(Close.UNAUTHORISED, "revoked")
            return False
        session.grant = grant
        return True

    def _look_again(self) -> None:
        """Tokens have changed: every session goes by what its token grants now."""
        for session in list(self._registered):
            if self.holds(session):
                self._note_end(session)

    # -- parts

    def _check(self, token: str | None, session: AgentSession) -> Deferred[Grant]:
        return Deferred.fromCoroutine(_awaited(self._authenticator.check(token, session.transport.peer)))

    def _went_wrong(self, failure: Failure) -> None:
        self.log.failure("looking at a token went wrong", failure)

    def _audit(self, event: str, session: AgentSession, **about: str | None) -> None:
        peer, agent = session.transport.peer, session.agent or None
        # Of the session's name only enough to find it again: with the whole of it anybody could take the session over.
        self._context.audit.note(event, by=session.grant.name, agent=agent, session=session.id[:8], peer=peer, **about)


async def _awaited(asked: Awaitable[Grant]) -> Grant:
    return await asked
