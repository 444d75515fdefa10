"""
Forged tokens: well-formed ones, and a table of those that nobody must accept.

    forge = Forge(now)
    token = forge.token(forge.claims(sub="7"))
    for name, (reason, build) in forge.hostile().items(): ...

The table's reasons are those of a verifier with `SECRET`, the public keys of `RSA` (key id `rsa`) and `P256` (`ec`),
the algorithms HS256, RS256 and ES256, and `AUDIENCE` and `ISSUER`.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.auth.jws import MAX_TOKEN_CHARS

SECRET = "a-secret-of-more-than-thirty-two-bytes!"
OTHER_SECRET = "b-secret-of-more-than-thirty-two-bytes!"
AUDIENCE, ISSUER = "tidegate", "https://issuer.test"

RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
P256, P384, P521 = (ec.generate_private_key(c()) for c in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1))
ED25519 = ed25519.Ed25519PrivateKey.generate()

Build = Callable[[], Any]


def public_pem(private: Any) -> str:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(private: Any) -> str:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


PRIVATE = {"RS": RSA, "PS": RSA, "ES256": P256, "ES384": P384, "ES512": P521, "EdDSA": ED25519}


def signing_key(algorithm: str) -> Any:
    return PRIVATE.get(algorithm) or PRIVATE[algorithm[:2]]


def b64(data: bytes | str) -> str:
    return base64.urlsafe_b64encode(data.encode() if isinstance(data, str) else data).rstrip(b"=").decode()


def sign(header: str | bytes, payload: str | bytes, secret: str | bytes = SECRET, digest: str = "sha256") -> str:
    """Sign any bytes, well-formed or not."""
    signed = f"{b64(header)}.{b64(payload)}"
    key = secret.encode() if isinstance(secret, str) else secret
    return f"{signed}.{b64(hmac.new(key, signed.encode(), digest).digest())}"


def raw(payload: str) -> str:
    """A token with a good signature over payload text that `json.dumps` would not write."""
    return sign('{"alg":"HS256"}', payload)


def raw_public_key() -> bytes:
    return RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def non_canonical(token: str) -> str:
    """The same bytes in another encoding: 32 bytes leave two unused bits in the last character."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


EMBEDDED = {"kty": "oct", "k": b64(OTHER_SECRET)}
PSYCHIC = b64('{"alg":"ES256","kid":"ec"}')
ENCRYPTED = b64('{"alg":"dir","enc":"A256GCM"}')


class Forge:
    """Makes tokens of one moment, in seconds since 1970."""

    def __init__(self, now: int) -> None:
        self.now = now

    def claims(self, **changes: Any) -> dict[str, Any]:
        return {"sub": "42", "exp": self.now + 3_600, "iat": self.now, "aud": AUDIENCE, "iss": ISSUER} | changes

    def without(self, claim: str) -> dict[str, Any]:
        return {name: value for name, value in self.claims().items() if name != claim}

    def token(self, payload: Any = None, secret: str = SECRET, **header: Any) -> str:
        """A token with a good signature and any header and claims."""
        return sign(
            json.dumps({"alg": "HS256", "typ": "JWT"} | header),
            json.dumps(self.claims() if payload is None else payload),
            secret,
        )

    def confused(self, secret: str, digest: str = "sha256", **header: Any) -> str:
        """HS/RS confusion: the public key, which everybody knows, as an HMAC secret."""
        return sign(json.dumps({"alg": "HS256"} | header), json.dumps(self.claims()), secret, digest)

    def signed_by(self, private: Any, algorithm: str, payload: dict[str, Any] | None = None, **header: Any) -> str:
        return jwt.encode(payload or self.claims(), private, algorithm, headers=header)

    def unsigned(self, alg: Any) -> str:
        return f"{b64(json.dumps({'alg': alg}))}.{b64(json.dumps(self.claims()))}."

    def header_only(self, header: str) -> str:
        return sign(header, json.dumps(self.claims()))

    def flipped(self, token: str) -> str:
        """Change the subject under the old signature."""
        head, _, signature = token.split(".")
        return f"{head}.{b64(json.dumps(self.claims(sub='1')))}.{signature}"

    def hostile(self) -> dict[str, tuple[str, Build]]:
        """Return name → the reason for which the token is refused, and what makes it."""
        NOW, forge, claims, without = self.now, self.token, self.claims, self.without  # noqa: N806
        confused, signed_by, unsigned = self.confused, self.signed_by, self.unsigned
        header_only, flipped = self.header_only, self.flipped
        GOOD = forge()  # noqa: N806
        return {
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
            # unicode tricks
            "alg, Cyrillic a": ("malformed", lambda: header_only('{"\u0430lg":"HS256"}')),
            "alg, full-width": ("algorithm_not_allowed", lambda: forge(alg="\uff28\uff33256")),
            "alg, zero width": ("algorithm_not_allowed", lambda: forge(alg="HS256\u200b")),
            "iss, Cyrillic": ("wrong_issuer", lambda: forge(claims(iss=ISSUER.replace("e", "\u0435", 1)))),
            "aud, full-width": ("wrong_audience", lambda: forge(claims(aud="\uff54idegate"))),
            "aud, NUL": ("wrong_audience", lambda: forge(claims(aud=AUDIENCE + "\0"))),
            "exp, Arabic digits": ("bad_claim", lambda: raw('{"sub":"42","exp":"\u0661\u0668"}')),
            "exp, escaped twin": ("malformed", lambda: raw('{"sub":"42","exp":1,"\\u0065xp":4000000000}')),
        }
