"""The seams of the house: what the hub expects of a store and of a session's wire.

A Deferred is an Awaitable, so that Twisted's types need not be named here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from relay.core.access import Grant
from relay.core.model import (
    AgentView,
    Callback,
    Depth,
    Figures,
    Kept,
    Letter,
    Message,
    MessageView,
    Notice,
    Outcome,
    Page,
    Past,
    Readiness,
    Snapshot,
    Standing,
    Submission,
    Write,
)
from relay.core.problems import Problem


class StoreUnavailable(Exception):
    """The store cannot take or give anything now. After a failed write nothing is known: it may yet be found."""


class Full(StoreUnavailable):
    """As many of something are kept as may be, so that nothing was kept. The text says of what. The store is well."""


class KeysFull(Full):
    """Of idempotency keys."""


class CallbacksFull(Full):
    """Of callbacks, owed or promised."""


class StoreBroken(StoreUnavailable):
    """A write or an fsync failed: the store takes nothing any more, and the process must be restarted."""


class StoreRefused(Exception):
    """The store cannot be opened: damaged, of another version, locked, not writable. The text says which and where."""


class Cancellable(Protocol):
    """A timer that can be called off."""

    def cancel(self) -> object: ...

    def active(self) -> bool: ...


class Clock(Protocol):
    """Monotonic time and timers: ``IReactorTime`` in the small."""

    def seconds(self) -> float: ...

    def callLater(  # noqa: N802 - the name by which Twisted's clocks go
        self, delay: float, call: Callable[..., object], *args: Any, **kw: Any
    ) -> Cancellable: ...


class MessageStore(Protocol):
    """Durable memory. Every call is made, and every answer arrives, on the reactor thread.

    Writes take effect in the order of the calls; a read sees every write whose answer has arrived, and may see later
    ones. Whatever fails, fails with ``StoreUnavailable`` and changes nothing that a later read would show, except that
    a failed commit may be found again after a crash.
    """

    durable: bool  #: does what it holds survive the process?

    def open(self) -> Awaitable[Snapshot]:
        """Open it and say what it holds. Raises StoreRefused with one clear line.

        What a ``Put`` spared and nobody ended has ended ``replaced`` since: after a start nothing is in flight.
        """

    def close(self) -> Awaitable[None]:
        """Finish the writes under way and let go of it. A second call does nothing."""

    def on_broken(self, call: Callable[[StoreBroken], object]) -> None:
        """Call this once, on the reactor thread, when the store breaks for good."""

    def write(self, op: Write) -> Awaitable[Depth | Kept | None]:
        """Make one change. The answer comes when it is durable (committed and fsynced).

        For ``Put`` the answer is a ``Kept``. For ``End`` it is what left the queue (count 1 and its payload bytes),
        or None if there was nothing to end under that id for that agent. A message that ended ``REPLACED`` and is then
        acknowledged is remembered as ``DELIVERED``, and told so: nothing (count 0) leaves the queue. For ``Revise``:
        None if nothing was queued, else any Depth. For ``Requeue`` and ``Discard`` the Depth of the letter, or None if
        there is none of that id. Otherwise None. Raises StoreUnavailable (nothing is known of the change), also at once
        when more waits to be written than the store's bound; Full where a ``Put`` or a ``Requeue`` would pass a bound
        on what is kept (nothing was).
        """

    def write_all(self, ops: Sequence[Write]) -> Awaitable[Sequence[Depth | Kept | None]]:
        """Make these changes in this order, with one answer for all: that of each, as ``write`` gives it.

        They are of one kind, and no ``Put`` of them has a key, a callback or a topic: so all of them are made, or it
        raises StoreUnavailable and nothing is known of any.
        """

    def page(self, agent: str, after: int, before: int, now: float, limit: int, max_bytes: int) -> Awaitable[Page]:
        """Read what is queued for ``agent`` at places in the open range (after, before), lowest first.

        At most ``limit`` rows and ``max_bytes`` of payload (one row of any size alone is given). Rows whose
        ``not_before`` is later than ``now`` (Unix time) come as ``delayed``, without payload.
        """

    def load(self, agent: str, ids: Sequence[str]) -> Awaitable[Page]:
        """Read those messages of ``agent`` that are still queued, whatever their ``not_before``, lowest place first."""

    def find(self, id: str) -> Awaitable[Standing | Past | None]:
        """The message of that id: queued, or remembered."""

    def letters(self, after: str, limit: int) -> Awaitable[list[Letter]]:
        """Dead letters, oldest end first, those after the id ``after`` ("": from the first).

        At most ``limit``, and none after the first whose payload does not fit on a page (``core.limits``) with those
        before it. That one is given, so that ``policy.fit_on_a_page`` sees that there are more.
        """

    def letter(self, id: str) -> Awaitable[Letter | None]:
        """One dead letter."""

    def overdue(self, now: float, limit: int) -> Awaitable[list[tuple[str, str, int]]]:
        """(agent, id, payload bytes) of queued messages whose ``expires_at`` is not after ``now`` (Unix time)."""

    def callbacks(self, now: float, limit: int) -> Awaitable[list[Callback]]:
        """Callbacks that are due, the earliest first."""

    def oldest(self, agents: Sequence[str]) -> Awaitable[dict[str, float]]:
        """The ``created_at`` of the first message in the queue of each agent that has one."""


class Authenticator(Protocol):
    """Who comes with which token: what the doors and the floor ask (``auth/`` has what answers)."""

    nobody: Grant | None  #: what may be done without a token; None: nothing, everybody has to bring one

    def known(self, token: str | None) -> Grant | None:
        """The grant of ``token`` (None: there is none), if it is good and that can be said at once.

        None says nothing: ``check`` tells. A right token is hardly ever unknown, so that a fast path may hand all those
        on to the slow one.
        """

    def check(self, token: str | None, peer: str) -> Awaitable[Grant]:
        """The grant of ``token``, which came from ``peer`` (an address for people).

        Raises Problem: ``unauthenticated``, late if there were many failures from there; ``overloaded`` if that cannot
        be told now. It ends within ``auth_seconds`` of the limits. Called once for each token that is shown: failures
        are counted and noted here.
        """

    def still(self, grant: Grant) -> Grant | None:
        """What the token of ``grant`` grants by now; None if it was revoked. That it has expired is not seen here."""

    def on_change(self, call: Callable[[], object]) -> None:
        """Call this whenever ``still`` may say something else than before."""


class TokenProvider(Protocol):
    """One way to say who may do what. Several may stand side by side: a token is good when one of them knows it."""

    def known(self, token: str) -> Grant | None:
        """The grant of a token, if it is good and that can be said at once. Raises nothing."""

    def check(self, token: str) -> Awaitable[Grant]:
        """The grant of a token. Raises TokenRefused, TokensUnavailable."""

    def still(self, grant: Grant) -> Grant | None:
        """See ``Authenticator.still``; asked of the provider whose ``source`` the grant bears."""

    source: str  #: its name, which its grants bear

    def on_change(self, call: Callable[[], object]) -> None:
        """Call this whenever a token was revoked, or grants something else than before."""


class Audit(Protocol):
    """The log of who did what: for failures to say who one is, sessions, what admins did, changed tokens."""

    def note(self, event: str, **fields: Any) -> None:
        """One line. ``event`` is a word; fields are strings and numbers, and never payloads or secrets."""


class FilterFailed(Exception):
    """A filter could not say what becomes of a message. The text names it."""


class MessageFilters(Protocol):
    """What may change a message, or refuse it, on its way in and before it is sent."""

    def ingest(self, submission: Submission) -> Submission | Awaitable[Submission]:
        """What is accepted in its place, at once or within ``extension_seconds`` of the limits for each filter.

        Raises Problem, or the Awaitable does: it is refused.
        """

    def before_send(self, message: Message) -> Message:
        """What is sent in its place, under the same id; one for another agent is handed in there.

        Raises Problem: it is refused, and ends ``rejected``. Raises FilterFailed: it is tried again later.
        """


class AgentTransport(Protocol):
    """What a session may do to its wire. No call raises, whatever the state of the connection."""

    peer: str  #: the remote address, for people
    holds: bool  #: may a direct message be held in memory while it is under way? Otherwise it is made durable first

    kind: str  #: ``websocket`` or ``poll``

    def takes(self) -> bool:
        """Can it take anything at all now? A poll without an open call cannot."""

    def alive(self) -> bool | None:
        """Is the agent there? None: that can only be told from its answer to a ping."""

    def send(self, *frames: bytes) -> None:
        """Send text frames (UTF-8), in that order, as one write where that is possible."""

    def send_soon(self, frame: bytes) -> None:
        """The same, but it may leave as late as at the end of the reactor's turn, in one write with others.

        What is sent after it leaves after it.
        """

    def ping(self) -> None:
        """Send a protocol-level ping."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame; the connection is ended at the latest 5 s later."""

    def abort(self) -> None:
        """Drop the connection now, without a close handshake."""

    def unsent(self) -> int:
        """Bytes given to ``send`` that the socket has not taken yet."""

    def taken(self) -> int:
        """Bytes that the socket has taken since the connection was made: never falls."""

    def hold(self, holding: bool) -> None:
        """Stop (or go on) reading from the agent."""


class AgentConversation(Protocol):
    """What a wire tells of its agent: the hub's side of one connection."""

    def received(self, *frames: bytes) -> None:
        """Whole text messages came together, in this order (valid UTF-8, each within the frame limit)."""

    def granted(self, grant: Grant) -> None:
        """Its agent has shown another token, of that grant, to the wire itself."""

    def heard(self) -> None:
        """Any other complete frame came, a pong for one."""

    def drained(self) -> None:
        """The socket takes bytes again: everything given to ``send`` has left, or much of it."""

    def at_hand(self) -> bool:
        """Is something about to be sent: is it being read from the disk, or due again?"""

    def lost(self, code: int | None, by_relay: bool) -> None:
        """The connection is gone: the close code that was seen, if any, and whether the relay closed first.

        Called exactly once. ``by_relay`` covers what the adapter closes by itself (1003, 1007, 1009, 4004).
        """


#: Is told each notice; None when the relay shuts down.
Subscriber = Callable[[Notice | None], object]


class Notices(Protocol):
    """What happens on the floor, as it happens."""

    boot: str  #: another one at each start: numbers begin anew
    number: int  #: of the last notice

    def subscribe(self, subscriber: Subscriber) -> Callable[[], object]:
        """Tell it everything from now on; calling what is returned ends that."""

    @property
    def subscribers(self) -> int:
        """How many there are."""

    def since(self, number: int) -> list[Notice] | None:
        """The notices after that one, or None if some of them are forgotten, or it is not known."""


#: Is told what became of lines that were submitted together, each given by its index: of those that it is known of now.
Tell = Callable[[Sequence[tuple[int, Outcome | Problem]]], object]


class Floor(Protocol):
    """What the doors may ask of the hub. Every refusal is a ``relay.core.problems.Problem``."""

    @property
    def notices(self) -> Notices:
        """What happens."""

    def submit(self, submission: Submission, *, line: bool = False) -> Awaitable[Outcome]:
        """Accept a message and say what became of it, at the latest when its wait (and a commit) is over.

        It takes its place in its agent's order before this returns. ``line``: it is one of a batch, and is not waited
        for while 100 of its agent are undecided and that acknowledges nothing. Who gives up on the answer cancels it:
        the message goes its way all the same, but a drain does not wait for its ACK. Raises Problem.
        """

    def submit_all(self, lines: Sequence[Submission], tell: Tell) -> Callable[[], object]:
        """The same for lines of a batch that came together, in their order. Raises nothing.

        ``tell`` is told once of each, perhaps before this returns. Who does not read the answers any more calls what
        is returned.
        """

    def admit(self) -> None:
        """May something new begin now? Raises Problem (``draining``)."""

    def admit_agent(self) -> None:
        """May one more connection come in that will register? Raises Problem (``draining``, ``overloaded``)."""

    def converse(
        self, transport: AgentTransport, token: str | None = None, *, grant: Grant | None = None
    ) -> AgentConversation:
        """A WebSocket was opened: who is told of its frames. The time to register starts now.

        ``token`` came with the upgrade; it counts unless ``register`` brings another. ``grant`` is that of an agent
        within this process, which nobody asks for a token.
        """

    def agents(self, *, connected: bool | None, prefix: str, after: str, limit: int) -> Awaitable[list[AgentView]]:
        """Known agents in the order of their ids, those after ``after``; ``connected`` None means both."""

    def agent(self, agent: str) -> Awaitable[AgentView | None]:
        """One agent, or None if it is not known."""

    def readiness(self) -> Readiness:
        """Can a message be accepted now?"""

    def figures(self) -> Figures:
        """How much there is of everything."""

    def message(self, id: str, *, wait: float = 0.0) -> Awaitable[MessageView | None]:
        """A message and what happened to it, at once, or (``wait`` seconds) when it has ended. None: not known."""

    def cancel(self, id: str) -> Awaitable[None]:
        """Cancel a queued message; done when that is durable.

        Raises Problem (``not-found``, ``too-late``, ``store-unavailable``: it is not sent, unless this process dies).
        """

    def queue(self, agent: str, *, after: int, limit: int) -> Awaitable[tuple[list[MessageView], int | None]]:
        """What is queued for an agent with its payloads, oldest first, behind the place ``after`` (0: from the first).

        Also the place to go on behind, or None at the end.
        """

    def empty(self, agent: str) -> Awaitable[int]:
        """Cancel what is queued for an agent, leaving what is sent. Returns how many, when that is durable.

        Raises Problem (``store-unavailable``), perhaps when a part of it has been done.
        """

    def disconnect(self, agent: str) -> bool:
        """Close the agent's session with 4005; False if there is none."""

    def letters(self, *, after: str, limit: int) -> Awaitable[list[Letter]]:
        """Dead letters, those after the id ``after``: see ``MessageStore.letters``."""

    def requeue(self, id: str) -> Awaitable[MessageView]:
        """Put a dead letter at the end of its agent's order again. Raises Problem (``not-found``, ``queue-full``)."""

    def discard(self, id: str) -> Awaitable[None]:
        """Forget a dead letter. Raises Problem (``not-found``)."""
