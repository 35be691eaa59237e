"""Plugins that say who somebody is. What they do wrong is never taken for a right token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure

from relay.core.access import Grant, TokenRefused, TokensUnavailable
from relay.core.ports import TokenProvider
from relay.extensions.health import Health
from relay.extensions.settings import NotUsable


class Provider:
    """Implements ``relay.core.ports.TokenProvider`` over a plugin's own: whatever that fails at is "no"."""

    def __init__(self, health: Health, inner: TokenProvider, seconds: float) -> None:
        """``seconds``: how long a ``check`` may take."""
        self.source = inner.source
        self._health = health
        self._inner = inner
        self._seconds = seconds

    def known(self, token: str) -> Grant | None:
        try:
            return self._grant("known", self._inner.known(token), or_none=True)
        except Exception:
            self._health.failed("known", Failure())
            return None

    def check(self, token: str) -> Awaitable[Grant]:
        return Deferred.fromCoroutine(self._check(token))

    async def _check(self, token: str) -> Grant:
        try:
            said = self._health.within(self._seconds, maybeDeferred(self._inner.check, token))
            grant = self._grant("check", await said, or_none=False)
        except (TokenRefused, TokensUnavailable):
            self._health.worked()
            raise
        except CancelledError:
            raise
        except Exception as error:
            self._health.failed("check", Failure())
            raise TokensUnavailable(f"plugin {self._health.name} failed") from error
        assert grant is not None
        return grant

    def still(self, grant: Grant) -> Grant | None:
        try:
            return self._grant("still", self._inner.still(grant), or_none=True)
        except Exception:
            self._health.failed("still", Failure())
            return None

    def on_change(self, call: Callable[[], object]) -> None:
        try:
            said: Any = self._inner.on_change  # of a stranger: it may return anything
            _drop(said(call))
        except Exception as error:
            why = f"on_change failed: {type(error).__name__}: {error}"
            raise NotUsable(f"extensions.{self._health.name}: {why}") from error

    def _grant(self, hook: str, said: Any, *, or_none: bool) -> Grant | None:
        if said is None and or_none:
            return None
        _drop(said)
        if not isinstance(said, Grant) or said.source != self.source:
            raise TypeError(f"{hook} must return a Grant whose source is {self.source!r}, not {type(said).__name__}")
        self._health.worked()
        return said


def _drop(said: object) -> None:
    """Nobody waits for it: then it must not be said of it that it failed and nobody was there."""
    if isinstance(said, Deferred):
        said.addErrback(lambda _: None)
