"""The keys that JSON Web Tokens are signed with, each pinned to what it may be used with (RFC 7517, RFC 8725)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, cast

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, JWKRegistry, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

SHORTEST_SECRET: Final = 32  #: bytes: as much as SHA-256 gives (RFC 7518 section 3.2)
SHORTEST_RSA: Final = 2048  #: bits (RFC 7518 section 3.3)
MOST_KEYS: Final = 100

#: What a key may be used with. Of several the first, unless the key itself names another.
_ALGORITHMS: Final = {
    "oct": ("HS256", "HS384", "HS512"),
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA", "Ed25519"),  # two names of one algorithm (RFC 9864)
}


class BadKeys(Exception):
    """There is no key that could be used. One line: why."""


class Pinned(JWSRegistry):
    """Takes signatures of these algorithms and of no others. What the token names is only held against them."""

    def __init__(self, algorithms: tuple[str, ...]) -> None:
        # Servers of tokens add header fields of their own; what must be understood stands in ``crit``, and is refused.
        super().__init__(algorithms=algorithms, strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError(f"the key is not for {name!r:.40}")
        return self.algorithms[name]


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """One key."""

    key: Key
    pinned: Pinned
    kid: str | None  #: its name, if it has one
    id: str  #: its thumbprint (RFC 7638): the same for the same key


def from_secret(data: bytes) -> list[VerifyingKey]:
    """A shared secret: the bytes of a file, without the blank at its ends. Raises BadKeys."""
    secret = data.strip()
    if len(secret) < SHORTEST_SECRET:
        raise BadKeys(f"a secret must have at least {SHORTEST_SECRET} bytes")
    return [_pinned(OctKey.import_key(secret), ("HS256",))]


def from_pem(data: bytes) -> list[VerifyingKey]:
    """One public key in PEM. Raises BadKeys."""
    try:
        found = serialization.load_pem_public_key(data)
    except Exception:
        # It says in many kinds of exceptions that it cannot read what it is given.
        raise BadKeys("it must be one public key in PEM (-----BEGIN PUBLIC KEY-----)") from None
    kind: type[RSAKey | ECKey | OKPKey] = (
        RSAKey if isinstance(found, RSAPublicKey) else ECKey if isinstance(found, EllipticCurvePublicKey) else OKPKey
    )
    try:
        key = kind.import_key(data)
        return [_pinned(key, _algorithms(key, None))]
    except (JoseError, ValueError) as error:
        raise BadKeys(f"this kind of key cannot be used: {error}"[:200]) from None


def from_jwks(data: bytes, *, secrets: bool) -> list[VerifyingKey]:
    """A set of keys (RFC 7517 section 5). ``secrets``: shared secrets may be in it.

    Keys of other kinds or for other uses are passed over, as the standard asks. Raises BadKeys when none is left.
    """
    try:
        members = json.loads(data)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadKeys('it must be a set of keys: {"keys": [...]}') from None
    if not isinstance(members, list) or len(members) > MOST_KEYS:
        raise BadKeys(f"it must be a list of at most {MOST_KEYS} keys")
    found = [key for member in members if (key := _member(member, secrets)) is not None]
    if not found:
        raise BadKeys("none of its keys can be used")
    return found


def _member(member: Any, secrets: bool) -> VerifyingKey | None:
    if not isinstance(member, dict) or member.get("use", "sig") != "sig":
        return None
    try:
        if "verify" not in member.get("key_ops", ["verify"]) or (member.get("kty") == "oct" and not secrets):
            return None
        key = JWKRegistry.import_key(cast(Any, member))
        kid = member.get("kid")
        return _pinned(key, _algorithms(key, member.get("alg")), kid if isinstance(kid, str) else None)
    except (JoseError, BadKeys, ValueError, TypeError, KeyError):
        return None


def _algorithms(key: Key, named: object) -> tuple[str, ...]:
    """What the key may be used with. ``named`` is what it says itself. Raises BadKeys."""
    if isinstance(key, RSAKey) and key.public_key.key_size < SHORTEST_RSA:
        raise BadKeys(f"an RSA key must have at least {SHORTEST_RSA} bits")
    if isinstance(key, OctKey) and len(key.raw_value) < SHORTEST_SECRET:
        raise BadKeys(f"a secret must have at least {SHORTEST_SECRET} bytes")
    curve = key.curve_name if isinstance(key, ECKey | OKPKey) else key.key_type
    possible = _ALGORITHMS.get(curve, ())
    if not possible:
        raise BadKeys(f"keys of {curve} cannot be used")
    if curve == "Ed25519" or named is None:
        return possible if curve == "Ed25519" else possible[:1]
    if named not in possible:
        raise BadKeys(f"a key of {curve} is not for {named!r:.40}")
    return (str(named),)


def _pinned(key: Key, algorithms: tuple[str, ...], kid: str | None = None) -> VerifyingKey:
    return VerifyingKey(key, Pinned(algorithms), kid, f"{key.thumbprint()}:{algorithms[0]}")
