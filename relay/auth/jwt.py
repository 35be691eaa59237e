"""JSON Web Tokens (RFC 7519): signed ones only, by keys that are pinned to their algorithms, and with an end."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwt import ClaimsOption, JWTClaimsRegistry, decode
from joserfc.util import urlsafe_b64decode

from relay.auth.keys import VerifyingKey
from relay.auth.rings import KeyRing
from relay.core.access import MOST_PATTERNS, Grant, TokenRefused, TokensUnavailable, TokenUnknown, is_name, is_pattern

SOURCE: Final = "jwt"
LEEWAY: Final = 60  #: seconds that the clocks of the relay and of whoever signs may be apart
MOST_TRIED: Final = 3  #: keys, for a token that names none, or one that several have

#: What a scope begins with that is meant for the relay: ``relay:publish:desk-*``, ``relay:agent:desk-1`` …
PREFIX: Final = "relay:"


class _NoKey(Exception):
    """None of the keys that are here has signed it."""


class JsonWebTokens:
    """Implements ``relay.core.ports.TokenProvider``. ``wall`` gives the Unix time; ``cached`` good tokens are
    remembered until they end.
    """

    source = SOURCE

    def __init__(
        self,
        rings: Sequence[KeyRing],
        *,
        wall: Callable[[], float],
        cached: int,
        audience: Sequence[str] = (),
        issuer: str = "",
    ) -> None:
        self._rings = rings
        self._wall = wall
        self._cached = cached
        self._claims: dict[str, ClaimsOption] = {"exp": {"essential": True}, "sub": {"essential": True}}
        if audience:
            self._claims["aud"] = {"essential": True, "values": list(audience)}
        if issuer:
            self._claims["iss"] = {"essential": True, "value": issuer}
        self._grants: OrderedDict[bytes, Grant] = OrderedDict()
        for ring in rings:
            ring.on_change(self._keys_changed)
        self._keys_changed()

    def known(self, token: str) -> Grant | None:
        if token.count(".") != 2:
            return None
        digest = hashlib.sha256(token.encode("ascii", "replace")).digest()
        grant = self._grants.get(digest)
        if grant is None:
            try:
                grant = self._verify(token)
            except (TokenRefused, _NoKey):
                return None
            self._remember(digest, grant)
        elif grant.expires_at is not None and grant.expires_at + LEEWAY <= self._wall():
            del self._grants[digest]
            return None
        return grant

    async def check(self, token: str) -> Grant:
        if token.count(".") != 2:
            raise TokenUnknown("the token is not known here")
        try:
            return self._verify(token)
        except _NoKey:
            pass
        # All of them, so that none is left out because another could not be reached.
        reached = [await ring.seek() for ring in self._rings]
        try:
            return self._verify(token)
        except _NoKey:
            if not all(reached):
                raise TokensUnavailable("the keys of tokens cannot be read now") from None
            raise TokenRefused("the token is signed by a key that is not known here") from None

    def still(self, grant: Grant) -> Grant | None:
        return grant if grant.key in self._ids else None

    def on_change(self, call: Callable[[], object]) -> None:
        for ring in self._rings:
            ring.on_change(call)

    # -- parts

    def _keys_changed(self) -> None:
        self._ids = {key.id for ring in self._rings for key in ring.keys}
        self._grants.clear()

    def _remember(self, digest: bytes, grant: Grant) -> None:
        while len(self._grants) >= self._cached:
            self._grants.popitem(last=False)
        self._grants[digest] = grant

    def _verify(self, token: str) -> Grant:
        """Raises TokenRefused, _NoKey."""
        kid = _kid_of(token)
        keys = self._candidates(kid)
        for key in keys:
            try:
                claims = decode(token, key.key, registry=key.pinned).claims
            except JoseError:
                continue
            except (ValueError, TypeError, RecursionError, OverflowError):
                raise TokenRefused("the token is malformed") from None
            return self._grant(claims, key)
        if kid is not None and any(key.kid == kid for key in keys):
            raise TokenRefused("the token's signature is not that of its key")
        raise _NoKey

    def _candidates(self, kid: str | None) -> list[VerifyingKey]:
        keys = [key for ring in self._rings for key in ring.keys]
        if kid is None:
            return keys if len(keys) <= MOST_TRIED else []
        named = [key for key in keys if key.kid == kid][:MOST_TRIED]
        return named or [key for key in keys if key.kid is None][:MOST_TRIED]

    def _grant(self, claims: dict[str, Any], key: VerifyingKey) -> Grant:
        if "aud" in claims and "aud" not in self._claims:
            # RFC 7519 section 4.1.3: it is meant for somebody, and we are not told that this is us.
            raise TokenRefused("the token has an audience (aud), and the relay is not told its own: jwt_audience")
        try:
            JWTClaimsRegistry(now=int(self._wall()), leeway=LEEWAY, **self._claims).validate(claims)
        except ExpiredTokenError:
            raise TokenRefused("the token has expired") from None
        except (JoseError, OverflowError) as error:
            raise TokenRefused(f"a claim of the token is wrong: {error}"[:200]) from None
        name = claims["sub"]
        if not is_name(name):
            raise TokenRefused("sub must be 1 to 255 visible ASCII characters")
        publish, agent, admin = _scopes(claims)
        return Grant(name, publish, agent, admin, float(min(claims["exp"], 2**53)), SOURCE, key.id)


def _kid_of(token: str) -> str | None:
    """The name of the key that a token says it is signed with. Raises TokenRefused."""
    try:
        header = json.loads(urlsafe_b64decode(token.partition(".")[0].encode("ascii")))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise TokenRefused("the token is malformed")
    kid = header.get("kid")
    return kid if isinstance(kid, str) else None


def _scopes(claims: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """What it grants: patterns to publish to, patterns to be, admin. Raises TokenRefused.

    By the claim ``relay``, an object as in the token file, and by ``scope`` (RFC 8693 section 4.2), words with blanks
    between them, of which others are not for us. Both count.
    """
    own, words = claims.get("relay", {}), claims.get("scope", "")
    if not isinstance(own, dict) or not isinstance(words, str):
        raise TokenRefused("relay must be an object, and scope a string")
    scopes: dict[str, list[Any]] = {}
    for name in ("publish", "agent"):
        patterns = own.get(name, [])
        if not isinstance(patterns, list):
            raise TokenRefused(f"relay.{name} must be a list of patterns")
        scopes[name] = list(patterns)
    admin = own.get("admin", False) is True
    for word in words.split():
        if word == PREFIX + "admin":
            admin = True
        elif word.startswith(PREFIX):
            name, _, pattern = word.removeprefix(PREFIX).partition(":")
            if name in scopes:
                scopes[name].append(pattern)
    for name, patterns in scopes.items():
        if len(patterns) > MOST_PATTERNS or not all(isinstance(each, str) and is_pattern(each) for each in patterns):
            raise TokenRefused(f"what it may {name} must be patterns of A-Z a-z 0-9 . _ ~ : @ - and *")
    return tuple(scopes["publish"]), tuple(scopes["agent"]), admin
