"""The plugins that are configured: checked, made, and handed to the rooms that they extend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from relay.core.ports import Floor, MessageStore, TokenProvider
from relay.extensions.filters import Filter, Filters
from relay.extensions.health import Health
from relay.extensions.interfaces import (
    IAuthenticatorPlugin,
    IDeliveryListenerPlugin,
    IHttpPlugin,
    IListenerPlugin,
    IMessageFilterPlugin,
    IMessageStorePlugin,
    IRelayServicePlugin,
    ISessionListenerPlugin,
)
from relay.extensions.listeners import Listener
from relay.extensions.loader import Catalogue, Found
from relay.extensions.place import Place, World
from relay.extensions.providers import Provider
from relay.extensions.settings import NotUsable, SettingsError, said
from relay.kinds import shown

#: who may call what a plugin adds over HTTP
SCOPES = ("none", "publish", "agent", "admin")

#: what a Klein application, and a service, must have
APP, SERVICE = ("resource", "handle_errors"), ("running", "startService", "stopService")

#: the interface of a listener -> how the events begin that it is told
PREFIXES = {ISessionListenerPlugin: "agent.", IDeliveryListenerPlugin: "message."}


@dataclass(frozen=True, slots=True)
class Enlisted:
    """A configured plugin: its settings as it read them, how it does, and what it may ask of the relay."""

    found: Found
    settings: Any
    place: Place

    @property
    def name(self) -> str:
        return self.found.name

    @property
    def plugin(self) -> Any:
        return self.found.plugin

    @property
    def health(self) -> Health:
        return self.place.health


def read(found: Found, table: Mapping[str, Any]) -> Any:
    """What a plugin makes of its table. Raises NotUsable."""
    try:
        return found.plugin.read(dict(table))
    except SettingsError as error:
        raise _not_allowed(found.name, error) from error
    except Exception as error:
        raise NotUsable(f"extensions.{found.name}: the plugin failed: {type(error).__name__}: {error}") from error


def _not_allowed(name: str, error: SettingsError) -> NotUsable:
    key = ".".join(part for part in ("extensions", name, error.key) if part)
    return NotUsable(f"{key}: {said(error.value)}; allowed: {error.allowed}")


class Roster:
    """The enlisted plugins in the configured order."""

    def __init__(self, catalogue: Catalogue, tables: Mapping[str, Mapping[str, Any]], world: World) -> None:
        """Raises NotUsable: a name that is not installed, or settings that the plugin refuses."""
        self._catalogue = catalogue
        self._world = world
        self.enlisted = [self._enlist(catalogue.configured(name), table) for name, table in tables.items()]

    def _enlist(self, found: Found, table: Mapping[str, Any]) -> Enlisted:
        settings, world = read(found, table), self._world
        most = world.limits.extension_failures if IListenerPlugin.providedBy(found.plugin) else None
        return Enlisted(found, settings, Place(Health(found.name, world.reactor, world.tally, most=most), world))

    def providing(self, interface: Any) -> list[Enlisted]:
        """Those that provide an interface, in their order."""
        return [each for each in self.enlisted if interface.providedBy(each.plugin)]

    # -- what they bring

    def providers(self) -> list[TokenProvider]:
        """Those that say who somebody is."""
        providers: list[TokenProvider] = []
        limits = self._world.limits
        for each in self.providing(IAuthenticatorPlugin):
            made = self._made(each, "provider", needs=members(TokenProvider))
            # What came with the relay is tested with it; and this is called at every request.
            providers.append(made if each.found.builtin else Provider(each.health, made, limits.auth_seconds))
        return providers

    def store(self, url: str) -> MessageStore:
        """The store that a URL names. Raises NotUsable."""
        scheme = url.partition(":")[0]
        plugins = self._catalogue.providing(IMessageStorePlugin)
        for found in plugins:
            if ":" in url and scheme in found.plugin.schemes:
                each = next((one for one in self.enlisted if one.found is found), None) or self._enlist(found, {})
                store: MessageStore = self._made(each, "store", url, needs=members(MessageStore))
                return store
        known = ", ".join(sorted(f"{scheme}:" for found in plugins for scheme in found.plugin.schemes))
        raise NotUsable(f"store {shown(url)!r}: unknown kind of store; installed are {known}")

    def filters(self) -> Filters | None:
        """The configured filters; None if there is none."""
        filters = []
        for each in self.providing(IMessageFilterPlugin):
            made = self._made(each, "filter")
            ingest, before_send = getattr(made, "ingest", None), getattr(made, "before_send", None)
            if ingest is None and before_send is None:
                raise NotUsable(f"extensions.{each.name}: its filter has neither ingest nor before_send")
            filters.append(Filter(each.health, ingest, before_send))
        return Filters(filters, limits=self._world.limits) if filters else None

    def apps(self) -> list[tuple[Enlisted, Any]]:
        """Klein applications, for ``/x/NAME/``."""
        enlisted = self.providing(IHttpPlugin)
        for each in enlisted:
            if each.plugin.scope not in SCOPES:
                allowed = ", ".join(SCOPES)
                raise NotUsable(f"extensions.{each.name}: its scope is {each.plugin.scope!r}; allowed: {allowed}")
        return [(each, self._made(each, "app", needs=APP)) for each in enlisted]

    def services(self) -> list[tuple[str, Any]]:
        """(name, service) of those that live as long as the relay."""
        return [(each.name, self._made(each, "service", needs=SERVICE)) for each in self.providing(IRelayServicePlugin)]

    def connect(self, floor: Floor) -> None:
        """The relay is built: plugins may ask it for things, and listeners are told what happens."""
        for each in self.enlisted:
            each.place.floor = floor
        limits = self._world.limits
        for each in self.providing(IListenerPlugin):
            prefixes = tuple(prefix for kind, prefix in PREFIXES.items() if kind.providedBy(each.plugin))
            told, clock = self._made(each, "listener", needs=("__call__",)), self._world.reactor
            seconds, most = limits.extension_seconds, limits.extension_queue
            floor.notices.subscribe(Listener(each.health, told, prefixes, clock, seconds=seconds, most=most))

    def states(self) -> list[dict[str, Any]]:
        """How each does, for ``/readyz?verbose``. Why it failed is for the log alone: strangers may ask for this."""
        return [
            {
                "name": each.name,
                "version": each.plugin.version,
                "state": each.health.state.value,
                "failures": each.health.failures,
                "drops": each.health.drops,
            }
            for each in self.enlisted
        ]

    def counted(self) -> dict[tuple[str, str], int]:
        """What is counted of plugins, by (plugin, counter)."""
        return self._world.tally.table()

    def _made(self, each: Enlisted, what: str, *about: Any, needs: Iterable[str] = ()) -> Any:
        """What a plugin makes, which must have these attributes. Raises NotUsable."""
        try:
            made = getattr(each.plugin, what)(*about, each.settings, each.place)
        except SettingsError as error:
            raise _not_allowed(each.name, error) from error
        except NotUsable:
            raise
        except Exception as error:
            raise NotUsable(f"extensions.{each.name}: {what} failed: {type(error).__name__}: {error}") from error
        if made is None:
            raise NotUsable(f"extensions.{each.name}: {what} made nothing")
        if isinstance(made, Deferred):
            made.addErrback(lambda _: None)
            raise NotUsable(f"extensions.{each.name}: {what} made a Deferred, which nobody waits for")
        lacking = [name for name in needs if not hasattr(made, name)]
        if lacking:
            kind = type(made).__name__
            raise NotUsable(f"extensions.{each.name}: {what} made something ({kind}) without {', '.join(lacking)}")
        return made


def members(seam: type) -> list[str]:
    """What everything has that implements a Protocol."""
    return sorted(name for name in {*vars(seam), *seam.__annotations__} if not name.startswith("_"))
