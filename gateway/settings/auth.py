"""Who is let in: the section `auth`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from gateway.settings.section import Seconds, Section

# fmt: off
Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
]
# fmt: on


class Auth(Section):
    """Who is let in."""

    algorithms: tuple[Algorithm, ...] = Field(("HS256",), min_length=1, description="Accepted signature algorithms.")
    secret: SecretStr | None = Field(None, description="HMAC key for HS*, at least 32 bytes.")
    previous_secret: SecretStr | None = Field(None, description="HMAC key that is still accepted during a rotation.")
    public_keys: tuple[str, ...] = Field(
        (), description="Public keys for RS*, PS*, ES* and EdDSA: PEM text, or the path of a PEM file."
    )
    jwks_url: str | None = Field(None, description="URL of a JSON Web Key Set, instead of or besides `public_keys`.")
    jwks_lifetime_s: Seconds = Field(300.0, description="How long a fetched key set is used, in seconds.")
    issuer: str | None = Field(None, description="Required value of `iss`.")
    audience: str | None = Field(
        None, description="Required value of `aud`; without it, a token that has an `aud` is refused."
    )
    leeway_s: float = Field(
        10.0,
        ge=0,
        le=30,
        description="How far an issuer's clock may be ahead of ours, in seconds; `exp` is strict.",
    )
    max_lifetime_s: Seconds = Field(86_400.0, description="Longest life of a token that is accepted, in seconds.")
