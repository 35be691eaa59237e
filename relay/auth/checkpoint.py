"""Where every token is shown: asks the providers, counts the failures, and lets those who guess wait."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from relay.core.access import Grant, TokenRefused, TokensUnavailable, TokenUnknown
from relay.core.failures import Failures
from relay.core.limits import Limits
from relay.core.ports import Audit, TokenProvider
from relay.core.problems import Problem

#: What a bearer token is made of (RFC 6750 section 2.1).
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
RETRY: Final = 10  #: seconds, ``Retry-After`` when nobody can tell whether a token is good

log = Logger()


class Checkpoint:
    """Implements ``relay.core.ports.Authenticator`` over one or more providers.

    A right token is never late, however many wrong ones came from the same address: behind a proxy all share one.
    ``wall`` gives the Unix time.
    """

    nobody: Grant | None = None

    def __init__(
        self,
        providers: Sequence[TokenProvider],
        *,
        clock: IReactorTime,
        wall: Callable[[], float],
        limits: Limits,
        audit: Audit,
    ) -> None:
        self._providers = {provider.source: provider for provider in providers}
        self._clock = clock
        self._wall = wall
        self._limits = limits
        self._audit = audit
        self._failures = Failures(limits)

    def known(self, token: str | None) -> Grant | None:
        # Before anything is made of it: in a frame it may have megabytes.
        if token is None or len(token) > self._limits.token_bytes:
            return None
        for provider in self._providers.values():
            grant = provider.known(token)
            if grant is not None:
                return grant
        return None

    def check(self, token: str | None, peer: str) -> Deferred[Grant]:
        return Deferred.fromCoroutine(self._check(token, peer))

    async def _check(self, token: str | None, peer: str) -> Grant:
        try:
            return self.known(token) or await self._ask(token)
        except TokenRefused as refused:
            why = str(refused)
        except TokensUnavailable as unavailable:
            self._audit.note("tokens-unavailable", peer=peer, why=str(unavailable))
            raise Problem("overloaded", "whether a token is good cannot be told now", retry_after=RETRY) from None
        self._audit.note("authentication-failed", peer=peer, why=why)
        late = self._failures.count(peer, self._clock.seconds())
        if late:
            await deferLater(self._clock, late)
        raise Problem("unauthenticated", why)

    async def _ask(self, token: str | None) -> Grant:
        if token is None:
            raise TokenRefused("there is no token; send Authorization: Bearer")
        if len(token) > self._limits.token_bytes or not _TOKEN.fullmatch(token):
            raise TokenRefused(
                f"no token looks like this: at most {self._limits.token_bytes} of A-Z a-z 0-9 . _ ~ + / -"
            )
        why: list[TokenRefused | TokensUnavailable] = []
        for provider in self._providers.values():
            try:
                return await _within(provider.check(token), self._limits.auth_seconds, self._clock)
            except (TokenRefused, TokensUnavailable) as error:
                why.append(error)
        # Whoever said more than that it is none of his: he knows best.
        raise next((error for error in why if not isinstance(error, TokenUnknown)), why[-1])

    def still(self, grant: Grant) -> Grant | None:
        provider = self._providers.get(grant.source)
        return None if provider is None else provider.still(grant)

    def on_change(self, call: Callable[[], object]) -> None:
        for provider in self._providers.values():
            provider.on_change(call)


async def _within(work: Awaitable[Grant], seconds: float, clock: IReactorTime) -> Grant:
    """The answer of a provider, which a third party may have written. Raises TokenRefused, TokensUnavailable."""
    waiting: Deferred[Grant] = work if isinstance(work, Deferred) else Deferred.fromCoroutine(_awaited(work))
    waiting.addTimeout(seconds, clock)
    try:
        return await waiting
    except (TokenRefused, TokensUnavailable, CancelledError):
        raise
    except TimeoutError:
        raise TokensUnavailable("it took too long") from None
    except Exception as error:
        log.failure("a provider of tokens went wrong")
        raise TokensUnavailable("its provider went wrong") from error


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work
