"""
Who is behind a token: the claims of a verified token as one immutable value.

Responsible for the type and range of every claim that says who somebody is and what they may do. Knows
nothing of signatures, keys or sockets, and has no clock: whether the token is still valid is `auth`'s
question.

A claim of a wrong type refuses the token; nothing is guessed. `null` stands for "none" only where none is the
narrowest reading (`name`, `scope`, `groups`, `tags`, `topics`: some issuers write it for an empty list).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.errors import BadToken
from publisher.address import DEFAULT_TENANT, is_name, is_tenant

MAX_NAMES = 1_000
"""How many groups, tags and topics a token may carry together."""
MAX_SCOPES = 100

_NO_SCOPES: Final[frozenset[str]] = frozenset()
_LAST_SECOND = 253_402_300_799  # the end of the year 9999; times in milliseconds are beyond it
_MAX_ID = 2**63 - 1
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}")  # scope-token, RFC 6749 appendix A.4
_SESSION_ID_LENGTH = 16

Claims = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Identity:
    """
    A verified user.

    Attributes:
        tenant: The namespace of everything below.
        user_id: The token's `sub`; a valid name, so `user:<user_id>` is an address.
        name: What to show to others, or None.
        scopes: What the token may do, for example `push`.
        groups, tags, topics: Names to be joined to at connect; each once, `MAX_NAMES` together.
        expires_at, issued_at: Seconds since 1970.
        jti: The token's own id, or None.
        session_id: Names the login: the same for every connection made with the same token.
    """

    tenant: str
    user_id: str
    name: str | None
    scopes: frozenset[str]
    groups: tuple[str, ...]
    tags: tuple[str, ...]
    topics: tuple[str, ...]
    expires_at: float
    issued_at: float | None
    jti: str | None
    session_id: str


def identity_from_claims(claims: Claims, token_digest: bytes) -> Identity:
    """
    Return who the claims of a verified token speak of.

    Args:
        token_digest: A hash of the whole token: names the login when there is no `jti`.

    Raises:
        BadToken: A claim is missing, of a wrong type or out of range.
    """
    tenant, user_id, jti = _tenant(claims), _user_id(claims), _jti(claims)
    groups, tags, topics = (_names(claims, kind) for kind in ("groups", "tags", "topics"))
    if len(groups) + len(tags) + len(topics) > MAX_NAMES:
        raise BadToken("bad_claim", "groups, tags and topics")
    expires_at = time_claim(claims, "exp")
    if expires_at is None:
        raise BadToken("no_expiry")
    return Identity(
        tenant=tenant,
        user_id=user_id,
        name=_display_name(claims),
        scopes=_scopes(claims),
        groups=groups,
        tags=tags,
        topics=topics,
        expires_at=expires_at,
        issued_at=time_claim(claims, "iat"),
        jti=jti,
        session_id=_session_id(tenant, user_id, jti, token_digest),
    )


OWN_ADDRESSES: Final = 3
"""How many of a connection's addresses are there because it is one: `all`, its user's, its own."""


def addresses_of(identity: Identity, client_id: str) -> list[str]:
    """Return where an identity's connection can be reached from the start."""
    return [
        "all",
        f"user:{identity.user_id}",
        f"client:{client_id}",
        *(f"group:{name}" for name in identity.groups),
        *(f"tag:{name}" for name in identity.tags),
        *(f"topic:{name}" for name in identity.topics),
    ]


def time_claim(claims: Claims, claim: str) -> float | None:
    """
    Return a NumericDate (RFC 7519 section 2) in seconds since 1970, or None where there is no such claim.

    Raises:
        BadToken: It is not a finite number, or lies before 1970 or after 9999.
    """
    if claim not in claims:
        return None
    value = claims[claim]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadToken("bad_claim", claim)
    if not 0 <= value <= _LAST_SECOND:  # also false for NaN
        raise BadToken("bad_claim", claim)
    return float(value)


def _tenant(claims: Claims) -> str:
    tenant = claims.get("tenant", DEFAULT_TENANT)
    if not isinstance(tenant, str) or not is_tenant(tenant):
        raise BadToken("bad_claim", "tenant")
    return tenant


def _user_id(claims: Claims) -> str:
    claim = "sub" if "sub" in claims else "user_id"
    if claim not in claims:
        raise BadToken("no_subject")
    user_id = claims[claim]
    if type(user_id) is int and abs(user_id) <= _MAX_ID:
        return str(user_id)
    if not isinstance(user_id, str) or not is_name(user_id):
        raise BadToken("bad_claim", claim)
    return user_id


def _jti(claims: Claims) -> str | None:
    if "jti" not in claims:
        return None
    jti = claims["jti"]
    if not isinstance(jti, str) or not is_name(jti):
        raise BadToken("bad_claim", "jti")
    return jti


def _display_name(claims: Claims) -> str | None:
    name = claims.get("name")
    if name is None or name == "":
        return None
    if not isinstance(name, str) or not is_name(name):
        raise BadToken("bad_claim", "name")
    return name


def _scopes(claims: Claims) -> frozenset[str]:
    scope = claims.get("scope")
    if scope is None:
        return _NO_SCOPES
    scopes = [part for part in scope.split(" ") if part] if isinstance(scope, str) else scope
    if not isinstance(scopes, list) or len(scopes) > MAX_SCOPES:
        raise BadToken("bad_claim", "scope")
    for part in scopes:
        if not isinstance(part, str) or _SCOPE.fullmatch(part) is None:
            raise BadToken("bad_claim", "scope")
    return frozenset(scopes)


def _names(claims: Claims, claim: str) -> tuple[str, ...]:
    value = claims.get(claim)
    if value is None:
        return ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or len(names) > MAX_NAMES:
        raise BadToken("bad_claim", claim)
    for name in names:
        if not is_name(name):
            raise BadToken("bad_claim", claim)
    return tuple(dict.fromkeys(names))


def _session_id(tenant: str, user_id: str, jti: str | None, token_digest: bytes) -> str:
    """Hash what names the login. Names hold no control characters, so `\\n` keeps the parts apart."""
    login = token_digest if jti is None else f"{tenant}\n{user_id}\n{jti}".encode()
    return hashlib.sha256(login).hexdigest()[:_SESSION_ID_LENGTH]
