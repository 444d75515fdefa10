"""
Keys, typed by algorithm family.

A `Key` lists the algorithms it verifies, decided from the key's own type and never from a token: an RSA key
is never an HMAC secret, a P-256 key never verifies ES384. Files are read here, at start; nothing is fetched.

The cryptography is PyJWT's. Its algorithm objects are used with keys prepared once, because `jwt.decode`
examines an HMAC secret anew for every token (measured: 8 µs, against 2 µs for the HMAC itself).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import Algorithm

from gateway.auth.jws import MAX_KID_CHARS, SignedToken
from gateway.errors import ConfigError

MIN_SECRET_BYTES = 32
MIN_RSA_BITS = 2_048  # RFC 7518 section 3.3
MAX_RSA_BITS = 8_192  # verifying takes longer the longer the key is
MAX_JWKS_KEYS = 100
MAX_CANDIDATES = 8  # a token without `kid` must not cost a hundred RSA operations

_HMAC = ("HS256", "HS384", "HS512")
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"secp256r1": ("ES256",), "secp384r1": ("ES384",), "secp521r1": ("ES512",)}
_EDDSA = ("EdDSA",)
ALGORITHMS: Final = (*_HMAC, *_RSA, "ES256", "ES384", "ES512", *_EDDSA)

# How a JWK's key type is read; the algorithm only chooses the reader. `oct` is not here: a shared secret in a
# public document is no secret.
_JWK_READERS = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}


@dataclass(frozen=True, slots=True)
class Key:
    """
    A key that verifies signatures.

    Attributes:
        kid: Its id; None means that it is tried for any token of its algorithms.
        verifiers: PyJWT's algorithm objects, by the names of the algorithms the key can be used with.
        material: The secret's bytes or the public key, as these objects want it.
    """

    kid: str | None
    verifiers: Mapping[str, Algorithm]
    material: Any

    def __repr__(self) -> str:
        return f"Key(kid={self.kid!r:.80}, algorithms={'/'.join(self.verifiers)})"

    def verifies(self, token: SignedToken) -> bool:
        """Tell whether the token's signature is this key's; never, by an algorithm it is not for."""
        verifier = self.verifiers.get(token.algorithm)
        try:
            return verifier is not None and verifier.verify(token.signing_input, self.material, token.signature)
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, UnsupportedAlgorithm):
            return False  # a signature so malformed that it is no number, no point …


class KeyRing:
    """The keys of an authenticator, by id, narrowed to the algorithms that the configuration allows."""

    def __init__(self, keys: Iterable[Key], algorithms: Collection[str]) -> None:
        narrowed = (_key(key.material, [a for a in key.verifiers if a in algorithms], key.kid) for key in keys)
        self._keys = [key for key in narrowed if key.verifiers]
        self._kids = {key.kid for key in self._keys}
        self._fitting = {name: [key for key in self._keys if name in key.verifiers] for name in algorithms}

    def __len__(self) -> int:
        return len(self._keys)

    def knows(self, kid: str | None) -> bool:
        """Tell whether a key has this id."""
        return kid in self._kids

    def candidates(self, token: SignedToken) -> list[Key]:
        """
        Return the keys that may have signed the token, at most `MAX_CANDIDATES`.

        Those with its `kid` and those without one; all, where the token has none. The id is compared and
        nothing else.
        """
        fitting = self._fitting.get(token.algorithm, [])
        if token.kid is not None:
            fitting = [key for key in fitting if key.kid in (token.kid, None)]
        return fitting[:MAX_CANDIDATES]


def hmac_key(secret: str | bytes, *, kid: str | None = None, setting: str = "auth.secret") -> Key:
    """
    Return the key for HS256, HS384 and HS512.

    Raises:
        ConfigError: The secret is under 32 bytes, or is a key of another family.
    """
    return _key(check_secret(secret, setting), _HMAC, kid)


def public_key(pem: str | bytes, *, kid: str | None = None, setting: str = "auth.public_keys") -> Key:
    """
    Return the key of a PEM text: RSA, P-256, P-384, P-521 or Ed25519.

    Raises:
        ConfigError: It is something else, a private key included: the gateway should not hold one.
    """
    data = pem.encode() if isinstance(pem, str) else pem
    if b"PRIVATE KEY" in data:
        raise ConfigError(setting, "this is a private key; give the public key only")
    try:
        material = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(setting, "not a public key in PEM form (BEGIN PUBLIC KEY)") from None
    algorithms = _algorithms_of(material)
    if not algorithms:
        raise ConfigError(setting, "use RSA of 2048 to 8192 bits, P-256, P-384, P-521 or Ed25519")
    return _key(material, algorithms, kid)


def public_key_file(path: Path, *, kid: str | None = None, setting: str = "auth.public_keys") -> Key:
    """
    Return the key of a PEM file.

    Raises:
        ConfigError: It cannot be read, or as `public_key`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(setting, f"cannot read {path}: {error.strerror}") from error
    return public_key(data, kid=kid, setting=setting)


def jwks_keys(document: object) -> tuple[Key, ...]:
    """
    Return the usable keys of a JWK set (RFC 7517 section 5); the others are skipped, as the RFC asks.

    Raises:
        ValueError: It is no JWK set, has over 100 keys, or none that can be used.
    """
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list):
        raise ValueError("not a JWK set")  # noqa: TRY004 -- the document is wrong, not our argument
    if len(members) > MAX_JWKS_KEYS:
        raise ValueError("too many keys")
    keys = tuple(key for key in map(_jwk, members) if key is not None)
    if not keys:
        raise ValueError("no usable key")
    return keys


def check_secret(secret: str | bytes, setting: str) -> bytes:
    """
    Return an HMAC secret's bytes.

    Raises:
        ConfigError: As `hmac_key`.
    """
    data = secret.encode() if isinstance(secret, str) else secret
    if len(data) < MIN_SECRET_BYTES:
        raise ConfigError(setting, f"{len(data)} bytes; use at least {MIN_SECRET_BYTES} random bytes")
    if b"-----BEGIN" in data:
        raise ConfigError(setting, "a PEM key is not an HMAC secret; use auth.public_keys")
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(data)  # knows SSH, DER and JWK texts, too
    except jwt.PyJWTError:
        raise ConfigError(setting, "this is a key of another family, not an HMAC secret") from None
    return data


def _key(material: Any, algorithms: Iterable[str], kid: str | None) -> Key:
    return Key(kid, {name: jwt.get_algorithm_by_name(name) for name in algorithms}, material)


def _algorithms_of(material: object) -> tuple[str, ...]:
    """The algorithms that a public key is for; none for a private, weak or unsupported key."""
    if isinstance(material, RSAPublicKey):
        return _RSA if MIN_RSA_BITS <= material.key_size <= MAX_RSA_BITS else ()
    if isinstance(material, EllipticCurvePublicKey):
        return _CURVES.get(material.curve.name, ())
    return _EDDSA if isinstance(material, Ed25519PublicKey) else ()


def _jwk(member: object) -> Key | None:
    """Return the key of one JWK (RFC 7517 section 4), or None if it is not for verifying signatures."""
    if not isinstance(member, dict) or member.get("use", "sig") != "sig":
        return None
    operations, kid, kty = member.get("key_ops", ["verify"]), member.get("kid"), member.get("kty")
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    if kid is not None and not (isinstance(kid, str) and len(kid) <= MAX_KID_CHARS):
        return None
    if not isinstance(kty, str) or kty not in _JWK_READERS or "d" in member:  # `d`: a private key, made public
        return None
    try:
        reader: Any = jwt.get_algorithm_by_name(_JWK_READERS[kty])
        material = reader.from_jwk(member)
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, OverflowError, UnsupportedAlgorithm):
        return None
    algorithms = [name for name in _algorithms_of(material) if member.get("alg", name) == name]
    return _key(material, algorithms, kid) if algorithms else None
