"""The token file as text: what it says, and how a token is put into it and taken out. Comments stay as they are.

A token is 32 random bytes, so its SHA-256 is as hard to turn back as the token is to guess; a slow hash is for what
people think up. The file never holds a token itself.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from relay.core.access import MOST_PATTERNS, Grant, is_name, is_pattern

SOURCE: Final = "auth_file"
TOKEN_BYTES: Final = 32  #: of chance
LONGEST_NAME: Final = 64

HEADER: Final = "# Who may use the relay: written by `relay token`, and read by the relay whenever it changes.\n"

_NAME: Final = re.compile(r"[A-Za-z0-9._@~+-]{1,64}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_KEYS: Final = {"sha256", "publish", "agent", "admin", "created", "expires"}
_TABLE: Final = re.compile(r"\s*\[")


class BadTokenFile(Exception):
    """The text is no token file. One line: what is wrong, and what is allowed."""


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """One token as the file has it. Times are Unix seconds."""

    name: str
    digest: str  #: SHA-256 of the token, in hexadecimal
    publish: tuple[str, ...] = ()
    agent: tuple[str, ...] = ()
    admin: bool = False
    created: float | None = None
    expires: float | None = None

    def grant(self) -> Grant:
        """What it grants."""
        return Grant(self.name, self.publish, self.agent, self.admin, self.expires, SOURCE, self.digest)


def digest_of(token: str) -> str:
    """What the file keeps of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def is_token_name(text: str) -> bool:
    """Can this name a token in the file?"""
    return _NAME.fullmatch(text) is not None and is_name(text)


def read(text: str) -> dict[str, TokenEntry]:
    """The tokens that stand in it, by their names. Raises BadTokenFile."""
    try:
        tables = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError is one; so is what a number of 5,000 digits is answered with
        raise BadTokenFile(f"it is not TOML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise BadTokenFile("it is not TOML that can be read: it is nested too deep") from None
    tokens = tables.pop("tokens", {})
    if tables or not isinstance(tokens, dict):
        raise BadTokenFile(f"it has tables [tokens.NAME] and nothing else, not {next(iter(tables), 'tokens')!r:.80}")
    entries = {name: _entry(name, table) for name, table in tokens.items()}
    if len({entry.digest for entry in entries.values()}) < len(entries):
        raise BadTokenFile("two tokens have the same sha256")
    return entries


def _entry(name: str, table: Any) -> TokenEntry:
    if not is_token_name(name):
        raise BadTokenFile(
            f"a token's name has 1 to {LONGEST_NAME} characters of A-Z a-z 0-9 . _ @ ~ + -, not {name!r:.80}"
        )
    if not isinstance(table, dict) or table.keys() - _KEYS:
        unknown = min(table.keys() - _KEYS) if isinstance(table, dict) else "tokens"
        raise BadTokenFile(f"{name}: there is no {unknown!r:.80}; known: {', '.join(sorted(_KEYS))}")
    digest, admin = table.get("sha256"), table.get("admin", False)
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise BadTokenFile(f"{name}: sha256 must be 64 digits of 0-9 a-f, as `relay token new` writes them")
    if not isinstance(admin, bool):
        raise BadTokenFile(f"{name}: admin must be true or false")
    return TokenEntry(
        name,
        digest,
        publish=_patterns(name, "publish", table),
        agent=_patterns(name, "agent", table),
        admin=admin,
        created=_time(name, "created", table),
        expires=_time(name, "expires", table),
    )


def _patterns(name: str, scope: str, table: dict[str, Any]) -> tuple[str, ...]:
    value = table.get(scope, [])
    if not isinstance(value, list) or len(value) > MOST_PATTERNS:
        raise BadTokenFile(f"{name}: {scope} must be a list of at most {MOST_PATTERNS} patterns")
    for pattern in value:
        if not isinstance(pattern, str) or not is_pattern(pattern):
            raise BadTokenFile(
                f"{name}: {scope} must be patterns of A-Z a-z 0-9 . _ ~ : @ - and * (any run), not {pattern!r:.80}"
            )
    return tuple(value)


def _time(name: str, key: str, table: dict[str, Any]) -> float | None:
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise BadTokenFile(f"{name}: {key} must be a time like 2027-01-01T00:00:00Z, not {value!r:.80}")
    return value.timestamp()


def with_token(text: str, entry: TokenEntry) -> str:
    """The text with one more token at its end. Raises BadTokenFile, also when there is one of that name."""
    if entry.name in read(text):
        raise BadTokenFile(f"there is a token {entry.name!r} already: revoke it first, or give this one another name")
    text = text or HEADER
    grown = text + ("" if text.endswith("\n") else "\n") + "\n" + "\n".join(_lines(entry)) + "\n"
    read(grown)
    return grown


def _lines(entry: TokenEntry) -> Iterable[str]:
    yield f'[tokens."{entry.name}"]'
    yield f'sha256 = "{entry.digest}"'
    for scope, patterns in (("publish", entry.publish), ("agent", entry.agent)):
        if patterns:
            quoted = ", ".join(f'"{pattern}"' for pattern in patterns)
            yield f"{scope} = [{quoted}]"
    if entry.admin:
        yield "admin = true"
    if entry.created is not None:
        yield f"created = {_stamp(entry.created)}"
    if entry.expires is not None:
        yield f"expires = {_stamp(entry.expires)}"


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def without_token(text: str, name: str) -> str:
    """The text without the token of that name. Raises BadTokenFile, also when there is none, or when it stands there in
    a way that cannot be cut out line by line.
    """
    entries = read(text)
    if entries.pop(name, None) is None:
        raise BadTokenFile(f"there is no token {name!r:.80}; there are: {', '.join(sorted(entries)) or 'none'}")
    lines = text.splitlines(keepends=True)
    heads = [number for number, line in enumerate(lines) if _TABLE.match(line)]
    for head, after in pairwise([*heads, len(lines)]):
        end = _end_of_table(lines, head, after)
        shorter = "".join(lines[:head] + lines[end:])
        if _says(shorter, entries):
            return shorter
    raise BadTokenFile(f"the token {name!r} is not written as a table of its own: take it out by hand")


def _end_of_table(lines: list[str], head: int, after: int) -> int:
    """Where the table's own lines end: comments and blank lines in front of the next one are the next one's."""
    while after > head + 1 and not lines[after - 1].partition("#")[0].strip():
        after -= 1
    return after


def _says(text: str, entries: dict[str, TokenEntry]) -> bool:
    try:
        return read(text) == entries
    except BadTokenFile:
        return False
