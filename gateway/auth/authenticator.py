"""
From a token's text to an `Identity`.

Responsible for the policy (algorithms, times, audience, issuer) and for the cache of verified tokens. Has no
clock: `now` is an argument. Knows nothing of sockets, and not of revocations: those are asked after every
verification, because they change while a token sits in the cache.

`exp` has no leeway: the gateway closes the connection at `exp` on its own clock, so a token that has passed
it would be accepted only to be closed. Leeway is for the issuer's clock being ahead of ours: `nbf`, `iat` and
the lifetime.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from hashlib import sha256

from gateway.auth.jwks import Jwks
from gateway.auth.jws import MAX_TOKEN_CHARS, SignedToken, parse_object, parse_token
from gateway.auth.keys import ALGORITHMS, Key, KeyRing
from gateway.errors import AuthError, BadToken, ConfigError, KeyUnknown
from gateway.identity import Claims, Identity, identity_from_claims, time_claim

MAX_LEEWAY_S = 30
MAX_AUDIENCES = 100


class Authenticator:
    """
    Verifies tokens.

    Args:
        keys: Static keys. Rotation of a secret: the current and the previous one.
        jwks: The provider's key set; `run` keeps it fresh.
        algorithms: The only ones accepted, whatever a token says.
        audiences, issuers: One of them must be the token's `aud`, its `iss`. Without `audiences`, a token
            that has an `aud` is refused, for it is meant for somebody else (RFC 7519 section 4.1.3); without
            `issuers`, `iss` is not looked at.
        leeway_s: 0 to 30; see the module.
        max_lifetime_s: The cap on `exp` minus `iat`, or `exp` minus now where there is no `iat`.
        cache_size: Verified tokens kept, about 1 KiB each.

    Raises:
        ConfigError: A value is out of range, or no key can be used with any of the algorithms.
    """

    def __init__(
        self,
        *,
        keys: Sequence[Key] = (),
        jwks: Jwks | None = None,
        algorithms: Sequence[str] = ("HS256",),
        audiences: str | Collection[str] = (),
        issuers: str | Collection[str] = (),
        leeway_s: float = 10,
        max_lifetime_s: float = 86_400,
        cache_size: int = 32_768,
    ) -> None:
        _check_settings(keys, jwks, algorithms, leeway_s, max_lifetime_s)
        self._static_keys = tuple(keys)
        self._jwks = jwks
        self._algorithms = frozenset(algorithms)
        self._audiences = _names(audiences)
        self._issuers = _names(issuers)
        self._leeway_s = leeway_s
        self._max_lifetime_s = max_lifetime_s
        self._cache = VerifiedTokens(cache_size)
        self._keys = KeyRing(keys, self._algorithms)
        self._jwks_version = 0

    def verify(self, token: str, now: float) -> Identity:
        """
        Return the identity behind a token.

        Synchronous: one look-up for a token seen before, one signature check for a new one.

        Args:
            now: Seconds since 1970.

        Raises:
            KeyUnknown: Await `refresh`, then try once more; or use `authenticate`.
            AuthError: The token is refused. The error never holds a part of it.
        """
        if not isinstance(token, str):
            raise AuthError("malformed")
        if len(token) > MAX_TOKEN_CHARS:
            raise AuthError("too_large")
        try:
            digest = sha256(token.encode("ascii")).digest()
        except UnicodeEncodeError:
            raise AuthError("malformed") from None
        if self._jwks is not None and self._jwks.version != self._jwks_version:
            self._adopt_keys(self._jwks)
        identity = self._cache.get(digest)
        if identity is not None and now < identity.expires_at:
            return identity
        identity = self._verify_new(token, digest, now)
        self._cache.put(digest, identity)
        return identity

    async def authenticate(self, token: str, now: float) -> Identity:
        """
        Verify a token, fetching the provider's keys if its key is not among them.

        Raises:
            AuthError: The token is refused.
        """
        try:
            return self.verify(token, now)
        except KeyUnknown:
            await self.refresh()
        return self.verify(token, now)

    async def refresh(self) -> bool:
        """Fetch the provider's keys again, once a minute at most; tell whether it was done."""
        return self._jwks is not None and await self._jwks.refresh()

    async def run(self) -> None:
        """Keep the provider's keys fresh until cancelled. Returns at once where there is no provider."""
        if self._jwks is not None:
            await self._jwks.run()

    def _adopt_keys(self, jwks: Jwks) -> None:
        """Take over a changed key set. A key may have been withdrawn: forget what was verified."""
        self._keys = KeyRing((*self._static_keys, *jwks.keys), self._algorithms)
        self._cache.clear()
        self._jwks_version = jwks.version

    def _verify_new(self, token: str, digest: bytes, now: float) -> Identity:
        signed = parse_token(token)
        self._check_signature(signed)
        claims = parse_object(signed.payload)
        identity = identity_from_claims(claims, digest)
        self._check_times(identity, time_claim(claims, "nbf"), now)
        self._check_issuer(claims)
        self._check_audience(claims)
        return identity

    def _check_signature(self, token: SignedToken) -> None:
        if token.algorithm not in self._algorithms:
            raise AuthError("algorithm_not_allowed")
        candidates = self._keys.candidates(token)
        if any(key.verifies(token) for key in candidates):
            return
        known = self._keys.knows(token.kid) if token.kid is not None else bool(candidates)
        if self._jwks is not None and not known:
            raise KeyUnknown(token.kid)
        if candidates:
            raise AuthError("bad_signature")
        raise AuthError("algorithm_not_allowed" if known else "unknown_key")

    def _check_times(self, identity: Identity, not_before: float | None, now: float) -> None:
        if now >= identity.expires_at:  # "on or after which", RFC 7519 section 4.1.4
            raise BadToken("expired")
        latest_start = now + self._leeway_s
        start = now if identity.issued_at is None else identity.issued_at
        # An `iat` in the future would let a token live beyond the cap.
        if start > latest_start or (not_before is not None and not_before > latest_start):
            raise BadToken("not_yet_valid")
        if identity.expires_at - start > self._max_lifetime_s + self._leeway_s:
            raise BadToken("lifetime_too_long")

    def _check_issuer(self, claims: Claims) -> None:
        issuer = claims.get("iss", "")
        if not isinstance(issuer, str):
            raise BadToken("bad_claim", "iss")
        if self._issuers and issuer not in self._issuers:
            raise BadToken("wrong_issuer")

    def _check_audience(self, claims: Claims) -> None:
        value = claims.get("aud", [])
        audiences = [value] if isinstance(value, str) else value
        if not isinstance(audiences, list) or len(audiences) > MAX_AUDIENCES:
            raise BadToken("bad_claim", "aud")
        if not all(isinstance(audience, str) for audience in audiences):
            raise BadToken("bad_claim", "aud")
        if self._audiences.isdisjoint(audiences) and (self._audiences or "aud" in claims):
            raise BadToken("wrong_audience")


class VerifiedTokens:
    """
    A bounded cache in two generations.

    When the young one is full it becomes the old one, and the old one is dropped. What is in use moves to the
    young one at its next look-up. No order to keep, no timer: cheaper than an exact LRU, and as good for
    tokens, which are used often or never again.
    """

    def __init__(self, size: int) -> None:
        self._half = max(1, size // 2)
        self._young: dict[bytes, Identity] = {}
        self._old: dict[bytes, Identity] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, digest: bytes) -> Identity | None:
        """Return the identity behind a token's digest, if it is known; it may have expired."""
        identity = self._young.get(digest)
        if identity is None and (identity := self._old.pop(digest, None)) is not None:
            self.put(digest, identity)
        return identity

    def put(self, digest: bytes, identity: Identity) -> None:
        """Remember a verified token."""
        if len(self._young) >= self._half:
            self._young, self._old = {}, self._young
        self._young[digest] = identity

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old = {}, {}


def _check_settings(
    keys: Sequence[Key], jwks: Jwks | None, algorithms: Sequence[str], leeway_s: float, max_lifetime_s: float
) -> None:
    if not algorithms or not set(algorithms) <= set(ALGORITHMS):
        raise ConfigError("auth.algorithms", f"name one or more of {', '.join(ALGORITHMS)}")
    if not 0 <= leeway_s <= MAX_LEEWAY_S:
        raise ConfigError("auth.leeway_s", f"use 0 to {MAX_LEEWAY_S} seconds")
    if not (max_lifetime_s > 0 and math.isfinite(max_lifetime_s)):
        raise ConfigError("auth.max_lifetime_s", "use a positive number of seconds")
    if not keys and jwks is None:
        raise ConfigError("auth.secret", "no key: set auth.secret, auth.public_keys or auth.jwks_url")
    for key in keys:
        if not KeyRing([key], algorithms):
            raise ConfigError("auth.algorithms", f"none is for the key of {'/'.join(key.verifiers)}")


def _names(value: str | Collection[str]) -> frozenset[str]:
    return frozenset((value,) if isinstance(value, str) else value)
