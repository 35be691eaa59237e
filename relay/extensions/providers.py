"""Plugins that say who somebody is. What they do wrong is never taken for a right token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure

from relay.core.access import Grant, TokenRefused, TokensUnavailable
from relay.core.ports import TokenProvider
from relay.extensions.health import Health


class Provider:
    """Implements ``relay.core.ports.TokenProvider`` over a plugin's own: whatever that fails at is "no"."""

    def __init__(self, health: Health, inner: TokenProvider) -> None:
        self.source = inner.source
        self._health = health
        self._inner = inner

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
            # A plugin's time is bounded by whoever asks: ``auth_seconds`` of the limits.
            grant = self._grant("check", await maybeDeferred(self._inner.check, token), or_none=False)
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
        self._inner.on_change(call)

    def _grant(self, hook: str, said: Any, *, or_none: bool) -> Grant | None:
        if said is None and or_none:
            return None
        if not isinstance(said, Grant) or said.source != self.source:
            raise TypeError(f"{hook} must return a Grant whose source is {self.source!r}, not {type(said).__name__}")
        self._health.worked()
        return said
