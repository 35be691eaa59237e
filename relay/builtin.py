"""The plugins that come with the relay: its stores and its ways to say who somebody is, by everybody's interfaces.

They are found here and not in ``relay.plugins``, so that nothing which is installed can take their names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

from twisted.internet.interfaces import IReactorFromThreads
from twisted.plugin import IPlugin
from twisted.web.client import Agent
from zope.interface import implementer

import relay
import relay.plugins
from relay.auth.fetch import fetch
from relay.auth.jwt import JsonWebTokens
from relay.auth.keys import BadKeys, from_jwks, from_pem, from_secret
from relay.auth.rings import FETCH_SECONDS, FileRing, KeyRing, UrlRing
from relay.auth.tokens import TokenFile
from relay.config import SETTINGS, Config
from relay.core.ports import MessageStore, TokenProvider
from relay.core.tokenfile import BadTokenFile
from relay.extensions import IAuthenticatorPlugin, IMessageStorePlugin, Settings
from relay.extensions.loader import Catalogue, Found, add_folders, look
from relay.extensions.settings import NotUsable
from relay.store import open_store
from relay.store.retention import bounds_of


class Builtin:
    """What all of them have. ``keys``: those of the table -> the settings' short names for them."""

    version = relay.__version__
    name: str
    description: str
    keys: ClassVar[Mapping[str, str]] = {}

    def read(self, settings: dict[str, Any]) -> dict[str, Any]:
        table = Settings(settings)
        read = {key: table.take(key, SETTINGS[short], None) for key, short in self.keys.items()}
        table.done()
        return read

    def table(self, config: Config) -> dict[str, Any]:
        """What the short names say."""
        return {key: getattr(config, short) for key, short in self.keys.items() if getattr(config, short)}


@implementer(IPlugin, IMessageStorePlugin)
class Sqlite(Builtin):
    name = "sqlite"
    description = "keeps messages in a file"
    schemes = ("sqlite",)
    keys: ClassVar[Mapping[str, str]] = {"min_free": "store_min_free", "reserve": "store_reserve"}

    def store(self, url: str, settings: dict[str, Any], relay: Any) -> MessageStore:
        defaults = Config()
        reserve, least = settings["reserve"], settings["min_free"]
        return _opened(
            url,
            relay,
            reserve_bytes=defaults.store_reserve if reserve is None else reserve,
            min_free_bytes=defaults.store_min_free if least is None else least,
        )

    def table(self, config: Config) -> dict[str, Any]:
        return {key: getattr(config, short) for key, short in self.keys.items()}


@implementer(IPlugin, IMessageStorePlugin)
class Memory(Builtin):
    name = "memory"
    description = "keeps messages as long as the process lives"
    schemes = ("memory",)

    def store(self, url: str, settings: dict[str, Any], relay: Any) -> MessageStore:
        return _opened(url, relay)


def _opened(url: str, relay: Any, **sizes: int) -> MessageStore:
    try:
        return open_store(
            url,
            reactor=IReactorFromThreads(relay.reactor),
            clock=relay.reactor,
            wall=relay.wall,
            bounds=bounds_of(relay.limits),
            **sizes,
        )
    except ValueError as error:
        raise NotUsable(str(error)) from error


@implementer(IPlugin, IAuthenticatorPlugin)
class Jwt(Builtin):
    name = "jwt"
    description = "JSON Web Tokens say who somebody is"
    keys: ClassVar[Mapping[str, str]] = {
        each: f"jwt_{each}" for each in ("secret_file", "key_file", "jwks", "audience", "issuer")
    }

    def provider(self, settings: dict[str, Any], relay: Any) -> TokenProvider:
        try:
            rings = make_rings(settings, relay.reactor)
        except BadKeys as error:
            raise NotUsable(str(error)) from error
        for ring in rings:
            relay.watch(ring.look, ring.reload)
        return JsonWebTokens(
            rings,
            wall=relay.wall,
            cached=relay.limits.jwt_cached,
            audience=settings["audience"] or (),
            issuer=settings["issuer"] or "",
        )


def make_rings(settings: Mapping[str, Any], reactor: Any) -> list[KeyRing]:
    """Where the keys of JSON Web Tokens are. Raises BadKeys."""
    rings: list[KeyRing] = []
    if settings["secret_file"]:
        rings.append(FileRing("jwt_secret_file", settings["secret_file"], from_secret))
    if settings["key_file"]:
        rings.append(FileRing("jwt_key_file", settings["key_file"], from_pem))
    jwks = settings["jwks"] or ""
    if re.match(r"https?://", jwks):
        agent = Agent(reactor, connectTimeout=FETCH_SECONDS)
        rings.append(UrlRing(jwks, partial(fetch, agent), reactor))
    elif jwks:
        rings.append(FileRing("jwt_jwks", jwks, partial(from_jwks, secrets=True)))
    if not rings:
        raise BadKeys("extensions.jwt: there are no keys; give it a secret_file, a key_file or jwks")
    return rings


@implementer(IPlugin, IAuthenticatorPlugin)
class Tokens(Builtin):
    name = "token-file"
    description = "a file of tokens says who somebody is"
    keys: ClassVar[Mapping[str, str]] = {"file": "auth_file"}

    def provider(self, settings: dict[str, Any], relay: Any) -> TokenProvider:
        if not settings["file"]:
            raise NotUsable("extensions.token-file.file: it must name a token file, as `relay token new` writes it")
        try:
            tokens = TokenFile(settings["file"], wall=relay.wall, audit=relay.audit)
        except BadTokenFile as error:
            raise NotUsable(str(error)) from error
        relay.watch(tokens.look, tokens.reload)
        return tokens


#: In the order in which they are asked.
BUILTIN: Final = (Jwt(), Tokens(), Memory(), Sqlite())


def catalogue(folders: Sequence[str]) -> Catalogue:
    """Every plugin: those that came with the relay, those that are installed, and those in the folders.

    Raises NotUsable: there is no such folder.
    """
    add_folders(relay.plugins, folders)
    return look(relay.plugins, [Found(plugin, "came with the relay", builtin=True) for plugin in BUILTIN])


def tables(config: Config) -> dict[str, dict[str, Any]]:
    """The tables of all plugins that are used.

    The short names (``auth_file``, ``jwt_*``, ``store_*``) are the tables of those that came with the relay; what
    ``[extensions.NAME]`` says of them wins.
    """
    scheme = config.store.partition(":")[0]
    short = {
        plugin.name: plugin.table(config)
        for plugin in BUILTIN
        if scheme in getattr(plugin, "schemes", ())
        or (plugin.name == "jwt" and config.takes_jwt)
        or (plugin.name == "token-file" and config.auth_file)
    }
    return {name: short.get(name, {}) | config.extensions.get(name, {}) for name in [*short, *config.extensions]}
