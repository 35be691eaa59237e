"""The token file: who may do what, read again whenever it changes."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from twisted.logger import Logger

from relay.auth.files import WatchedFile
from relay.core.access import Grant, TokenRefused, TokenUnknown
from relay.core.ports import Audit
from relay.core.tokenfile import SOURCE, BadTokenFile, TokenEntry, digest_of, read

log = Logger()

#: A file larger than this is none of ours (bytes).
LARGEST = 16 * 1024 * 1024


class TokenFile:
    """Implements ``relay.core.ports.TokenProvider`` over a file. ``wall`` gives the Unix time.

    Somebody calls ``look`` several times a second, and ``reload`` on SIGHUP. A file that cannot be read, or makes no
    sense, changes nothing: the tokens that were read before stay.
    """

    source = SOURCE

    def __init__(self, path: str, *, wall: Callable[[], float], audit: Audit) -> None:
        """Raises BadTokenFile with one line when the file cannot be used: a relay does not start without its tokens."""
        self._file = WatchedFile(path, LARGEST)
        self._wall = wall
        self._audit = audit
        self._changed: list[Callable[[], object]] = []
        self._take(self._load())

    # -- who may do what

    def known(self, token: str) -> Grant | None:
        entry = self._find(token)
        if entry is None or (entry.expires is not None and entry.expires <= self._wall()):
            return None
        return self._grants[entry.digest]

    async def check(self, token: str) -> Grant:
        if self._find(token) is None:
            raise TokenUnknown("the token is not known here")
        grant = self.known(token)
        if grant is None:
            raise TokenRefused("the token has expired")
        return grant

    def _find(self, token: str) -> TokenEntry | None:
        digest = digest_of(token)
        entry = self._by_digest.get(digest)
        # What a table's look-up takes may tell something of a digest, from which nobody gets to a token. All the same.
        return entry if entry is not None and hmac.compare_digest(entry.digest, digest) else None

    def still(self, grant: Grant) -> Grant | None:
        return self._grants.get(grant.key)

    def on_change(self, call: Callable[[], object]) -> None:
        self._changed.append(call)

    # -- the file

    def look(self) -> None:
        """Read the file if it has changed."""
        if self._file.changed():
            self.reload()

    def reload(self) -> None:
        """Read the file now."""
        try:
            entries = self._load()
        except BadTokenFile as error:
            log.error("{error}; the tokens read before stay", error=str(error))
            return
        if entries != self._entries:
            self._tell_changes(entries)
            self._take(entries)
            for call in self._changed:
                call()

    def _load(self) -> dict[str, TokenEntry]:
        try:
            return read(self._file.read().decode("utf-8"))
        except UnicodeDecodeError as error:
            raise BadTokenFile(f"auth_file: {self._file.path} is not UTF-8 at byte {error.start}") from None
        except ValueError as error:
            raise BadTokenFile(f"auth_file: {error}") from None
        except BadTokenFile as error:
            raise BadTokenFile(f"auth_file: {self._file.path}: {error}") from None

    def _take(self, entries: dict[str, TokenEntry]) -> None:
        self._entries = entries
        self._by_digest = {entry.digest: entry for entry in entries.values()}
        # Made once: what every request asks for should not be made anew for each.
        self._grants = {entry.digest: entry.grant() for entry in entries.values()}

    def _tell_changes(self, entries: dict[str, TokenEntry]) -> None:
        for name in sorted(self._entries.keys() | entries.keys()):
            old, new = self._entries.get(name), entries.get(name)
            if old != new:
                what = "added" if old is None else "revoked" if new is None else "changed"
                self._audit.note(f"token-{what}", name=name)
