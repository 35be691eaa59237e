"""JSON Web Tokens: what is taken, what is not, and where the keys come from. Signed here by the library itself."""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from joserfc import jwe, jwt
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64encode
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.auth.jwt import LEEWAY, JsonWebTokens
from relay.auth.keys import BadKeys, from_jwks, from_pem, from_secret
from relay.auth.rings import FETCH_SECONDS, PAUSE, REFRESH, FileRing, UrlRing
from relay.core.access import Grant, TokenRefused, TokensUnavailable, TokenUnknown

NOW = 1_800_000_000.0
SECRET = b"0123456789abcdef0123456789abcdef"
HMAC = OctKey.import_key(SECRET)
RSA = RSAKey.generate_key(2048)
ANYTHING = JWSRegistry(algorithms=list(JWSRegistry.algorithms), strict_check_header=False)


def claims(**changed: Any) -> dict[str, Any]:
    made = {"sub": "phone", "exp": NOW + 600, "relay": {"publish": ["desk-*"]}, **changed}
    return {name: value for name, value in made.items() if value is not None}


def sign(key: Key = HMAC, alg: str = "HS256", header: dict[str, Any] | None = None, **changed: Any) -> str:
    return jwt.encode({"alg": alg, **(header or {})}, claims(**changed), key, registry=ANYTHING)


def public(key: Key, **members: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), **members}


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


class Wall:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def provider(tmp_path: Path, wall: Wall) -> Callable[..., JsonWebTokens]:
    def made(data: bytes = SECRET, read: Any = from_secret, **settings: Any) -> JsonWebTokens:
        path = tmp_path / "keys"
        path.write_bytes(data)
        return JsonWebTokens([FileRing("jwt_secret_file", str(path), read)], wall=wall, cached=10, **settings)

    return made


def told(provider: JsonWebTokens, token: str) -> list[Any]:
    """The grant or the refusal, if either is known."""
    found: list[Any] = []
    work = Deferred.fromCoroutine(provider.check(token))
    work.addCallbacks(found.append, lambda failure: found.append(failure.value))
    return found


def refusal(provider: JsonWebTokens, token: str) -> str:
    assert provider.known(token) is None
    (error,) = told(provider, token)
    assert isinstance(error, TokenRefused)
    return str(error)


def test_a_signed_token_grants_what_its_claims_say(provider: Callable[..., JsonWebTokens]) -> None:
    token = sign(relay={"publish": ["desk-*"], "agent": ["desk-1"], "admin": True})
    grant = provider().known(token)
    assert grant is not None
    assert (grant.name, grant.publish, grant.agent, grant.admin) == ("phone", ("desk-*",), ("desk-1",), True)
    assert grant.expires_at == NOW + 600


def test_scopes_may_stand_in_the_claim_scope_among_others(provider: Callable[..., JsonWebTokens]) -> None:
    words = "openid relay:publish:desk-* relay:agent:urn:x relay:admin relay:unknown profile"
    grant = provider().known(sign(relay=None, scope=words))
    assert grant is not None
    assert (grant.publish, grant.agent, grant.admin) == (("desk-*",), ("urn:x",), True)


def test_a_token_that_says_nothing_of_the_relay_grants_nothing(provider: Callable[..., JsonWebTokens]) -> None:
    grant = provider().known(sign(relay=None))
    assert grant == Grant("phone", expires_at=NOW + 600, source="jwt", key=grant.key if grant else "")


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": None},
        {"exp": NOW - LEEWAY},
        {"exp": "tomorrow"},
        {"exp": True},
        {"nbf": NOW + LEEWAY + 1},
        {"iat": NOW + LEEWAY + 1},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"sub": "two words"},
        {"aud": "somebody else"},
        {"relay": "desk-*"},
        {"relay": {"publish": "desk-*"}},
        {"relay": {"agent": ["no/pattern"]}},
        {"relay": {"agent": [7]}},
        {"scope": ["relay:admin"]},
        {"scope": "relay:publish:"},
    ],
    ids=str,
)
def test_a_token_with_a_wrong_claim_is_refused(provider: Callable[..., JsonWebTokens], changed: dict[str, Any]) -> None:
    assert refusal(provider(), sign(**changed))


def test_clocks_may_be_a_minute_apart(provider: Callable[..., JsonWebTokens]) -> None:
    assert provider().known(sign(exp=NOW - LEEWAY + 1)) is not None
    assert provider().known(sign(nbf=NOW + LEEWAY)) is not None


def test_a_remembered_token_ends_like_any_other(provider: Callable[..., JsonWebTokens], wall: Wall) -> None:
    tokens, token = provider(), sign()
    assert tokens.known(token) is tokens.known(token)
    wall.now += 600 + LEEWAY
    assert tokens.known(token) is None
    assert refusal(tokens, token) == "the token has expired"


def test_no_more_tokens_are_remembered_than_may_be(provider: Callable[..., JsonWebTokens]) -> None:
    tokens = provider()
    for number in range(20):
        assert tokens.known(sign(sub=f"n{number}")) is not None
    assert len(tokens._grants) == 10


@pytest.mark.parametrize(("aud", "good"), [("relay", True), (["x", "relay"], True), ("x", False), (None, False)])
def test_the_audience_is_ours_when_it_is_configured(
    provider: Callable[..., JsonWebTokens], aud: Any, good: bool
) -> None:
    assert (provider(audience=("relay", "relay-2")).known(sign(aud=aud)) is not None) == good


@pytest.mark.parametrize(("iss", "good"), [("https://id", True), ("https://evil", False), (None, False)])
def test_the_issuer_is_the_configured_one(provider: Callable[..., JsonWebTokens], iss: Any, good: bool) -> None:
    assert (provider(issuer="https://id").known(sign(iss=iss)) is not None) == good


# -- signatures


def test_a_token_of_another_secret_is_refused(provider: Callable[..., JsonWebTokens]) -> None:
    other = OctKey.import_key(b"x" * 32)
    assert "a key that is not known" in refusal(provider(), sign(other))


def test_the_algorithm_is_the_keys_and_never_the_tokens(provider: Callable[..., JsonWebTokens]) -> None:
    pem = RSA.as_pem(private=False)
    tokens = provider(pem, from_pem)
    assert tokens.known(sign(RSA, "RS256")) is not None
    assert refusal(tokens, sign(RSA, "PS256"))
    # The public key as an HMAC secret: the attack for which algorithms are pinned.
    head, body, _ = sign().split(".")
    confused = urlsafe_b64encode(hmac.digest(pem, f"{head}.{body}".encode(), "sha256")).decode()
    assert refusal(tokens, f"{head}.{body}.{confused}")
    with pytest.raises(ValueError, match="public keys"):
        from_secret(pem)
    assert refusal(provider(), sign(HMAC, "HS512"))


def test_an_unsigned_token_is_refused(provider: Callable[..., JsonWebTokens]) -> None:
    signed = sign().split(".")
    none = jwt.encode({"alg": "HS256"}, claims(), HMAC).split(".")
    head = "eyJhbGciOiJub25lIn0"  # {"alg":"none"}
    for token in (f"{head}.{none[1]}.", f"{head}.{none[1]}.{signed[2]}", f"{signed[0]}.{signed[1]}."):
        assert refusal(provider(), token)


def test_an_encrypted_token_is_none(provider: Callable[..., JsonWebTokens]) -> None:
    token = jwe.encrypt_compact({"alg": "dir", "enc": "A128CBC-HS256"}, json.dumps(claims()), HMAC)
    (error,) = told(provider(), token)
    assert isinstance(error, TokenUnknown)


@pytest.mark.parametrize(
    "header",
    [
        *(
            {"crit": ["b64"], "b64": False},
            {"crit": ["exp"], "exp": 1},
            {"crit": ["x"], "x": 1},
            {"crit": 5},
            {"crit": [[]]},
        ),
        *(
            {"b64": False},
            {"alg": ["HS256"]},
            {"alg": "none"},
            {"alg": "hs256"},
            {"alg": None},
            {"alg": {}},
            {"kid": 7},
        ),
    ],
    ids=str,
)
def test_a_header_that_asks_for_something_else_is_refused(
    provider: Callable[..., JsonWebTokens], header: dict[str, Any]
) -> None:
    said = urlsafe_b64encode(json.dumps({"alg": "HS256", **header}).encode()).decode()
    signed = f"{said}.{urlsafe_b64encode(json.dumps(claims()).encode()).decode()}"
    signature = urlsafe_b64encode(hmac.digest(SECRET, signed.encode(), "sha256")).decode()
    assert refusal(provider(), f"{signed}.{signature}")


def test_keys_that_a_token_brings_along_are_not_looked_at(provider: Callable[..., JsonWebTokens]) -> None:
    mine = RSAKey.generate_key(2048)
    brought = {"jwk": public(mine), "jku": "https://evil.example/keys", "x5u": "https://evil.example/x5u"}
    assert refusal(provider(RSA.as_pem(private=False), from_pem), sign(mine, "RS256", {"jwk": brought["jwk"]}))
    assert refusal(provider(), sign(mine, "RS256", {"jku": brought["jku"]}))
    assert refusal(provider(), sign(mine, "RS256", {"x5u": brought["x5u"]}))


@pytest.mark.parametrize("token", ["a.b.c", "..", "e30.e30.e30", "bnVsbA.e30.x", "W10.e30.x", "\u00e9.x.y"])
def test_a_malformed_token_is_refused(provider: Callable[..., JsonWebTokens], token: str) -> None:
    assert refusal(provider(), token)


@pytest.mark.parametrize(
    ("key", "alg"),
    [(ECKey.generate_key("P-256"), "ES256"), (ECKey.generate_key("P-384"), "ES384")],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_keys_of_curves_have_their_own_algorithm(provider: Callable[..., JsonWebTokens], key: ECKey, alg: str) -> None:
    assert provider(key.as_pem(private=False), from_pem).known(sign(key, alg)) is not None


@pytest.mark.parametrize("alg", ["EdDSA", "Ed25519"])
@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_a_key_of_ed25519_goes_by_both_its_names(provider: Callable[..., JsonWebTokens], alg: str) -> None:
    key = OKPKey.generate_key("Ed25519")
    tokens = provider(jwks(public(key, kid="k")), lambda data: from_jwks(data, secrets=True))
    assert tokens.known(sign(key, alg, {"kid": "k"})) is not None


# -- keys


def test_a_short_secret_is_none() -> None:
    with pytest.raises(BadKeys, match="at least 32 bytes"):
        from_secret(b"x" * 31 + b"\n")


def test_a_private_key_or_another_file_is_no_public_key() -> None:
    for data in (RSA.as_pem(private=True), b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        with pytest.raises(BadKeys, match="one public key in PEM"):
            from_pem(data)


def test_a_short_rsa_key_is_none() -> None:
    with pytest.warns(Warning):
        key = RSAKey.generate_key(1024)
    numbers = key.public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.warns(Warning), pytest.raises(BadKeys, match="2048 bits"):
        from_pem(numbers)


def test_of_a_set_only_keys_for_signatures_are_taken() -> None:
    good = public(RSA, kid="good")
    others = [
        public(RSA, kid="enc", use="enc"),
        public(RSA, kid="ops", key_ops=["encrypt"]),
        public(RSA, kid="no-ops", key_ops=5),
        public(RSA, kid="alg", alg="RSA-OAEP"),
        {"kty": "oct", "kid": "secret", "k": "AAAA"},
        {"kty": "unheard", "kid": "of"},
        "no key at all",
    ]
    assert [key.kid for key in from_jwks(jwks(*others, good), secrets=False)] == ["good"]  # type: ignore[arg-type]  # a wrong one on purpose


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b'{"keys": [{"kty": "oct"}]}'])
def test_a_set_without_a_key_is_none(data: bytes) -> None:
    with pytest.raises(BadKeys):
        from_jwks(data, secrets=True)


def test_a_changed_file_gives_other_keys_and_a_broken_one_changes_nothing(
    provider: Callable[..., JsonWebTokens], tmp_path: Path
) -> None:
    tokens = provider()
    changes: list[None] = []
    tokens.on_change(lambda: changes.append(None))
    grant = tokens.known(sign())
    assert grant is not None and tokens.still(grant) is grant
    ring = tokens._rings[0]
    (tmp_path / "keys").write_bytes(b"short")
    ring.reload()
    assert tokens.known(sign()) is grant and not changes
    (tmp_path / "keys").write_bytes(b"y" * 32)
    ring.reload()
    assert tokens.known(sign()) is None and tokens.still(grant) is None and len(changes) == 1
    os.unlink(tmp_path / "keys")
    ring.reload()
    assert len(changes) == 1


# -- a set at a URL


class Place:
    """Where a set of keys stands; requests wait until they are answered."""

    def __init__(self, wall: Wall) -> None:
        self.clock = Clock()
        self.asked: list[Deferred[bytes]] = []
        self.ring = UrlRing("https://id/keys", self.fetch, self.clock)
        self.tokens = JsonWebTokens([self.ring], wall=wall, cached=10)

    def fetch(self, url: str, most: int) -> Deferred[bytes]:
        self.asked.append(Deferred())
        return self.asked[-1]

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.ring.look()


@pytest.fixture
def place(wall: Wall) -> Place:
    return Place(wall)


OLD, NEW = RSA, ECKey.generate_key("P-256")
OLD_SET = jwks(public(OLD, kid="old"))
BOTH = jwks(public(OLD, kid="old"), public(NEW, kid="new"))


def by_old(**changed: Any) -> str:
    return sign(OLD, "RS256", {"kid": "old"}, **changed)


def by_new() -> str:
    return sign(NEW, "ES256", {"kid": "new"})


def test_keys_are_read_when_they_are_first_asked_for(place: Place) -> None:
    assert place.tokens.known(by_old()) is None
    found = told(place.tokens, by_old())
    again = told(place.tokens, by_old(sub="b"))
    assert not found and len(place.asked) == 1
    place.asked[0].callback(OLD_SET)
    assert [each.name for each in (*found, *again)] == ["phone", "b"]
    assert place.tokens.known(by_old()) is not None


def test_an_unknown_key_is_looked_for_at_most_once_a_minute(place: Place) -> None:
    place.ring.look()
    place.asked[0].callback(OLD_SET)
    for _ in range(5):
        assert isinstance(told(place.tokens, by_new())[0], TokenRefused)
    assert len(place.asked) == 1
    place.clock.advance(PAUSE)
    found = told(place.tokens, by_new())
    place.asked[1].callback(BOTH)
    assert found[0].name == "phone"


def test_the_old_keys_serve_while_the_url_is_down(place: Place, wall: Wall) -> None:
    place.ring.look()
    place.asked[0].callback(OLD_SET)
    place.pass_time(REFRESH)
    place.asked[1].errback(OSError("no route"))
    assert place.tokens.known(by_old()) is not None
    assert isinstance(told(place.tokens, by_new())[0], TokensUnavailable)
    place.pass_time(PAUSE)
    place.asked[2].callback(b"<html>")
    assert place.tokens.known(by_old()) is not None


def test_a_url_that_does_not_answer_is_not_waited_for(place: Place) -> None:
    found = told(place.tokens, by_old())
    place.clock.advance(FETCH_SECONDS)
    assert isinstance(found[0], TokensUnavailable)


def test_a_key_that_is_taken_out_of_the_set_serves_no_longer(place: Place) -> None:
    place.ring.look()
    place.asked[0].callback(BOTH)
    grant = place.tokens.known(by_old())
    assert grant is not None
    place.pass_time(REFRESH)
    place.asked[1].callback(jwks(public(NEW, kid="new")))
    assert place.tokens.still(grant) is None
    assert place.tokens.known(by_old()) is None


def test_of_several_keys_of_one_name_each_is_tried(place: Place) -> None:
    # RFC 7517 section 4.5 allows it, and two servers may both call theirs "1".
    place.ring.look()
    place.asked[0].callback(jwks(public(OLD, kid="1"), public(NEW, kid="1")))
    for token in (sign(OLD, "RS256", {"kid": "1"}), sign(NEW, "ES256", {"kid": "1"})):
        assert place.tokens.known(token) is not None
    assert "signature" in str(told(place.tokens, sign(RSAKey.generate_key(2048), "RS256", {"kid": "1"}))[0])
    assert len(place.asked) == 1


def test_a_signature_by_another_than_the_named_key_asks_nobody(place: Place) -> None:
    place.ring.look()
    place.asked[0].callback(BOTH)
    place.clock.advance(PAUSE)
    forged = sign(RSAKey.generate_key(2048), "RS256", {"kid": "old"})
    assert "signature" in str(told(place.tokens, forged)[0])
    assert len(place.asked) == 1
