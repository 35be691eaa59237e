"""The agent: receives what is sent to one name, for as long as it runs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IStreamClientEndpoint

from relay.client.desk import Desk, Handler, in_json
from relay.client.door import Door
from relay.client.frames import Acked, Frame
from relay.client.message import Message
from relay.client.poll import PollLink
from relay.client.presence import Notice, Presence, Surroundings
from relay.client.refusal import Unreachable
from relay.client.session import Session
from relay.client.settings import Settings
from relay.client.tokens import Token
from relay.client.undecided import Undecided
from relay.core.ids import is_agent_id
from relay.core.limits import Limits
from relay.core.wire import encode

CONFIRM_SECONDS: Final = 30.0  #: for a commit of the relay's
MOST_IN_FLIGHT: Final = Limits().max_in_flight


class Agent(Presence):
    """Receives the messages of one agent.

    ``handler`` is called with each ``Message``: when it returns, the message is acknowledged, and what it returns
    (anything that can be JSON, up to 64 KiB; None is nothing) is the reply to the publisher; ``Nack``, or any other
    exception, gives the message back. A message that was acknowledged and comes again is acknowledged again without a
    call, and without its reply.

    ``notice`` is told of ``Joined`` and ``Parted``. ``token`` may be a callable that gives a fresh one, at once or
    later (an awaitable): it is called for each connection, and before the relay's ``expires_at``. ``chance`` gives
    numbers from 0 up to 1, for the jitter. ``endpoint`` (and, for polls, ``http_agent``, one of Twisted's) replaces the
    way to the relay that follows from ``url``.

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
        notice: Notice | None = None,
        chance: Callable[[], float] = random.random,
        endpoint: IStreamClientEndpoint | None = None,
        http_agent: Any = None,
    ) -> None:
        if not is_agent_id(agent):
            raise ValueError(f"an agent's name is 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ -, not {agent[:200]!r}")
        settings = settings or Settings()
        super().__init__(url, settings, Surroundings(reactor, token, notice, chance, endpoint))
        self.agent = agent
        self._http_agent = http_agent
        self._confirmations: Undecided[bool] = Undecided(reactor)
        self._desk = Desk(
            handler,
            clock=reactor,
            say=self._say,
            ack=self._ack,
            concurrency=settings.concurrency,
            patience=settings.patience,
            most=settings.max_in_flight + settings.concurrency,
        )

    def acknowledge(self, message: Message, reply: object = None) -> Deferred[bool]:
        """Acknowledge a message now, from its handler or later, and hear when that is safe on the relay's disk.

        What its handler returns, or raises, is then no answer any more. Fires with True once the relay has recorded
        it, and with False when it does not wait for this message (any more). Fails with ValueError for a ``reply``
        that is not JSON or too large, and with Unreachable when the session ends before the relay has answered: call
        it again in the next one. The message comes again only if the ACK did not arrive, and is not handled again.
        """
        try:
            said = None if reply is None else msgspec.Raw(in_json(reply))
        except ValueError as error:
            return fail(error)
        if message.id in self._confirmations:
            return fail(ValueError(f"message {message.id} is being acknowledged already"))
        if self.settings.poll:
            return fail(ValueError("a session that polls confirms nothing: let the handler return"))
        self._desk.acknowledged(message)
        confirmed = self._confirmations.ask(message.id, CONFIRM_SECONDS)
        if not self._say(encode("ack", id=message.id, reply=said, confirm=True)):
            self._confirmations.refuse(message.id, Unreachable("there is no session at the moment"))
        return confirmed

    def progress(self, messages: Iterable[Message]) -> None:
        """Say that work on these goes on. The agent says so by itself of all that is in hand, well before it is due."""
        self._say(encode("progress", ids=[message.id for message in messages]))

    def window(self, max_in_flight: int) -> None:
        """From now on so many messages may be in flight, up to what ``settings`` said; 0: nothing new until more are.

        It holds in the sessions to come as well. Raises ValueError.
        """
        if not 0 <= max_in_flight <= self.settings.max_in_flight:
            raise ValueError(f"a window is 0 to {self.settings.max_in_flight} messages, not {max_in_flight}")
        self._window = max_in_flight
        if self._session is not None and not self._stopping():
            self._session.resize(max_in_flight)

    async def _connect(self, session: Session) -> None:
        if not self.settings.poll:
            return await super()._connect(session)
        door = Door(self._address, reactor=self._reactor, token=self._token, agent=self._http_agent)
        PollLink(door, self.agent, session, self._reactor).open()

    def _told(self, frame: Frame) -> None:
        if isinstance(frame, Acked):
            for id in frame.ids:
                self._confirmations.decide(id, True)
            for id in frame.unknown:
                self._confirmations.decide(id, False)
        super()._told(frame)

    def _lost(self) -> None:
        super()._lost()
        self._confirmations.lost("the session ended before the relay had confirmed the ACK")

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
            raw=settings.raw or None,
            batch=settings.batch or None,
        )
