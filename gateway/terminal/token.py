"""`gateway token`: a token for development, signed with the configured secret; a deployment has its own issuer."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.auth.issue import issue_token
from gateway.errors import BadToken, ConfigError
from gateway.identity import identity_from_claims
from gateway.settings import Auth, Settings
from gateway.terminal.quantities import duration


@dataclass(frozen=True, slots=True)
class TokenOptions:
    """
    Whom a token is for; see `gateway token --help`.

    Attributes:
        ttl: Its life, in seconds.
    """

    user: str = "42"
    tenant: str | None = None
    name: str | None = None
    group: Sequence[str] = ()
    tag: Sequence[str] = ()
    topic: Sequence[str] = ()
    scope: str | None = None
    ttl: float = 3_600.0


def make_token(settings: Settings, options: TokenOptions) -> str:
    """
    Return a token that a gateway with these settings accepts.

    Raises:
        ConfigError: There is no secret to sign with, the life is beyond `auth.max_lifetime_s`, or a claim would be
            refused.
    """
    auth = settings.auth
    if auth.secret is None:
        raise ConfigError("auth.secret", f"is not set, and tokens are signed with it: {_other_keys(auth)}")
    algorithm = next((name for name in auth.algorithms if name.startswith("HS")), None)
    if algorithm is None:
        raise ConfigError("auth.algorithms", f"has none for a secret, only {', '.join(auth.algorithms)}: add HS256")
    if not (options.ttl > 0 and math.isfinite(options.ttl)):
        raise ConfigError("--ttl", "use a positive number of seconds")
    if options.ttl > auth.max_lifetime_s:
        raise ConfigError(
            "--ttl",
            f"{duration(options.ttl)} is over auth.max_lifetime_s, {duration(auth.max_lifetime_s)}: "
            "the gateway would refuse the token",
        )
    claims = _claims(auth, options)
    try:
        identity_from_claims(claims, b"")
    except BadToken as error:
        raise ConfigError("token", f"the gateway would refuse it: {error}") from None
    return issue_token(auth.secret.get_secret_value(), algorithm, claims)


def _other_keys(auth: Auth) -> str:
    if auth.public_keys or auth.jwks_url:
        return "with public keys only, get a token from their issuer, and pass it to `connect --token`"
    return "set GATEWAY_AUTH__SECRET, name the configuration with -c, or run this where `make run` runs"


def _claims(auth: Auth, options: TokenOptions) -> Mapping[str, object]:
    issued_at = int(time.time())
    claims: dict[str, object] = {
        "sub": options.user,
        "tenant": options.tenant,
        "name": options.name,
        "groups": list(options.group),
        "tags": list(options.tag),
        "topics": list(options.topic),
        "scope": options.scope,
        "iss": auth.issuer,
        "aud": auth.audience,
    }
    stated = {claim: value for claim, value in claims.items() if value not in (None, [])}
    return stated | {"iat": issued_at, "exp": issued_at + math.ceil(options.ttl), "jti": secrets.token_hex(8)}
