"""Tokens: who is let in, who is not and why, and what each costs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gateway.auth import Authenticator, Jwks, hmac_key, issue_token, public_key, public_key_file
from gateway.auth.authenticator import VerifiedTokens
from gateway.auth.keys import ALGORITHMS, jwks_keys
from gateway.errors import MESSAGES, AuthError, ConfigError
from gateway.identity import Identity, identity_from_claims
from tests.support.forged_tokens import (
    AUDIENCE,
    ED25519,
    ISSUER,
    OTHER_SECRET,
    P256,
    P384,
    P521,
    RSA,
    SECRET,
    Forge,
    b64,
    private_pem,
    public_pem,
    sign,
    signing_key,
)

NOW = 1_800_000_000
FORGE = Forge(NOW)
claims, without, forge, signed_by = FORGE.claims, FORGE.without, FORGE.token, FORGE.signed_by


def authenticator(**changes: Any) -> Authenticator:
    settings: dict[str, Any] = {
        "keys": [
            hmac_key(SECRET),
            public_key(public_pem(RSA), kid="rsa"),
            public_key(public_pem(P256), kid="ec"),
        ],
        "algorithms": ["HS256", "RS256", "ES256"],
        "audiences": AUDIENCE,
        "issuers": ISSUER,
    }
    return Authenticator(**(settings | changes))


def plain(**changes: Any) -> Authenticator:
    """Neither audience nor issuer."""
    return Authenticator(**({"keys": [hmac_key(SECRET)]} | changes))


def reason(verifier: Authenticator, token: Any, now: float = NOW) -> str:
    with pytest.raises(AuthError) as caught:
        verifier.verify(token, now)
    return caught.value.reason


# Who is let in


def test_good_token_gives_its_identity() -> None:
    identity = authenticator().verify(forge(claims(jti="j1", groups=["ops"])), NOW)
    assert (identity.user_id, identity.groups, identity.jti) == ("42", ("ops",), "j1")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_supported_algorithm_verifies_what_pyjwt_signs(algorithm: str) -> None:
    if algorithm.startswith("HS"):
        secret = SECRET * 2
        key, signer = hmac_key(secret), secret
    else:
        signer = private_pem(signing_key(algorithm))
        key = public_key(public_pem(signing_key(algorithm)))
    token = jwt.encode(without("aud"), signer, algorithm)
    assert Authenticator(keys=[key], algorithms=[algorithm]).verify(token, NOW).user_id == "42"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_issued_token_is_read_by_pyjwt_and_by_us(algorithm: str) -> None:
    if algorithm.startswith("HS"):
        signer, key, theirs = SECRET * 2, hmac_key(SECRET * 2), SECRET * 2
    else:
        private = signing_key(algorithm)
        signer, key, theirs = private_pem(private), public_key(public_pem(private)), public_pem(private)
    token = issue_token(signer, algorithm, without("aud"), kid="k1")
    assert jwt.decode(token, theirs, [algorithm], options={"verify_iat": False})["sub"] == "42"
    assert jwt.get_unverified_header(token)["kid"] == "k1"
    assert Authenticator(keys=[key], algorithms=[algorithm]).verify(token, NOW).user_id == "42"


def test_previous_secret_is_accepted_during_a_rotation() -> None:
    rotating = plain(keys=[hmac_key(OTHER_SECRET), hmac_key(SECRET, setting="auth.previous_secret")])
    assert rotating.verify(forge(without("aud")), NOW)
    assert rotating.verify(forge(without("aud"), OTHER_SECRET), NOW)


def test_key_without_id_serves_tokens_with_any_id() -> None:
    assert plain().verify(forge(without("aud"), kid="whatever"), NOW)


def test_key_with_id_serves_tokens_without_one() -> None:
    assert plain(keys=[hmac_key(SECRET, kid="k1")]).verify(forge(without("aud")), NOW)


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt"])
def test_types_of_login_tokens_are_accepted(typ: str) -> None:
    assert authenticator().verify(forge(typ=typ), NOW)


@pytest.mark.parametrize(
    "header",
    [{"jku": "https://evil.test/jwks"}, {"x5u": "http://evil.test"}, {"x5t": "abc"}, {"jwk": {"kty": "oct"}}],
)
def test_parameters_that_name_a_key_are_not_looked_at(header: dict[str, Any]) -> None:
    assert authenticator().verify(forge(**header), NOW)


@pytest.mark.parametrize("audience", [AUDIENCE, ["other", AUDIENCE]])
def test_one_of_the_audiences_suffices(audience: Any) -> None:
    assert authenticator(audiences=["else", AUDIENCE]).verify(forge(claims(aud=audience)), NOW)


def test_issuer_is_not_looked_at_where_none_is_configured() -> None:
    assert authenticator(issuers=()).verify(forge(claims(iss="https://other.test")), NOW)


def test_token_with_audience_is_refused_where_none_is_configured() -> None:
    assert reason(plain(), forge()) == "wrong_audience"


# Times


def test_token_is_dead_at_its_expiry_without_leeway() -> None:
    token = forge(claims(exp=NOW + 60))
    verifier = authenticator(leeway_s=30)
    assert verifier.verify(token, NOW + 59.999)
    assert reason(verifier, token, NOW + 60) == "expired"


def test_cached_token_dies_at_its_expiry() -> None:
    verifier, token = authenticator(), forge(claims(exp=NOW + 60))
    first = verifier.verify(token, NOW)
    assert verifier.verify(token, NOW + 59) is first
    assert reason(verifier, token, NOW + 60) == "expired"


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_clock_of_the_issuer_may_be_ahead_by_the_leeway(claim: str) -> None:
    verifier = authenticator(leeway_s=10)
    assert verifier.verify(forge(claims(**{claim: NOW + 10})), NOW)
    assert reason(verifier, forge(claims(**{claim: NOW + 11})), NOW) == "not_yet_valid"


def test_lifetime_is_capped_from_the_time_of_issue() -> None:
    verifier = authenticator(max_lifetime_s=3_600, leeway_s=10)
    assert verifier.verify(forge(claims(iat=NOW - 10)), NOW)
    assert reason(verifier, forge(claims(iat=NOW - 11))) == "lifetime_too_long"


def test_lifetime_without_time_of_issue_is_capped_from_now() -> None:
    verifier = authenticator(max_lifetime_s=3_600, leeway_s=0)
    assert verifier.verify(forge(without("iat")), NOW)
    assert (
        reason(authenticator(max_lifetime_s=3_600, leeway_s=0), forge(without("iat")), NOW - 1) == "lifetime_too_long"
    )


# Hostile tokens: none is accepted, whatever is forged


GOOD = forge()
HOSTILE = FORGE.hostile()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_token_is_refused_with_its_reason(name: str) -> None:
    expected, build = HOSTILE[name]
    assert reason(authenticator(), build()) == expected


@pytest.mark.parametrize("name", HOSTILE)
def test_refusal_is_short_and_shows_nothing_of_the_token(name: str) -> None:
    token = HOSTILE[name][1]()
    with pytest.raises(AuthError) as caught:
        authenticator().verify(token, NOW)
    text = f"{caught.value} {caught.value!r}"
    assert len(str(caught.value)) <= 120
    assert caught.value.reason in MESSAGES
    assert caught.value.__cause__ is None
    segments = [part for part in str(token).split(".") if len(part) > 8]
    assert not any(part in text for part in segments)


@pytest.mark.parametrize("name", [n for n in HOSTILE if isinstance(HOSTILE[n][1](), str)])
def test_hostile_token_is_refused_again_beside_a_warm_cache(name: str) -> None:
    verifier = authenticator()
    verifier.verify(GOOD, NOW)
    for _ in range(2):
        with pytest.raises(AuthError):
            verifier.verify(HOSTILE[name][1](), NOW)


def test_the_token_that_the_hostile_ones_vary_is_good() -> None:
    assert authenticator().verify(GOOD, NOW)


RANDOM = authenticator()
# A busy machine, or hypothesis reading its Unicode tables for the first time, is no failure of ours.
PATIENT = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


def refused(token: Any) -> bool:
    try:
        RANDOM.verify(token, NOW)
    except AuthError:
        return True
    return False


@PATIENT
@given(st.text() | st.binary())
def test_any_text_is_refused_in_order(token: Any) -> None:
    assert refused(token)


@PATIENT
@given(st.binary(), st.binary(), st.binary())
def test_any_three_segments_are_refused_in_order(header: bytes, payload: bytes, signature: bytes) -> None:
    assert refused(f"{b64(header)}.{b64(payload)}.{b64(signature)}")


@PATIENT
@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "x"]), JSON), st.binary())
def test_any_header_is_refused_in_order(header: dict[str, Any], signature: bytes) -> None:
    assert refused(f"{b64(json.dumps(header))}.{b64('{}')}.{b64(signature)}")


@PATIENT
@given(st.binary())
def test_any_signed_payload_is_refused_in_order(payload: bytes) -> None:
    assert refused(sign('{"alg":"HS256"}', payload))


@PATIENT
@given(st.sampled_from(["RS256", "ES256", "HS256"]), st.binary())
def test_any_signature_is_refused_in_order(algorithm: str, signature: bytes) -> None:
    assert refused(f"{b64(json.dumps({'alg': algorithm}))}.{b64(json.dumps(claims()))}.{b64(signature)}")


@PATIENT
@given(st.dictionaries(st.sampled_from(["sub", "exp", "iat", "nbf", "aud", "iss", "tenant", "scope"]), JSON))
def test_any_signed_claims_are_an_identity_or_refused(changes: dict[str, Any]) -> None:
    refused(forge(claims(**changes)))


# The cache


def test_same_token_gives_the_same_identity_object() -> None:
    verifier = authenticator()
    assert verifier.verify(GOOD, NOW) is verifier.verify(GOOD, NOW)


def some_identity() -> Identity:
    return identity_from_claims({"sub": "42", "exp": NOW}, b"")


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def test_cache_is_bounded() -> None:
    cache = VerifiedTokens(10)
    for number in range(1_000):
        cache.put(digest(number), some_identity())
    assert len(cache) <= 10


def test_cache_keeps_what_is_in_use() -> None:
    cache, kept = VerifiedTokens(10), some_identity()
    cache.put(b"kept", kept)
    for number in range(1_000):
        cache.put(digest(number), some_identity())
        assert cache.get(b"kept") is kept


def test_cache_drops_what_is_not_in_use() -> None:
    cache = VerifiedTokens(10)
    cache.put(b"left", some_identity())
    for number in range(10):
        cache.put(digest(number), some_identity())
    assert cache.get(b"left") is None


def test_refused_token_leaves_nothing_in_the_cache() -> None:
    verifier, token = authenticator(), forge(claims(nbf=NOW + 60))
    assert reason(verifier, token, NOW) == "not_yet_valid"
    assert verifier.verify(token, NOW + 60)


# Keys and settings


def setting_of(build: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        build()
    assert SECRET not in str(caught.value)
    return caught.value.setting


@pytest.mark.parametrize("secret", ["", "short", "x" * 31, b"\0" * 31, "é" * 15])
def test_short_secret_is_refused_by_its_setting(secret: str | bytes) -> None:
    assert setting_of(lambda: hmac_key(secret)) == "auth.secret"


def test_secret_is_measured_in_bytes() -> None:
    assert hmac_key("é" * 16)


def test_refused_secret_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        hmac_key("hunter2-hunter2")
    assert "hunter2" not in str(caught.value)


def test_setting_of_the_previous_secret_is_named() -> None:
    assert setting_of(lambda: hmac_key("short", setting="auth.previous_secret")) == "auth.previous_secret"


@pytest.mark.parametrize("pem", [public_pem(RSA), private_pem(RSA), public_pem(P256), "  " + public_pem(ED25519)])
def test_pem_is_refused_as_a_secret(pem: str) -> None:
    assert setting_of(lambda: hmac_key(pem)) == "auth.secret"


def test_ssh_key_is_refused_as_a_secret() -> None:
    text = RSA.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    assert setting_of(lambda: hmac_key(text)) == "auth.secret"


def test_key_does_not_show_its_secret() -> None:
    assert "a-secret" not in repr(hmac_key(SECRET, kid="k1"))


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "not a key",
        SECRET,
        private_pem(RSA),
        private_pem(ED25519),
        public_pem(rsa.generate_private_key(65537, 1024)),
        public_pem(ec.generate_private_key(ec.SECP256K1())),
        public_pem(ed448.Ed448PrivateKey.generate()),
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ],
)
def test_unusable_public_key_is_refused_by_its_setting(pem: str) -> None:
    assert setting_of(lambda: public_key(pem)) == "auth.public_keys"


def test_public_key_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(public_pem(RSA))
    verifier = Authenticator(keys=[public_key_file(path, kid="rsa")], algorithms=["RS256"])
    assert verifier.verify(signed_by(RSA, "RS256", without("aud"), kid="rsa"), NOW)


def test_missing_key_file_is_refused_by_its_setting(tmp_path: Path) -> None:
    assert setting_of(lambda: public_key_file(tmp_path / "none.pem")) == "auth.public_keys"


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"keys": []}, "auth.secret"),
        ({"algorithms": []}, "auth.algorithms"),
        ({"algorithms": ["none"]}, "auth.algorithms"),
        ({"algorithms": ["HS256", "hs256"]}, "auth.algorithms"),
        ({"algorithms": ["RS256"]}, "auth.algorithms"),
        ({"leeway_s": -1}, "auth.leeway_s"),
        ({"leeway_s": 31}, "auth.leeway_s"),
        ({"leeway_s": float("nan")}, "auth.leeway_s"),
        ({"max_lifetime_s": 0}, "auth.max_lifetime_s"),
        ({"max_lifetime_s": float("inf")}, "auth.max_lifetime_s"),
        ({"max_lifetime_s": float("nan")}, "auth.max_lifetime_s"),
    ],
)
def test_bad_setting_is_refused_by_name(settings: dict[str, Any], setting: str) -> None:
    assert setting_of(lambda: plain(**settings)) == setting


@pytest.mark.parametrize(
    "url",
    [
        "",
        "keys",
        "file:///etc/passwd",
        "ftp://host/keys",
        "data:,{}",
        "http://",
        "https://u:p@host/",
        "http://h:x/",
    ],
)
def test_bad_key_set_url_is_refused_by_name(url: str) -> None:
    assert setting_of(lambda: Jwks(url)) == "auth.jwks_url"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        ("short", "HS256"),
        (SECRET, "none"),
        (SECRET, "RS256"),
        (public_pem(RSA), "RS256"),
        (private_pem(RSA), "HS256"),
    ],
)
def test_token_is_not_issued_with_a_key_that_does_not_fit(key: str, algorithm: str) -> None:
    with pytest.raises(ConfigError):
        issue_token(key, algorithm, claims())


def test_curve_is_a_part_of_the_algorithm() -> None:
    with pytest.raises(ConfigError):
        Authenticator(keys=[public_key(public_pem(P384))], algorithms=["ES256"])


# Key sets


def jwk(private: Any, **members: Any) -> dict[str, Any]:
    owner = {
        rsa.RSAPrivateKey: "RS256",
        ec.EllipticCurvePrivateKey: "ES256",
        ed25519.Ed25519PrivateKey: "EdDSA",
    }
    algorithm = next(name for kind, name in owner.items() if isinstance(private, kind))
    reader: Any = jwt.get_algorithm_by_name(algorithm)
    return {**reader.to_jwk(private.public_key(), as_dict=True), "kid": "k1", **members}


@pytest.mark.parametrize(
    ("private", "algorithms"),
    [
        (RSA, ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        (P256, ("ES256",)),
        (P384, ("ES384",)),
        (P521, ("ES512",)),
        (ED25519, ("EdDSA",)),
    ],
)
def test_key_of_a_set_is_for_the_algorithms_of_its_type(private: Any, algorithms: tuple[str, ...]) -> None:
    (key,) = jwks_keys({"keys": [jwk(private)]})
    assert tuple(key.verifiers) == algorithms


def test_alg_of_a_key_narrows_what_it_is_for() -> None:
    (key,) = jwks_keys({"keys": [jwk(RSA, alg="PS256")]})
    assert tuple(key.verifiers) == ("PS256",)


@pytest.mark.parametrize(
    "unusable",
    [
        {"kty": "oct", "k": b64(SECRET), "kid": "k1"},
        {"kty": "oct", "k": b64(SECRET), "alg": "HS256", "use": "sig"},
        jwk(RSA, use="enc"),
        jwk(RSA, use=None),
        jwk(RSA, use=["sig"]),
        jwk(RSA, key_ops=["encrypt"]),
        jwk(RSA, key_ops="verify"),
        jwk(RSA, alg="RSA-OAEP"),
        jwk(RSA, alg="HS256"),
        jwk(RSA, alg=["RS256"]),
        jwk(RSA, kid=1),
        jwk(RSA, kid="k" * 300),
        jwk(RSA, kty="EC"),
        jwk(RSA, kty=["RSA"]),
        jwk(RSA, n=5),
        jwk(RSA, n="!!"),
        jwk(RSA, n=None),
        jwk(RSA, e=""),
        jwk(RSA, d="AQAB"),
        jwk(rsa.generate_private_key(65537, 1024)),
        jwk(P256, x="AA"),
        jwk(P256, y=jwk(P256)["x"]),
        jwk(P256, crv="P-384"),
        jwk(P256, crv=1),
        jwk(ED25519, x="AA"),
        jwk(ED25519, crv="X25519"),
        {},
        {"kty": "RSA"},
        None,
        [],
        "key",
        1,
    ],
)
def test_unusable_key_of_a_set_is_skipped(unusable: object) -> None:
    good = jwk(P521, kid="good")
    assert [key.kid for key in jwks_keys({"keys": [unusable, good]})] == ["good"]


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}, {"keys": []}, {"keys": [{"kty": "oct"}]}, "keys"])
def test_document_without_usable_keys_is_refused(document: object) -> None:
    with pytest.raises(ValueError):
        jwks_keys(document)


def test_set_of_too_many_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="too many"):
        jwks_keys({"keys": [jwk(P256)] * 101})
