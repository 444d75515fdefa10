"""The making of tokens, for `gateway token`, dev mode and tests; a deployment has its own issuer."""

from __future__ import annotations

from collections.abc import Mapping

import jwt

from gateway.auth.jws import finish_token, signing_input
from gateway.auth.keys import ALGORITHMS, check_secret
from gateway.errors import ConfigError


def issue_token(key: str | bytes, algorithm: str, claims: Mapping[str, object], *, kid: str | None = None) -> str:
    """
    Sign `claims`. Pure: `exp` and `iat` are up to the caller.

    Args:
        key: The HMAC secret, or a private key in PEM form.

    Raises:
        ConfigError: The algorithm is unknown, or the key is not for it.
        ValueError, TypeError: A claim is not JSON.
    """
    if algorithm not in ALGORITHMS:
        raise ConfigError("auth.algorithms", f"unknown algorithm; use one of {', '.join(ALGORITHMS)}")
    if algorithm.startswith("HS"):
        key = check_secret(key, "auth.secret")
    header = {"alg": algorithm, "typ": "JWT"} | ({} if kid is None else {"kid": kid})
    signed = signing_input(header, claims)
    signer = jwt.get_algorithm_by_name(algorithm)
    try:
        signature = signer.sign(signed, signer.prepare_key(key))
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):  # a public key has no `sign`
        raise ConfigError("auth.secret", f"this is not a private key for {algorithm}") from None
    return finish_token(signed, signature)
