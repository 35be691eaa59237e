"""One frozen Config from a file, the environment and options: later wins, and every error names its key."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from relay.core.limits import GIB, MIB, Limits
from relay.endpoints import Reach, reach
from relay.kinds import Kind, choice, count, flag, rate, seconds, several, signing_secret, size, text

DAY: Final = 86400.0

PLUGIN_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class ConfigError(Exception):
    """The settings cannot be used. The text is one line: the key, where it came from, its value, what is allowed."""


@dataclass(frozen=True, slots=True)
class Config:
    """How this relay is run. Times in seconds, sizes in bytes."""

    listen: tuple[str, ...] = ("tcp:8080:interface=127.0.0.1",)  #: Twisted endpoint strings
    store: str = "sqlite:relay.db"
    store_min_free: int = 64 * MIB  #: below so much free space on the disk nothing new is kept
    store_reserve: int = 8 * MIB  #: a file that is given up when the disk is full, so that ACKs can be recorded
    ack_timeout: float = 5.0  #: how long a publisher waits for the ACK unless it says otherwise
    heartbeat: float = 30.0  #: between two pings to an agent
    on_duplicate: str = "reject"  #: what a second registration of a live agent does
    server_name: tuple[str, ...] = ()  #: names by which clients may call the relay in ``Host``
    origin: tuple[str, ...] = ()  #: origins of web pages that may use the relay
    node: str = ""  #: this node's name, told to agents; empty: the machine's name
    overflow: str = "refuse"  #: what a new message for a full queue does
    pass_header: tuple[str, ...] = ()  #: request headers that are given to the agent under their own names
    callback_host: tuple[str, ...] = ()  #: hosts that callbacks may go to
    callback_secret: tuple[bytes, ...] = field(default=(), repr=False)  #: each signs; two while one is replaced
    callback_secret_file: str = ""  #: further secrets, one a line
    callback_private: bool = False  #: callbacks may go to addresses that only this machine or network can reach
    fast_door: bool = True  #: plain requests and frames take the hot path
    insecure_open: bool = False  #: listen beyond this machine although nobody must say who they are
    auth_file: str = ""  #: the token file; empty: there is none
    jwt_secret_file: str = ""  #: a file with the secret that signs JSON Web Tokens
    jwt_key_file: str = ""  #: a file with the public key, in PEM, of who signs them
    jwt_jwks: str = ""  #: a file or an https URL with a set of keys
    jwt_audience: tuple[str, ...] = ()  #: a token must be for one of these
    jwt_issuer: str = ""  #: a token must be by this one
    plugin_path: tuple[str, ...] = ()  #: folders that hold plugins, beside what is installed
    #: the tables of the plugins that are used, by their names, in order; their values are theirs to judge
    extensions: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    limits: Limits = field(default_factory=Limits)

    @property
    def authenticates(self) -> bool:
        """Does everybody have to say who they are?"""
        return bool(self.auth_file) or self.takes_jwt

    @property
    def takes_jwt(self) -> bool:
        """Are there keys of JSON Web Tokens?"""
        return bool(self.jwt_secret_file or self.jwt_key_file or self.jwt_jwks)


SETTINGS: Final[dict[str, Kind]] = {
    "listen": several(
        text(r"[^\s\0-\x1f]+", ""), "endpoints without blanks, such as tcp:8080:interface=127.0.0.1", least=1
    ),
    "store": text(r"[^\0-\x1f]+", "the URL of a store, such as sqlite:relay.db or memory:"),
    "store_min_free": size(0, 1 << 60),
    "store_reserve": size(0, 16 * GIB),
    "ack_timeout": seconds(0, 3600),
    "heartbeat": seconds(0.1, 3600),
    "on_duplicate": choice("reject", "replace", "choice"),
    "server_name": several(text(r"[A-Za-z0-9_.-]{1,253}", ""), "host names without a port, such as relay.example.org"),
    "origin": several(text(r"null|[a-z][a-z0-9+.-]*://[^/\s?#@]+", ""), "origins such as https://example.org, or null"),
    "node": text(r"[\x21-\x7e]{1,64}", "1 to 64 visible ASCII characters"),
    "overflow": choice("refuse", "drop-oldest"),
    "pass_header": several(text(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", ""), "names of headers, such as X-Request-Id"),
    "callback_host": several(text(r"[a-z0-9_.:-]{1,253}", ""), "host names in lower case, without a port"),
    "callback_secret": several(signing_secret(), "whsec_ and the base64 of 24 to 64 random bytes, for each"),
    "callback_secret_file": text(r"[^\0-\x1f]*", "the path of a file with one secret a line"),
    "callback_private": flag(),
    "fast_door": flag(),
    "insecure_open": flag(),
    "jwt_secret_file": text(r"[^\0-\x1f]*", "the path of a file with a secret of at least 32 bytes"),
    "jwt_key_file": text(r"[^\0-\x1f]*", "the path of a file with one public key in PEM"),
    "jwt_jwks": text(
        r"(?!\w+://)[^\0-\x1f]*|https://[!-~]+|http://(127\.[0-9.]+|\[::1\]|localhost)[:/][!-~]*",
        "the path of a file with a set of keys, or its URL: https, or http on this machine",
    ),
    "jwt_audience": several(text(r"[!-~]{1,255}", ""), "audiences without blanks, as tokens have them in aud"),
    "jwt_issuer": text(r"[!-~]{0,255}", "an issuer without blanks, as tokens have it in iss"),
    "auth_file": text(r"[^\0-\x1f]*", "the path of a token file, as `relay token new` writes it"),
    "plugin_path": several(text(r"[^\0-\x1f]+", ""), "folders"),
}

SIZES: Final = {
    *("payload", "head_bytes", "body_rate", "frame", "page_bytes"),
    *("queue_bytes", "total_bytes", "session_buffer", "total_buffer"),
    *("reply", "headers_bytes", "batch_bytes", "linger_bytes", "token_bytes"),
    *("undecided_bytes", "unread", "small_bytes"),
    *("remembered_bytes", "ended_bytes", "letter_bytes"),
}
RATES: Final = {"registrations"}
#: 0 lifts these
OPTIONAL_RATES: Final = {"address_requests", "publisher_requests", "address_registrations", "frames"}
OPTIONAL_COUNTS: Final = {"connections", "address_connections"}


def limit_kind(name: str) -> Kind:
    """What a field of Limits may be."""
    if name in SIZES:
        return size(1, 1024 * GIB)
    if name in RATES:
        return rate(0.001, 1e9)
    if name in OPTIONAL_RATES:
        return rate(0, 1e9)
    if name in OPTIONAL_COUNTS:
        return count(0, 10**12)
    if name == "descriptors":
        return count(10, 98)
    return count(1, 10**12) if isinstance(getattr(Limits(), name), int) else seconds(0.001, 3650 * DAY)


LIMITS: Final = {f"limits.{each.name}": limit_kind(each.name) for each in fields(Limits)}

KINDS: Final = SETTINGS | LIMITS

#: the first may not be larger than the second
ORDERED: Final = (
    ("ack_timeout", "limits.wait_max"),
    ("limits.ttl", "limits.ttl_max"),
    ("limits.default_in_flight", "limits.max_in_flight"),
    ("limits.ack_wait", "limits.ack_wait_max"),
    ("limits.queue_count", "limits.total_count"),
    ("limits.queue_bytes", "limits.total_bytes"),
    ("limits.session_buffer", "limits.total_buffer"),
)

#: Others' variables that begin like ours: the command line's own, and what Kubernetes sets for a service named "relay".
FOREIGN: Final = re.compile(
    r"RELAY_(URL|TOKEN(_FILE)?|CONFIG|SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)"
)


def load(file: str | None, environ: Mapping[str, str], options: Mapping[str, Any]) -> Config:
    """Put a Config together.

    ``file`` is a TOML file (else ``RELAY_CONFIG`` names it, else there is none), ``environ`` the environment of which
    ``RELAY_*`` counts, ``options`` what the command line says, by key; a None there says nothing.
    Raises ConfigError.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    file = file or environ.get("RELAY_CONFIG")
    table = _read(file) if file else {}
    extensions = _extensions(table.pop("extensions", {}), f"in {file}", environ)
    for key, value, origin in _sources(table, f"in {file}", environ, options):
        values[key] = _parsed(key, value, origin)
        origins[key] = origin
    limits = {key.removeprefix("limits."): values.pop(key) for key in list(values) if key.startswith("limits.")}
    if values.get("callback_secret_file"):
        more = _secrets(values["callback_secret_file"], origins["callback_secret_file"])
        values["callback_secret"] = (*values.get("callback_secret", ()), *more)
    config = replace(Config(), **values, limits=replace(Limits(), **limits), extensions=extensions)
    _check(config, origins)
    return config


def _sources(
    table: Mapping[str, Any], where: str, environ: Mapping[str, str], options: Mapping[str, Any]
) -> Iterable[tuple[str, Any, str]]:
    """Every (key, value, origin) that was given, but for the plugins' own; what comes later wins."""
    for key, value in table.items():
        if key == "limits" and isinstance(value, dict):
            yield from ((f"limits.{name}", limit, where) for name, limit in value.items())
        else:
            yield key, value, where
    for variable, value in environ.items():
        # An empty variable is how a compose file says that it has nothing to say.
        if value and variable.startswith("RELAY_") and not FOREIGN.fullmatch(variable):
            key = variable.removeprefix("RELAY_").lower()
            if key.startswith("extensions_"):
                continue
            if key.startswith("limits_"):
                key = key.replace("_", ".", 1)
            yield key, value, f"in the environment as {variable}"
    for key, value in options.items():
        if value is not None:
            yield key, value, "as --" + key.replace("_", "-")


def _read(file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(file).read_bytes().decode())
    except OSError as error:
        raise ConfigError(f"config: cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config: {file} is not UTF-8 at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"config: {file} is not TOML: {_one_line(str(error))}") from error


def _extensions(tables: Any, where: str, environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The tables ``[extensions.NAME]``, with what ``RELAY_EXTENSIONS_NAME_KEY`` sets in them."""
    if not isinstance(tables, dict):
        raise _refusal("extensions", where, repr(tables), "tables [extensions.NAME]")
    found: dict[str, dict[str, Any]] = {}
    for name, table in tables.items():
        if not PLUGIN_NAME.fullmatch(name) or not isinstance(table, dict):
            allowed = "a table whose name is that of a plugin: lower case letters, digits and '-'"
            raise _refusal(f"extensions.{_shown(name)}", where, repr(table), allowed)
        found[name] = dict(table)
    for variable, value in environ.items():
        if value and variable.startswith("RELAY_EXTENSIONS_"):
            name, key = _plugin_key(variable.removeprefix("RELAY_EXTENSIONS_").lower(), found)
            if not PLUGIN_NAME.fullmatch(name) or not key:
                raise _refusal(variable, "in the environment", value, "RELAY_EXTENSIONS_NAME_KEY")
            found.setdefault(name, {})[key] = value
    return found


def _plugin_key(words: str, known: Iterable[str]) -> tuple[str, str]:
    """NAME and KEY: the longest name that has a table in the file (its '-' written as '_'), else the first word."""
    for name in sorted(known, key=len, reverse=True):
        start = name.replace("-", "_") + "_"
        if words.startswith(start):
            return name, words.removeprefix(start)
    name, _, key = words.partition("_")
    return name, key


def _secrets(file: str, origin: str) -> tuple[bytes, ...]:
    """What stands in a file of secrets, one a line."""
    try:
        lines = Path(file).read_text(encoding="ascii").split()
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "it is not ASCII"
        raise ConfigError(f"callback_secret_file ({origin}): cannot read {_shown(file)}: {why}") from error
    secrets: tuple[bytes, ...] = _parsed("callback_secret", lines, f"in {_shown(file)}")
    return secrets


def _parsed(key: str, value: Any, origin: str) -> Any:
    kind = KINDS.get(key)
    if kind is None:
        near = difflib.get_close_matches(key.lower().replace("-", "_"), KINDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(SETTINGS)} and limits.*"
        raise ConfigError(f"{_shown(key)} ({origin}): there is no such setting; {hint}")
    try:
        return kind.parse(value)
    except (ValueError, OverflowError):
        shown = "a value that is not shown" if kind.secret else repr(value)
        raise _refusal(key, origin, shown, kind.allowed) from None


def _check(config: Config, origins: Mapping[str, str]) -> None:
    """What no single value can say. Raises ConfigError."""
    values = {f"limits.{each.name}": getattr(config.limits, each.name) for each in fields(Limits)}
    values["ack_timeout"] = config.ack_timeout
    for low, high in ORDERED:
        if values[low] > values[high]:
            origin = origins.get(low, "by default")
            raise _refusal(low, origin, f"{values[low]:g}", f"at most {high}, which is {values[high]:g}")
    if config.callback_host and not config.callback_secret:
        hosts, origin = " ".join(config.callback_host), origins.get("callback_host", "by default")
        raise _refusal("callback_host", origin, hosts, "only with a callback_secret: receivers tell us by it")
    for key in ("jwt_audience", "jwt_issuer"):
        value = getattr(config, key)
        if value and not config.takes_jwt:
            shown = " ".join(value) if isinstance(value, tuple) else value
            only = "only with keys: jwt_secret_file, jwt_key_file or jwt_jwks"
            raise _refusal(key, origins.get(key, "by default"), shown, only)
    if not config.extensions:  # one of them may say who somebody is: that is seen when they are there
        check_reach(config, config.authenticates, origins.get("listen", "by default"))


def check_reach(config: Config, authenticates: bool, origin: str = "as configured") -> None:
    """Others than this machine may reach the relay only if it asks who they are. Raises ConfigError."""
    for endpoint in config.listen:
        if reach(endpoint) is Reach.OPEN and not (config.insecure_open or authenticates):
            raise open_to_strangers(endpoint, origin)


def open_to_strangers(endpoint: str, origin: str) -> ConfigError:
    """The refusal of an endpoint that could be reached from elsewhere."""
    only = "only what this machine alone can reach, while nobody has to say who they are"
    ways = "interface=127.0.0.1, interface=\\:\\:1 or unix:PATH; --auth-file or --insecure-open lifts this"
    return _refusal("listen", origin, endpoint, f"{only}: {ways}")


def _refusal(key: str, origin: str, value: str, allowed: str) -> ConfigError:
    return ConfigError(f"{key} ({origin}): {_shown(value)} is not allowed; allowed: {allowed}")


def _one_line(words: str) -> str:
    return " ".join(words.split())


def _shown(value: str) -> str:
    """A stranger's value in an error: one line, and not a long one."""
    line = _one_line(value)
    return line if len(line) <= 100 else line[:99] + "…"
