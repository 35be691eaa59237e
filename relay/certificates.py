"""Certificates of a listening endpoint, read again while the relay runs: new connections get the new one."""

from __future__ import annotations

import os
from typing import Any, Final

from OpenSSL.SSL import Connection
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from zope.interface import implementer

from relay.endpoints import split

#: The arguments of an ``ssl:`` endpoint that name files.
FILES: Final = ("privateKey", "certKey", "extraCertChain", "dhParameters")

log = Logger()

Seen = tuple[tuple[int, int, int] | None, ...]


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """Takes the place of what Twisted read once from the files of ``text``, an ``ssl:`` endpoint string.

    A session under way keeps what it began with. What cannot be read, or a key that is not the certificate's, changes
    nothing: it is logged, and the pair that was read before stays.
    """

    def __init__(self, text: str, endpoint: Any) -> None:
        self._text = text
        named = split(text)[2]
        self._files = [named[name] for name in FILES if name in named]
        self._context = endpoint._sslContextFactory.getContext()
        endpoint._sslContextFactory = self
        self._read = self._last = self._seen()

    def serverConnectionForTLS(self, tlsProtocol: object) -> Connection:  # noqa: N802, N803  Twisted's names
        """Called by Twisted for each connection."""
        return Connection(self._context, None)

    def look(self) -> None:
        """Read the files if they have changed and look alike twice: the key and the certificate come one by one."""
        seen, before = self._seen(), self._last
        self._last = seen
        if seen == before and seen != self._read:
            self._read = seen
            self.reload()

    def reload(self) -> None:
        """Read the files now."""
        try:
            # The whole string again: its chain, its parameters and its methods mean what they mean to Twisted.
            context = serverFromString(None, self._text)._sslContextFactory.getContext()
        except Exception as error:
            # OpenSSL's errors have no text of their own, and a parser may say that it cannot read in any way it likes.
            why = f"{type(error).__name__}: {error}"
            log.error("{text}: {why}; the certificate that was read before stays", text=self._text, why=why)
        else:
            self._context = context
            log.info("{text}: the certificate was read again", text=self._text)

    def _seen(self) -> Seen:
        return tuple(map(_state_of, self._files))


def _state_of(path: str) -> tuple[int, int, int] | None:
    """What is another when the file was written or replaced; None if it is not there."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino
