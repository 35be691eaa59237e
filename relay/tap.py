"""The staircase: reads the settings, builds every room and joins them. Nothing else builds, or imports the reactor."""

from __future__ import annotations

import atexit
import gc
import os
import random
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final, NoReturn

import txaio.tx
from autobahn.websocket import USES_NVX
from twisted.application.service import IService
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorFromThreads, IReactorPluggableNameResolver
from twisted.logger import Logger
from twisted.python import usage

import relay
from relay import builtin
from relay.auth.audit import AuditLog
from relay.auth.checkpoint import Checkpoint
from relay.auth.open import OpenHouse
from relay.certificates import Certificates
from relay.config import Config, ConfigError, check_reach, load
from relay.core.counters import Counters
from relay.core.limits import Limits
from relay.core.ports import Audit, Authenticator
from relay.daemon import Door, RelayService
from relay.doorkeeper import Doorkeeper, descriptors_open
from relay.edge.annex import SCOPES, Annex, Room
from relay.edge.site import make_site
from relay.edge.systemd import notify
from relay.endpoints import kind_of, with_backlog
from relay.extensions.place import World
from relay.extensions.roster import Roster
from relay.extensions.settings import NotUsable
from relay.extensions.tally import Tally
from relay.hub.service import Hub
from relay.kinds import shown
from relay.outward.callbacks import WebhookSender, resolving
from relay.watch import Watch

log = Logger()

#: How much longer than the contract allows a step of stopping may take until it is left alone, in seconds.
GRACE: Final = 10.0

#: After how many new objects the youngest, and after how many such looks the older ones, are searched for cycles: all
#: of them after a million that did not go by themselves. A request leaves forty of those when it goes through Klein.
COLLECTED: Final = (5_000, 10, 20)


class Options(usage.Options):
    """The options of ``twistd relay``. What is not given is left to the environment and the file."""

    synopsis = "[options]"
    longdesc = (
        "Settings come from a TOML file, then RELAY_* in the environment (RELAY_ACK_TIMEOUT=5), then these options: "
        "later wins. Limits are set in the file's table [limits], or as RELAY_LIMITS_PAYLOAD=2MiB."
    )
    optFlags: Final = [
        ["callback-private", None, "Callbacks may go to addresses that only this machine or network can reach."],
        ["insecure-open", None, "Listen beyond this machine although nobody has to say who they are."],
    ]
    optParameters: Final = [
        ["config", "c", None, "TOML file with settings (RELAY_CONFIG)."],
        ["store", None, None, "Where messages are kept: sqlite:PATH or memory: [sqlite:relay.db]"],
        ["store-min-free", None, None, "Keep nothing new when the disk has less space than this. [64MiB]"],
        ["store-reserve", None, None, "Size of the file that is given up when the disk is full. [8MiB]"],
        ["ack-timeout", None, None, "Seconds that a publisher waits for the ACK by default. [5]"],
        ["heartbeat", None, None, "Seconds between two pings to an agent. [30]"],
        ["on-duplicate", None, None, "A second registration of a live agent: reject, replace, or choice. [reject]"],
        ["overflow", None, None, "A new message for a full queue: refuse it, or drop-oldest. [refuse]"],
        ["callback-secret-file", None, None, "File with the secrets that sign callbacks, one a line."],
        ["fast-door", None, None, "Take plain requests and frames by the hot path: true or false. [true]"],
        ["node", None, None, "This node's name, told to agents. [the machine's name]"],
        ["jwt-secret-file", None, None, "File with the secret that signs JSON Web Tokens."],
        ["jwt-key-file", None, None, "File with the public key (PEM) of who signs them."],
        ["jwt-jwks", None, None, "File or https URL with a set of keys (JWKS)."],
        ["jwt-issuer", None, None, "They must be by this issuer (iss)."],
        ["auth-file", None, None, "Who may do what: a file of tokens, made by `relay token new`. [none: open]"],
    ]

    def __init__(self) -> None:
        usage.Options.__init__(self)
        self.lists: dict[str, list[str]] = {}

    def opt_listen(self, endpoint: str) -> None:
        """Where to listen, as a Twisted endpoint; may be given again. [tcp:8080:interface=127.0.0.1]"""
        self.lists.setdefault("listen", []).append(endpoint)

    def opt_server_name(self, name: str) -> None:
        """A name by which clients may call the relay (Host); may be given again."""
        self.lists.setdefault("server_name", []).append(name)

    def opt_origin(self, origin: str) -> None:
        """An origin whose web pages may use the relay; may be given again."""
        self.lists.setdefault("origin", []).append(origin)

    def opt_pass_header(self, name: str) -> None:
        """A request header that is given to the agent under its own name; may be given again."""
        self.lists.setdefault("pass_header", []).append(name)

    def opt_callback_host(self, host: str) -> None:
        """A host that callbacks may go to; may be given again."""
        self.lists.setdefault("callback_host", []).append(host)

    def opt_plugin_path(self, folder: str) -> None:
        """A folder that holds plugins; may be given again."""
        self.lists.setdefault("plugin_path", []).append(folder)

    def opt_jwt_audience(self, audience: str) -> None:
        """JSON Web Tokens must be for this audience (aud), or another that is named; may be given again."""
        self.lists.setdefault("jwt_audience", []).append(audience)

    def opt_version(self) -> NoReturn:
        """Print the relay's version and exit."""
        sys.stdout.write(f"relay {relay.__version__}\n")
        sys.exit(0)

    def parseArgs(self, *args: str) -> None:
        if args:
            raise usage.UsageError(f"it takes no arguments, but was given {' '.join(args)}")

    def parseOptions(self, options: Any = None) -> None:
        try:
            usage.Options.parseOptions(self, options)
        except usage.UsageError as error:
            # twistd would print its whole help above this.
            sys.exit(f"relay: {error}; see `twistd relay --help`")

    def settings(self) -> dict[str, Any]:
        """What was given, by the keys of the configuration."""
        given = {name.replace("-", "_"): value for name, value in self.items() if name != "config"}
        # usage counts how often a flag was given.
        given |= {name: True if given[name] else None for name in ("insecure_open", "callback_private")}
        return given | self.lists


@dataclass
class Process:
    """The process around the service: how it is told to stop, and how it says how it ended."""

    notify_socket: str | None
    watch: Watch
    watchdog: bool = False  #: does the manager want to hear from time to time that it lives?
    dying: bool = False

    def begin(self) -> None:
        """Set the process up: as many descriptors as it may have, and signals that stop the reactor."""
        if not USES_NVX:
            log.warn("autobahn runs without NVX: frames cost three times the CPU")
        raise_descriptors()
        reactor.callWhenRunning(spare_collector)
        # After the reactor took the signals: by its handlers twistd would end killed by SIGTERM, not with status 0.
        reactor.callWhenRunning(self._take_signals)

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        if self.watch.reloads:
            # Otherwise it ends us, as it ends everything on a terminal that goes away.
            signal.signal(signal.SIGHUP, self._hung_up)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        log.info("{name}: the relay stops", name=signal.Signals(number).name)
        IReactorFromThreads(reactor).callFromThread(self.stop)

    def _hung_up(self, _number: int, _frame: FrameType | None) -> None:
        log.info("SIGHUP: the relay reads its files again")
        IReactorFromThreads(reactor).callFromThread(self.watch.reload)

    def stop(self) -> None:
        """Stop the reactor; while it is stopping already this changes nothing."""
        with suppress(ReactorNotRunning):
            reactor.stop()

    def notify(self, *lines: str) -> None:
        notify(self.notify_socket, *lines)

    def die(self, why: str) -> None:
        if self.dying:
            return
        self.dying = True
        why = " ".join(why.split())
        log.critical("{why}", why=why)
        # sys.stderr is the log by now.
        print(f"relay: {why}", file=sys.__stderr__, flush=True)
        # twistd returns 0 whenever the reactor has stopped, and asks nobody.
        atexit.register(_exit, 1)
        reactor.callWhenRunning(self.stop)


def _exit(status: int) -> None:
    sys.stdout.flush()
    os._exit(status)


def makeService(options: Options) -> IService:
    """Build the relay. Settings that cannot be used end the process with one line."""
    try:
        config = load(options["config"], os.environ, options.settings())
        environ = os.environ
        return build(config, Process(environ.get("NOTIFY_SOCKET"), Watch(reactor), is_watched(environ)))
    except (ConfigError, NotUsable) as error:
        sys.exit(f"relay: {error}")


def build(config: Config, process: Process) -> RelayService:
    """Join the rooms as ``config`` says. Raises ConfigError, NotUsable."""
    # Autobahn's timers ignore the reactor that they are given, and follow this one.
    txaio.tx.config.loop = reactor  # type: ignore[assignment]  # its type is read from its default, None
    counters = Counters()
    audit = AuditLog(config.limits.logged)
    roster = make_roster(config, counters, audit, process.watch)
    authenticator = make_authenticator(roster, config.limits, audit)
    check_reach(config, authenticator.nobody is None)
    hub = make_hub(config, roster, authenticator, audit, counters)
    site = make_site(
        hub=hub,
        authenticator=authenticator,
        audit=audit,
        limits=config.limits,
        ack_timeout=config.ack_timeout,
        clock=reactor,
        wall=time.time,
        names=config.server_name,
        origins=config.origin,
        pass_headers=config.pass_header,
        callback_hosts=config.callback_host,
        counters=counters,
        fast_door=config.fast_door,
        annex=make_annex(roster, config.limits),
    )
    roster.connect(hub)
    site.noisy = False
    keeper = Doorkeeper(config.limits, counters, most=descriptors_allowed, open_now=descriptors_open)
    site.visitors.on_change = keeper.connections
    hub.every_tick(keeper.look)
    if process.watchdog:
        hub.every_tick(lambda: process.notify("WATCHDOG=1"))
    about = {"version": relay.__version__, "store": shown(config.store), "who": who(config, authenticator)}
    log.info("relay {version}, store {store}, {who}", **about)
    return RelayService(
        engine=hub,
        factory=site,
        doors=[make_door(text, process.watch) for text in config.listen],
        surroundings=process,
        clock=reactor,
        patience=config.limits.drain_seconds + 2 * config.limits.close_seconds + GRACE,
        strangers=config.insecure_open or authenticator.nobody is None,
        companions=[process.watch],
        services=roster.services(),
        when_open=keeper.watch,
    )


def make_hub(config: Config, roster: Roster, authenticator: Authenticator, audit: Audit, counters: Counters) -> Hub:
    """The floor."""
    return Hub(
        store=roster.store(config.store),
        authenticator=authenticator,
        audit=audit,
        clock=reactor,
        wall=time.time,
        random=random.SystemRandom(),
        limits=config.limits,
        ack_timeout=config.ack_timeout,
        heartbeat=config.heartbeat,
        on_duplicate=config.on_duplicate,
        node=config.node or socket.gethostname(),
        server=f"relay/{relay.__version__}",
        overflow=config.overflow,
        callback_hosts=config.callback_host,
        webhooks=make_sender(config),
        counters=counters,
        filters=roster.filters(),
    )


def who(config: Config, authenticator: Authenticator) -> str:
    """Who may connect, for the log."""
    if authenticator.nobody is None:
        return "everybody needs a token"
    return "no authentication: " + ("ANYBODY" if config.insecure_open else "only this machine") + " may connect"


def make_roster(config: Config, counters: Counters, audit: Audit, watch: Watch) -> Roster:
    """The plugins that are configured."""

    def add(look: Callable[[], object], reload: Callable[[], object]) -> None:
        watch.looks.append(look)
        watch.reloads.append(reload)

    world = World(reactor, time.time, config.limits, audit, Tally(counters), add)
    return Roster(builtin.catalogue(config.plugin_path), builtin.tables(config), world)


def make_authenticator(roster: Roster, limits: Limits, audit: Audit) -> Authenticator:
    """Whoever says who may do what."""
    providers = roster.providers()
    if not providers:
        return OpenHouse()
    return Checkpoint(providers, clock=reactor, wall=time.time, limits=limits, audit=audit)


def make_annex(roster: Roster, limits: Limits) -> Annex:
    """What plugins add to the calls over HTTP."""
    rooms = [
        Room(each.name, SCOPES[each.plugin.scope], app, each.health.failed, each.health.worked)
        for each, app in roster.apps()
    ]
    return Annex(rooms, limits, reactor, roster.states, roster.counted)


def make_sender(config: Config) -> WebhookSender:
    # Without a host too: what an earlier configuration allowed is owed still, and must come to its end.
    return WebhookSender(
        reactor=reactor,
        resolve=resolving(IReactorPluggableNameResolver(reactor).nameResolver),
        secrets=config.callback_secret,
        hosts=config.callback_host,
        private=config.callback_private,
        wall=time.time,
        user_agent=f"relay/{relay.__version__}",
    )


def make_door(text: str, watch: Watch) -> Door:
    try:
        endpoint = serverFromString(reactor, with_backlog(text))
        if kind_of(text) == "ssl":
            certificates = Certificates(text, endpoint)
            watch.looks.append(certificates.look)
            watch.reloads.append(certificates.reload)
        return Door(text, endpoint)
    except Exception as error:
        # A parser, a plugin's too, says in any exception it likes that it cannot read its string.
        raise ConfigError(f"listen: {text} is not an endpoint: {type(error).__name__}: {error}") from error


def spare_collector() -> None:
    """Look for cycles more rarely, and never among what is there for good.

    Nearly all that a message is made of goes when it is done with, by its count of references. By Python's defaults a
    quarter of the time that a burst takes was spent looking through it, and through every module, for cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTED)


def is_watched(environ: Mapping[str, str]) -> bool:
    """Does the service manager have a watchdog for this very process? (sd_watchdog_enabled(3))

    It hears from us once a second, and so in time for every watchdog of more than that.
    """
    return bool(environ.get("WATCHDOG_USEC")) and environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())


def descriptors_allowed() -> int:
    """How many file descriptors this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def raise_descriptors() -> None:
    """Raise the soft limit of file descriptors to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        # A service manager has set it, and may have forbidden to touch it.
        log.info("up to {hard} file descriptors", hard=hard)
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:
        log.warn("the limit of file descriptors stays at {soft}: {error}", soft=soft, error=error)
    else:
        log.info("up to {hard} file descriptors", hard=hard)
