"""Tokens: who is let in, who is not and why, and what each costs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gateway.auth import Authenticator, Jwks, hmac_key, issue_token, public_key, public_key_file
from gateway.auth.authenticator import VerifiedTokens
from gateway.auth.jws import MAX_TOKEN_CHARS
from gateway.auth.keys import ALGORITHMS, jwks_keys
from gateway.errors import MESSAGES, AuthError, ConfigError
from gateway.identity import Identity, identity_from_claims

NOW = 1_800_000_000
SECRET = "a-secret-of-more-than-thirty-two-bytes!"
OTHER_SECRET = "b-secret-of-more-than-thirty-two-bytes!"
AUDIENCE, ISSUER = "tidegate", "https://issuer.test"

RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
P256, P384, P521 = (ec.generate_private_key(c()) for c in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1))
ED25519 = ed25519.Ed25519PrivateKey.generate()


def public_pem(private: Any) -> str:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(private: Any) -> str:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


PRIVATE = {"RS": RSA, "PS": RSA, "ES256": P256, "ES384": P384, "ES512": P521, "EdDSA": ED25519}


def signing_key(algorithm: str) -> Any:
    return PRIVATE.get(algorithm) or PRIVATE[algorithm[:2]]


def claims(**changes: Any) -> dict[str, Any]:
    return {"sub": "42", "exp": NOW + 3_600, "iat": NOW, "aud": AUDIENCE, "iss": ISSUER} | changes


def without(claim: str) -> dict[str, Any]:
    return {name: value for name, value in claims().items() if name != claim}


def b64(data: bytes | str) -> str:
    return base64.urlsafe_b64encode(data.encode() if isinstance(data, str) else data).rstrip(b"=").decode()


def sign(header: str | bytes, payload: str | bytes, secret: str | bytes = SECRET, digest: str = "sha256") -> str:
    """Sign any bytes, well-formed or not."""
    signed = f"{b64(header)}.{b64(payload)}"
    key = secret.encode() if isinstance(secret, str) else secret
    return f"{signed}.{b64(hmac.new(key, signed.encode(), digest).digest())}"


def forge(payload: Any = None, secret: str = SECRET, **header: Any) -> str:
    """A token with a good signature and any header and claims."""
    return sign(
        json.dumps({"alg": "HS256", "typ": "JWT"} | header),
        json.dumps(claims() if payload is None else payload),
        secret,
    )


def raw(payload: str) -> str:
    """A token with a good signature over payload text that `json.dumps` would not write."""
    return sign('{"alg":"HS256"}', payload)


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


def confused(secret: str, digest: str = "sha256", **header: Any) -> str:
    """HS/RS confusion: the public key, which everybody knows, as an HMAC secret."""
    return sign(json.dumps({"alg": "HS256"} | header), json.dumps(claims()), secret, digest)


def signed_by(private: Any, algorithm: str, payload: dict[str, Any] | None = None, **header: Any) -> str:
    return jwt.encode(payload or claims(), private, algorithm, headers=header)


def unsigned(alg: Any) -> str:
    return f"{b64(json.dumps({'alg': alg}))}.{b64(json.dumps(claims()))}."


def raw_public_key() -> bytes:
    return RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def header_only(header: str) -> str:
    return sign(header, json.dumps(claims()))


def flipped(token: str) -> str:
    """Change the subject under the old signature."""
    head, _, signature = token.split(".")
    return f"{head}.{b64(json.dumps(claims(sub='1')))}.{signature}"


def non_canonical(token: str) -> str:
    """The same bytes in another encoding: 32 bytes leave two unused bits in the last character."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


GOOD = forge()
EMBEDDED = {"kty": "oct", "k": b64(OTHER_SECRET)}
PSYCHIC = b64('{"alg":"ES256","kid":"ec"}')
ENCRYPTED = b64('{"alg":"dir","enc":"A256GCM"}')

Build = Callable[[], Any]
HOSTILE: dict[str, tuple[str, Build]] = {
    # no signature
    **{
        f"alg {alg!r}": ("algorithm_not_allowed", lambda alg=alg: unsigned(alg))
        for alg in ("none", "None", "NONE", "nOnE", "none ", "", "HS256 ", "hs256", "ES256K", "HS1", "A128KW")
    },
    "alg none, signed": ("algorithm_not_allowed", lambda: forge(alg="none")),
    "alg HS512, not configured": (
        "algorithm_not_allowed",
        lambda: sign('{"alg":"HS512"}', "{}", digest="sha512"),
    ),
    "alg missing": ("malformed", lambda: header_only("{}")),
    "alg null": ("malformed", lambda: unsigned(None)),
    "alg number": ("malformed", lambda: unsigned(256)),
    "alg list": ("malformed", lambda: unsigned(["HS256", "none"])),
    "alg object": ("malformed", lambda: unsigned({"HS256": 1})),
    "alg twice": ("malformed", lambda: header_only('{"alg":"none","alg":"HS256"}')),
    "HS256 without signature": ("bad_signature", lambda: unsigned("HS256")),
    "RS256 without signature": ("bad_signature", lambda: unsigned("RS256")),
    "ES256 without signature": ("bad_signature", lambda: unsigned("ES256")),
    # another's signature
    "other secret": ("bad_signature", lambda: forge(secret=OTHER_SECRET)),
    "other RSA key": ("bad_signature", lambda: signed_by(OTHER_RSA, "RS256")),
    "other RSA key, known kid": ("bad_signature", lambda: signed_by(OTHER_RSA, "RS256", kid="rsa")),
    "PS256, not configured": ("algorithm_not_allowed", lambda: signed_by(RSA, "PS256", kid="rsa")),
    "payload changed": ("bad_signature", lambda: flipped(GOOD)),
    "psychic signature": ("bad_signature", lambda: f"{PSYCHIC}.{b64(json.dumps(claims()))}.{b64(bytes(64))}"),
    "public PEM as secret": ("bad_signature", lambda: confused(public_pem(RSA))),
    "public PEM as secret, its kid": ("bad_signature", lambda: confused(public_pem(RSA), kid="rsa")),
    "public PEM stripped as secret": ("bad_signature", lambda: confused(public_pem(RSA).strip())),
    "public EC PEM as secret": ("bad_signature", lambda: confused(public_pem(P256), kid="ec")),
    "public DER as secret": (
        "bad_signature",
        lambda: sign('{"alg":"HS256"}', json.dumps(claims()), raw_public_key()),
    ),
    "RSA header, HMAC signature": ("bad_signature", lambda: confused(public_pem(RSA), alg="RS256")),
    "empty secret": ("bad_signature", lambda: forge(secret="")),
    "kid of another family": ("bad_signature", lambda: confused(OTHER_SECRET, kid="ec")),
    # kid
    "kid path": ("bad_signature", lambda: forge(secret="", kid="../../../../dev/null")),
    "kid file URL": ("bad_signature", lambda: forge(secret=OTHER_SECRET, kid="file:///etc/passwd")),
    "kid URL": ("bad_signature", lambda: forge(secret=OTHER_SECRET, kid="https://evil.test/key")),
    "kid SQL": ("bad_signature", lambda: forge(secret="x", kid="' UNION SELECT 'x' --")),
    "kid command": ("bad_signature", lambda: forge(secret="x", kid="rsa|/usr/bin/id")),
    "kid unknown, RS256": ("unknown_key", lambda: signed_by(OTHER_RSA, "RS256", kid="nobody's")),
    "kid surrogate": ("bad_signature", lambda: forge(secret="x", kid="\ud800")),
    "kid empty": ("bad_signature", lambda: forge(secret="x", kid="")),
    "kid 10 KB": ("too_large", lambda: forge(kid="k" * 10_000)),
    "kid 300": ("malformed", lambda: forge(kid="k" * 300)),
    "kid null": ("malformed", lambda: forge(kid=None)),
    "kid number": ("malformed", lambda: forge(kid=1)),
    "kid bool": ("malformed", lambda: forge(kid=True)),
    "kid list": ("malformed", lambda: forge(kid=["rsa"])),
    "kid object": ("malformed", lambda: forge(kid={"rsa": 1})),
    # keys brought along
    "jwk embedded": ("bad_signature", lambda: forge(secret=OTHER_SECRET, jwk=EMBEDDED)),
    "jku": ("bad_signature", lambda: forge(secret=OTHER_SECRET, jku="https://evil.test/jwks")),
    "jku file": ("bad_signature", lambda: forge(secret=OTHER_SECRET, jku="file:///tmp/jwks")),
    "x5u": ("bad_signature", lambda: forge(secret=OTHER_SECRET, x5u="https://evil.test/cert")),
    "x5c": ("bad_signature", lambda: forge(secret=OTHER_SECRET, x5c=["MIIB"])),
    # other header parameters
    "crit exp": ("malformed", lambda: forge(crit=["exp"], exp=1)),
    "crit b64": ("malformed", lambda: forge(crit=["b64"], b64=False)),
    "crit empty": ("malformed", lambda: forge(crit=[])),
    "crit null": ("malformed", lambda: forge(crit=None)),
    "b64 false": ("malformed", lambda: forge(b64=False)),
    "b64 true": ("malformed", lambda: forge(b64=True)),
    "zip": ("malformed", lambda: forge(zip="DEF")),
    "nested, cty": ("malformed", lambda: sign('{"alg":"HS256","cty":"JWT"}', GOOD)),
    "nested, no cty": ("malformed", lambda: sign('{"alg":"HS256"}', GOOD)),
    "encrypted": ("malformed", lambda: f"{ENCRYPTED}..AA.AA.AA"),
    "typ logout": ("wrong_type", lambda: forge(typ="logout+jwt")),
    "typ number": ("wrong_type", lambda: forge(typ=1)),
    # shape
    "empty": ("malformed", lambda: ""),
    "dots": ("malformed", lambda: ".."),
    "None": ("malformed", lambda: None),
    "bytes": ("malformed", lambda: GOOD.encode()),
    "number": ("malformed", lambda: 42),
    "list": ("malformed", lambda: [GOOD]),
    "two segments": ("malformed", lambda: GOOD.rsplit(".", 1)[0]),
    "one segment": ("malformed", lambda: GOOD.split(".")[0]),
    "four segments": ("malformed", lambda: GOOD + ".AAAA"),
    "empty header": ("malformed", lambda: "." + GOOD.split(".", 1)[1]),
    "empty payload": ("malformed", lambda: GOOD.split(".")[0] + ".." + GOOD.split(".")[2]),
    "cut by one": ("malformed", lambda: GOOD[:-1]),
    "cut by three": ("bad_signature", lambda: GOOD[:-3]),
    "leading space": ("malformed", lambda: " " + GOOD),
    "trailing newline": ("malformed", lambda: GOOD + "\n"),
    "Bearer": ("malformed", lambda: "Bearer " + GOOD),
    "NUL inside": ("malformed", lambda: GOOD.replace(".", ".\0", 1)),
    "padding": ("malformed", lambda: GOOD + "="),
    "standard base64": ("malformed", lambda: GOOD[:-4] + "+/+/"),
    "not canonical": ("malformed", lambda: non_canonical(GOOD)),
    "non-ASCII": ("malformed", lambda: GOOD[:-1] + "é"),
    "full-width dot": ("malformed", lambda: GOOD.replace(".", "．")),  # noqa: RUF001
    "lone surrogate": ("malformed", lambda: GOOD[:-1] + "\ud800"),
    "too large": ("too_large", lambda: GOOD + "A" * MAX_TOKEN_CHARS),
    "1 MB": ("too_large", lambda: "A" * 1_000_000),
    "header not JSON": ("malformed", lambda: header_only("alg: HS256")),
    "header a list": ("malformed", lambda: header_only('["HS256"]')),
    "header UTF-16": ("malformed", lambda: sign('{"alg":"HS256"}'.encode("utf-16"), json.dumps(claims()))),
    "header bad UTF-8": ("malformed", lambda: sign(b'{"alg":"HS256","x":"\xff"}', json.dumps(claims()))),
    "header deep": ("malformed", lambda: header_only('{"alg":"HS256","x":' + "[" * 4_000)),
    # payload
    "payload empty object": ("no_subject", lambda: raw("{}")),
    "payload null": ("malformed", lambda: raw("null")),
    "payload a list": ("malformed", lambda: raw('[{"sub":"42"}]')),
    "payload text": ("malformed", lambda: raw('"42"')),
    "payload not JSON": ("malformed", lambda: raw("sub=42")),
    "payload bad UTF-8": ("malformed", lambda: sign('{"alg":"HS256"}', b'{"sub":"\xff"}')),
    "payload with BOM": ("malformed", lambda: raw("\ufeff" + json.dumps(claims()))),
    "payload trailing": ("malformed", lambda: raw(json.dumps(claims()) + "{}")),
    "payload deep lists": ("malformed", lambda: raw("[" * 5_500)),
    "payload deep objects": ("malformed", lambda: raw('{"a":' * 1_000 + "1" + "}" * 1_000)),
    "payload NaN": ("malformed", lambda: raw('{"sub":"42","exp":NaN}')),
    "payload Infinity": ("malformed", lambda: raw('{"sub":"42","exp":Infinity}')),
    "payload 5,000 digits": ("malformed", lambda: raw('{"sub":"42","exp":' + "9" * 5_000 + "}")),
    "claim twice": ("malformed", lambda: raw('{"sub":"1","sub":"42","exp":1800000060}')),
    # exp
    "exp missing": ("no_expiry", lambda: forge(without("exp"))),
    "exp past": ("expired", lambda: forge(claims(exp=NOW - 1, iat=NOW - 60))),
    "exp now": ("expired", lambda: forge(claims(exp=NOW))),
    "exp zero": ("expired", lambda: forge(claims(exp=0))),
    "exp negative": ("bad_claim", lambda: forge(claims(exp=-1))),
    "exp string": ("bad_claim", lambda: forge(claims(exp=str(NOW + 60)))),
    "exp null": ("bad_claim", lambda: forge(claims(exp=None))),
    "exp bool": ("bad_claim", lambda: forge(claims(exp=True))),
    "exp list": ("bad_claim", lambda: forge(claims(exp=[NOW + 60]))),
    "exp milliseconds": ("bad_claim", lambda: forge(claims(exp=(NOW + 60) * 1000))),
    "exp 1e400": ("bad_claim", lambda: raw('{"sub":"42","exp":1e400}')),
    "exp 2^64": ("bad_claim", lambda: forge(claims(exp=2**64))),
    "exp in ten years": ("lifetime_too_long", lambda: forge(claims(exp=NOW + 315_360_000))),
    "exp in ten years, no iat": (
        "lifetime_too_long",
        lambda: forge({**without("iat"), "exp": NOW + 315_360_000}),
    ),
    "exp and iat in ten years": (
        "not_yet_valid",
        lambda: forge(claims(exp=NOW + 315_360_000, iat=NOW + 315_359_000)),
    ),
    "iat string": ("bad_claim", lambda: forge(claims(iat="0"))),
    "iat bool": ("bad_claim", lambda: forge(claims(iat=True))),
    "nbf future": ("not_yet_valid", lambda: forge(claims(nbf=NOW + 60))),
    "nbf string": ("bad_claim", lambda: forge(claims(nbf="0"))),
    "nbf null": ("bad_claim", lambda: forge(claims(nbf=None))),
    # aud, iss
    "aud missing": ("wrong_audience", lambda: forge(without("aud"))),
    "aud other": ("wrong_audience", lambda: forge(claims(aud="other"))),
    "aud others": ("wrong_audience", lambda: forge(claims(aud=["a", "b"]))),
    "aud prefix": ("wrong_audience", lambda: forge(claims(aud=AUDIENCE[:-1]))),
    "aud case": ("wrong_audience", lambda: forge(claims(aud=AUDIENCE.upper()))),
    "aud empty list": ("wrong_audience", lambda: forge(claims(aud=[]))),
    "aud null": ("bad_claim", lambda: forge(claims(aud=None))),
    "aud object": ("bad_claim", lambda: forge(claims(aud={AUDIENCE: 1}))),
    "aud with a number": ("bad_claim", lambda: forge(claims(aud=[AUDIENCE, 1]))),
    "aud nested": ("bad_claim", lambda: forge(claims(aud=[[AUDIENCE]]))),
    "iss missing": ("wrong_issuer", lambda: forge(without("iss"))),
    "iss other": ("wrong_issuer", lambda: forge(claims(iss=ISSUER + ".evil.test"))),
    "iss slash": ("wrong_issuer", lambda: forge(claims(iss=ISSUER + "/"))),
    "iss list": ("bad_claim", lambda: forge(claims(iss=[ISSUER]))),
    "iss null": ("bad_claim", lambda: forge(claims(iss=None))),
    # sub, tenant and the rest
    "sub missing": ("no_subject", lambda: forge(without("sub"))),
    "sub empty": ("bad_claim", lambda: forge(claims(sub=""))),
    "sub list": ("bad_claim", lambda: forge(claims(sub=["42"]))),
    "sub object": ("bad_claim", lambda: forge(claims(sub={"id": 42}))),
    "sub bool": ("bad_claim", lambda: forge(claims(sub=True))),
    "sub null": ("bad_claim", lambda: forge(claims(sub=None))),
    "sub float": ("bad_claim", lambda: forge(claims(sub=42.0))),
    "sub 2^64": ("bad_claim", lambda: forge(claims(sub=2**64))),
    "sub control characters": ("bad_claim", lambda: forge(claims(sub="42\r\nX: y"))),
    "sub surrogate": ("bad_claim", lambda: forge(claims(sub="\udc00"))),
    "sub long": ("bad_claim", lambda: forge(claims(sub="x" * 300))),
    "tenant empty": ("bad_claim", lambda: forge(claims(tenant=""))),
    "tenant null": ("bad_claim", lambda: forge(claims(tenant=None))),
    "tenant list": ("bad_claim", lambda: forge(claims(tenant=["acme", "default"]))),
    "tenant with colon": ("bad_claim", lambda: forge(claims(tenant="acme:user"))),
    "tenant with newline": ("bad_claim", lambda: forge(claims(tenant="acme\n"))),
    "tenant hash tag": ("bad_claim", lambda: forge(claims(tenant="{events:0}"))),
    "tenant wildcard": ("bad_claim", lambda: forge(claims(tenant="*"))),
    "groups object": ("bad_claim", lambda: forge(claims(groups={"ops": True}))),
    "groups of numbers": ("bad_claim", lambda: forge(claims(groups=[1]))),
    "scope object": ("bad_claim", lambda: forge(claims(scope={"push": True}))),
    "jti number": ("bad_claim", lambda: forge(claims(jti=1))),
}


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
