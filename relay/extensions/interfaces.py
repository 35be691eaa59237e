"""The interfaces of the relay's plugins. Each docstring is the contract of one hook: when it is called, on which
thread, what it may return, and what its failure does.

Everything is called on the reactor's thread: what blocks there blocks the whole relay. A hook that has to wait returns
a Deferred, and is waited for no longer than its time limit (``[limits] extension_seconds``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from relay.core.model import Outcome, Submission
from relay.core.problems import Problem


class IRelayPlugin(Interface):
    """What every plugin has. Provide it by one of the interfaces below, and ``twisted.plugin.IPlugin`` beside it."""

    name = Attribute(
        """str: what it is called in the configuration, ``[extensions.NAME]``: lower case letters, digits and ``-``, 64
        at most; unique among what is installed."""
    )

    version = Attribute("""str: which version this is, for people.""")

    description = Attribute("""str: one line for ``relay plugins``.""")

    def read(settings: dict[str, Any]) -> Any:
        """Check the table ``[extensions.NAME]`` and make of it what the plugin works with.

        Called at start-up, before anything else, and by ``relay plugins``: it touches neither disk nor network.
        ``relay.extensions.Settings`` helps with it.

        @param settings: the table, as a ``dict`` of TOML values. ``RELAY_EXTENSIONS_NAME_KEY`` in the environment is
            in it, as a string.
        @return: anything; it is handed to the plugin's other methods as ``settings``.
        @raise SettingsError: names the key, its value and what is allowed. The relay does not start.
        """


class IAuthenticatorPlugin(IRelayPlugin):
    """Says who somebody is, by their token. Several may be configured: those that came with the relay are asked
    first, then the others in the configured order. While any is configured, everybody has to bring a token."""

    def provider(settings: Any, relay: IRelay) -> Any:
        """Called once, at start-up. For what cannot be read then it raises SettingsError: the relay does not start.

        @return: a ``relay.extensions.TokenProvider``:

            - ``source``, a name which all its grants bear;
            - ``known(token)``, a ``Grant`` or None, at once and as fast as a look into a ``dict``;
            - ``check(token)``, a ``Grant`` or a Deferred of one; it fails with ``TokenUnknown`` (ask the next one),
              ``TokenRefused`` (no) or ``TokensUnavailable`` (it cannot be told now: 503, 4013);
            - ``still(grant)``, what its token grants by now, or None;
            - ``on_change(call)``: to be called when ``still`` may say something else than before.

            What lacks one of these is a start-up error, and so is an ``on_change`` that fails.
            Any other failure of ``check``, and a Deferred that does not fire within ``[limits] auth_seconds``, is
            ``TokensUnavailable``. A ``known`` that fails knows nothing; a ``still`` that fails takes the grant back.
        """


class IMessageStorePlugin(IRelayPlugin):
    """Durable memory behind other URLs than the built-in ones. Configured by ``store = "SCHEME:…"``; the table
    ``[extensions.NAME]`` may be left out."""

    schemes = Attribute("""tuple[str, ...]: the schemes of the URLs that it opens, in lower case without the colon.""")

    def store(url: str, settings: Any, relay: IRelay) -> Any:
        """Called once, at start-up. Nothing is touched before the store's own ``open`` is called.

        @param url: the whole URL as it was configured.
        @return: a ``relay.extensions.MessageStore``. ``tests/contract`` of the relay's source holds what it promises.
            It is asked on the reactor's thread, and answers there. A write that fails in any way, or is answered with
            something else than the contract says, is ``store-unavailable`` to whoever waits for it; who waits for one
            that is never answered waits as long, while what goes directly goes on. The store has a time limit of its
            own for what may hang.
        @raise SettingsError: the URL names no store. The relay does not start.
        """


class IMessageFilterPlugin(IRelayPlugin):
    """Sees every message, in the configured order of the filters."""

    def filter(settings: Any, relay: IRelay) -> Any:
        """Called once, at start-up.

        @return: an object with one of these methods, or both:

            ``ingest(submission)`` is called for each message when it is handed in, before anything is decided. It
            returns None to let it pass, another ``Submission`` to change it, one for another ``agent`` to redirect it,
            or a Deferred of these; it raises ``Problem`` to refuse it. Messages of one agent keep their order while it
            is waited for. A repeat with the same idempotency key is filtered again: it must come to the same payload.

            ``before_send(message)`` is called each time the message is about to be sent to its agent. It returns None
            to let it pass, or another ``Message`` with the same id to change what is sent; it raises ``Problem`` to
            refuse it (the message ends ``rejected``). A message for another ``agent`` redirects it: it is handed in
            there anew, with another id, and when that is durable the first ends ``replaced``, by that id. Only once: a
            message that was redirected bears the header ``relay-redirected-from``, and to redirect it again is a
            failure. It must answer at once: it stands in an agent's order.

            Both make another by ``relay.extensions.replace(message, payload=…)``. A payload that is changed must fit
            its ``content_type`` and the limit of payloads. What the store keeps is what ``ingest`` made of it; what
            ``before_send`` changes is only sent.

        When one fails or does not answer in time, ``ingest`` refuses the message with 503 ``overloaded``, and
        ``before_send`` leaves the message queued, to be tried again later as after a ``nack``. A filter is never
        switched off: what it should have judged does not pass.
        """


class IListenerPlugin(IRelayPlugin):
    """Is told what happens, never in the way: from a bounded queue, one notice at a time."""

    def listener(settings: Any, relay: IRelay) -> Any:
        """Called once, at start-up.

        @return: a callable that takes one ``Notice`` (protocol 1.4). It may return a Deferred; the next notice comes
            when that has fired. When the queue is full (``[limits] extension_queue``) the newest are dropped and
            counted. When it fails it is skipped for that notice; after ``[limits] extension_failures`` in a row it is
            switched off, which the log and ``/readyz?verbose`` say.
        """


class ISessionListenerPlugin(IListenerPlugin):
    """Is told ``agent.connected``, ``agent.disconnected`` and ``agent.conflict``. One that is both kinds of listener is
    made once, and told both."""


class IDeliveryListenerPlugin(IListenerPlugin):
    """Is told every ``message.*``."""


class IHttpPlugin(IRelayPlugin):
    """Adds its own calls over HTTP, under ``/x/NAME/``."""

    scope = Attribute(
        """str: who may call: ``admin``, ``publish`` or ``agent`` (a token of any such right) or ``none`` (anybody)."""
    )

    def app(settings: Any, relay: IRelay) -> Any:
        """Called once, at start-up.

        @return: a ``klein.Klein``, whose routes begin behind ``/x/NAME``. Heads, bodies and their deadlines are bounded
            as everywhere: ``request.body`` is the body, ``request.grant`` says who asks. A ``Problem`` that is raised
            is answered as such; another exception is 500 ``internal``, and when nothing is written after
            ``[limits] extension_seconds`` the answer is 503 ``overloaded``.
        """


class IRelayServicePlugin(IRelayPlugin):
    """A service of its own, that lives as long as the relay."""

    def service(settings: Any, relay: IRelay) -> Any:
        """Called once, at start-up.

        @return: a ``twisted.application.service.IService``. ``startService`` is called when the store is open and
            before the doors are; it may return a Deferred, which is waited for. ``stopService`` is called when the
            relay begins to stop, while agents are still there. When it cannot start, the relay does not either; what
            it does not finish in time when it stops is left alone.
        """


class IRelay(Interface):
    """What a plugin may ask of the relay that it is part of. Until that has started, nothing can be published."""

    reactor = Attribute("""The reactor: its clock, its threads, its endpoints.""")

    limits = Attribute("""``relay.core.limits.Limits``: the ``[limits]`` of the configuration.""")

    audit = Attribute("""``relay.core.ports.Audit``: the log of who did what. Never payloads, never secrets.""")

    def wall() -> float:
        """The Unix time, in seconds."""

    def publish(submission: Submission) -> Deferred[Outcome]:
        """Hand in a message, as a POST does; it is known under the publisher ``x-NAME``, whatever it says.

        @return: a Deferred of its ``Outcome``; it fails with ``Problem``, or with an error that names the field of
            ``submission`` which cannot be, or says how its payload is not what its ``content_type`` says.
        """

    def attach(
        agent: str,
        handler: Callable[[Any], Any],
        lost: Callable[[Problem], object] = ...,
        *,
        max_in_flight: int = 100,
    ) -> Deferred[Callable[[], None]]:
        """Be an agent: the same queue, order, window and redelivery as over a WebSocket, and no token.

        @param handler: takes a ``Received``; when it returns (or its Deferred fires) the message is acknowledged; when
            it raises ``Problem`` (or its Deferred fails with it) the message is refused for good: it ends ``rejected``,
            with the problem's detail; when it fails otherwise, or is not done after ``[limits] ack_wait``, it is
            refused and comes again.
        @param lost: is told the ``Problem`` with which the session ended, unless the plugin ended it: attach again
            then, after a pause.
        @return: a Deferred of a callable that ends the session. It fails with ``Problem``: ``duplicate`` (another one
            holds this agent), ``draining``, ``overloaded``.
        """

    def count(name: str, number: int = 1) -> None:
        """Add to a counter of the plugin's own: ``a-z``, ``0-9`` and ``_``, and 100 counters at most."""

    def watch(look: Callable[[], object], reload: Callable[[], object]) -> None:
        """``look`` is called some times a second, to see whether a file has changed; ``reload`` on SIGHUP."""
