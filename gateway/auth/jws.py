"""
The compact form of a signed token (RFC 7515 section 7.1), parsed strictly.

Responsible for the shape: segments, base64url, JSON, header parameters. Knows nothing of keys, cryptography
or claims.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from gateway.errors import AuthError

MAX_TOKEN_CHARS = 8_192
MAX_KID_CHARS = 256
_HEADERS = 64  # of 8 KB at most

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
# `crit` names extensions that we must understand, and we understand none (RFC 7515 section 4.1.11). `b64` and
# `zip` change what the payload's bytes are, `cty` says that it is another token, `enc` that it is encrypted.
_REFUSED_PARAMETERS = frozenset(("crit", "b64", "zip", "cty", "enc"))
# RFC 8725 section 3.11: a token made for another purpose (`logout+jwt`, `dpop+jwt` …) is not a login.
_TYPES = frozenset(("jwt", "at+jwt", "application/jwt", "application/at+jwt"))


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token taken apart. Nothing in it is verified yet; the payload is not even parsed."""

    algorithm: str
    kid: str | None
    signing_input: bytes
    payload: bytes
    signature: bytes


def parse_token(token: object) -> SignedToken:
    """
    Take a token apart without believing it.

    Header parameters that name or carry a key (`jwk`, `jku`, `x5u`, `x5c`) are never looked at: honest
    issuers send them too, and ours are the only keys.

    Raises:
        AuthError: `too_large`, `malformed` or `wrong_type`.
    """
    if not isinstance(token, str):
        raise AuthError("malformed")
    if len(token) > MAX_TOKEN_CHARS:
        raise AuthError("too_large")
    if _COMPACT.fullmatch(token) is None:
        raise AuthError("malformed")
    signed, _, signature = token.encode("ascii").rpartition(b".")
    header_segment, _, payload = signed.partition(b".")
    algorithm, kid = _parse_header(header_segment)
    return SignedToken(algorithm, kid, signed, _decode(payload), _decode(signature))


@lru_cache(maxsize=_HEADERS)
def _parse_header(segment: bytes) -> tuple[str, str | None]:
    """Return `alg` and `kid`. Cached: an issuer's tokens have the same header, letter by letter."""
    header = parse_object(_decode(segment))
    algorithm, kid, typ = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or not _REFUSED_PARAMETERS.isdisjoint(header):
        raise AuthError("malformed")
    if "kid" in header and (not isinstance(kid, str) or len(kid) > MAX_KID_CHARS):
        raise AuthError("malformed")
    if not isinstance(typ, str) or typ.lower() not in _TYPES:
        raise AuthError("wrong_type")
    return algorithm, kid


def parse_object(text: bytes) -> dict[str, Any]:
    """
    Parse a JSON object; names that occur twice are refused, because two parsers may read them differently.

    Raises:
        AuthError: `malformed`.
    """
    try:
        value = _DECODER.decode(text.decode("utf-8"))
    except (ValueError, RecursionError):
        raise AuthError("malformed") from None
    if not isinstance(value, dict):
        raise AuthError("malformed")
    return value


def signing_input(header: Mapping[str, object], claims: Mapping[str, object]) -> bytes:
    """
    Return what is signed: the first two segments.

    Raises:
        ValueError, TypeError: Something in it is not JSON.
    """
    return _encode(_json_bytes(header)) + b"." + _encode(_json_bytes(claims))


def finish_token(signed: bytes, signature: bytes) -> str:
    """Return the token of `signing_input` and its signature."""
    return (signed + b"." + _encode(signature)).decode("ascii")


def _decode(segment: bytes) -> bytes:
    """Decode base64url without padding; an encoding that is not the canonical one is refused."""
    try:
        decoded = urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    except ValueError:
        raise AuthError("malformed") from None
    if _encode(decoded) != segment:
        raise AuthError("malformed")
    return decoded


def _encode(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _json_bytes(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("utf-8")


def _object_of_unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name occurs twice")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Made once: with a hook, `json.loads` makes a new one for every call.
_DECODER = json.JSONDecoder(object_pairs_hook=_object_of_unique_names, parse_constant=_refuse_constant)
