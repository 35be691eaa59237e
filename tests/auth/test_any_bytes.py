"""Whatever a token is, it is known, unknown or refused: no header, no claim and no signature raises anything else."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.util import urlsafe_b64encode
from twisted.internet.defer import Deferred

from relay.auth.jwt import JsonWebTokens
from relay.auth.keys import BadKeys, VerifyingKey, from_jwks, from_pem, from_secret
from relay.core.access import Grant, TokenRefused, is_name, is_pattern
from tests.auth.test_jwt import NOW, RSA, SECRET, claims, jwks, public
from tests.faults.noise import in_json, spoil, twist


class Ring:
    """Keys that never change."""

    def __init__(self, keys: list[VerifyingKey]) -> None:
        self.keys = keys

    def look(self) -> None: ...
    def reload(self) -> None: ...
    def on_change(self, call: Any) -> None: ...

    async def seek(self) -> bool:
        return True


TOKENS = JsonWebTokens([Ring([*from_secret(SECRET), *from_jwks(jwks(public(RSA, kid="k")), secrets=False)])],
                       wall=lambda: NOW, cached=10)  # fmt: skip
HEADERS: list[dict[str, Any]] = [
    {"alg": "HS256", "typ": "JWT"},
    {"alg": "RS256", "kid": "k"},
    {"alg": "none"},
    {"alg": "HS256", "crit": ["b64"], "b64": False, "jwk": {"kty": "oct", "k": "AAAA"}, "x5c": ["AAAA"], "zip": "DEF"},
]
CLAIMS = [
    claims(),
    claims(nbf=NOW, iat=NOW, iss="https://id", jti="j", scope="relay:publish:desk-* relay:admin openid"),
    claims(relay={"publish": ["*"], "agent": ["a", "b-*"], "admin": True}),
]


def part(value: Any, chance: Random) -> str:
    """A part of a token: right, or wrong in its JSON, its bytes or its base64."""
    if chance.random() < 0.5:
        value = twist(value, chance)
    data = in_json(value, chance)
    if chance.random() < 0.3:
        data = spoil(data, chance)
    said = urlsafe_b64encode(data).decode()
    return spoil(said.encode(), chance).decode("latin-1") if chance.random() < 0.1 else said


def token(seed: int) -> str:
    """One that is signed rightly over whatever it says, for the most part."""
    chance = Random(seed)
    signed = f"{part(chance.choice(HEADERS), chance)}.{part(chance.choice(CLAIMS), chance)}"
    signature = urlsafe_b64encode(hmac.digest(SECRET, signed.encode("latin-1", "replace"), "sha256")).decode()
    if chance.random() < 0.1:
        signature = spoil(signature.encode(), chance).decode("latin-1")
    return f"{signed}.{signature}"


@given(st.integers(0, 2**64 - 1))
@pytest.mark.filterwarnings("ignore")
def test_a_token_is_known_or_refused_and_grants_what_it_may(seed: int) -> None:
    said = token(seed)
    known = TOKENS.known(said)
    found: list[Any] = []
    Deferred.fromCoroutine(TOKENS.check(said)).addCallbacks(found.append, lambda failure: found.append(failure.value))
    (answer,) = found
    if known is None:
        assert isinstance(answer, TokenRefused)
        assert "\n" not in str(answer)
        return
    assert isinstance(answer, Grant)
    assert is_name(known.name) and known.expires_at is not None and known.key
    assert all(map(is_pattern, (*known.publish, *known.agent)))


@given(st.integers(0, 2**64 - 1))
@pytest.mark.filterwarnings("ignore")
def test_keys_are_read_or_refused(seed: int) -> None:
    chance = Random(seed)
    told: Any = json.loads(jwks(public(RSA, kid="k", use="sig", alg="RS256", key_ops=["verify"])))
    data = in_json(twist(told, chance), chance)
    if chance.random() < 0.5:
        data = spoil(data, chance)
    tries: list[tuple[Callable[[bytes], object], bytes]] = [
        (partial(from_jwks, secrets=chance.random() < 0.5), data),
        (from_pem, spoil(RSA.as_pem(private=False), chance)),
        (from_secret, spoil(SECRET, chance)),
    ]
    for read, given_data in tries:
        try:
            assert read(given_data)
        except (BadKeys, ValueError) as error:
            assert str(error)
