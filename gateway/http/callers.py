"""
Callers: who sends a request, by a service's JWT or by an API key.

The tenant is that of the credential. An API key is 256 random bits, so one hash without salt is enough to store it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Query, Request
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.datastructures import Headers

from gateway.auth import Authenticator
from gateway.errors import AuthError
from gateway.http.fields import Name
from gateway.http.problems import Problem
from gateway.identity import Identity
from gateway.metrics import Metrics
from gateway.revocations import Revocations

PUSH: Final = "push"
ADMIN: Final = "admin"
KEY_PREFIX: Final = "tg_"

_KEY_BYTES: Final = 32
_MAX_KEY_CHARS: Final = 256
_CHALLENGE: Final = 'Bearer realm="tidegate"'  # RFC 6750, section 3


@dataclass(frozen=True, slots=True)
class ApiKey:
    """
    A key as the settings have it.

    Attributes:
        name: For logs and limits.
        digest: SHA-256 of the key, in hex.
        tenant: Whom its holder works for.
        scopes: What its holder may do.
    """

    name: str
    digest: str
    tenant: str
    scopes: frozenset[str] = frozenset({PUSH})


@dataclass(frozen=True, slots=True)
class Caller:
    """
    Who sends a request.

    Attributes:
        tenant: Everything they do stays within it.
        name: `key:<name>` or `user:<sub>`.
        scopes: What they may do.
        identity: Who their token speaks of; None for an API key.
    """

    tenant: str
    name: str
    scopes: frozenset[str]
    identity: Identity | None = None

    def check_tenant(self, named: str | None) -> None:
        """
        Refuse a body that names another tenant than the credential's.

        Raises:
            Problem: 403.
        """
        if named not in (None, self.tenant):
            raise Problem(403, "the tenant is that of the credential, and the body names another")


def new_key() -> str:
    """Return a new API key."""
    return KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def digest_of(key: str) -> str:
    """Return what the settings store of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


class Callers:
    """Tells who sends a request."""

    def __init__(
        self, authenticator: Authenticator, revocations: Revocations, keys: Sequence[ApiKey], metrics: Metrics
    ) -> None:
        self._authenticator = authenticator
        self._revocations = revocations
        self._keys = tuple(keys)
        self._metrics = metrics

    async def identify(self, headers: Headers) -> Caller:
        """
        Return the caller behind `Authorization` or `X-API-Key`.

        Raises:
            Problem: 401.
        """
        bearers, keys = headers.getlist("authorization"), headers.getlist("x-api-key")
        if len(bearers) + len(keys) != 1:
            said = "give one credential, not several" if bearers or keys else "a credential is needed"
            raise _unauthenticated(f"{said}: `Authorization: Bearer <token>` or `X-API-Key: <key>`")
        if keys:
            return self._of_key(keys[0])
        scheme, _, credential = bearers[0].partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            raise _unauthenticated("the credential's scheme has to be Bearer")
        return await self._of_token(credential) if "." in credential else self._of_key(credential)

    async def _of_token(self, token: str) -> Caller:
        try:
            identity = await self._authenticator.authenticate(token, time.time())
            if self._revocations.is_revoked(identity):
                raise AuthError("revoked")
        except AuthError as error:
            self._metrics.auth_failures[error.reason] += 1
            raise _unauthenticated(str(error), error.reason) from None
        return Caller(identity.tenant, f"user:{identity.user_id}", identity.scopes, identity)

    def _of_key(self, key: str) -> Caller:
        found = None
        if len(key) <= _MAX_KEY_CHARS:
            digest = digest_of(key)
            for known in self._keys:  # all of them, so that the time says nothing
                if hmac.compare_digest(known.digest, digest):
                    found = known
        if found is None:
            self._metrics.auth_failures["unknown_key"] += 1
            raise _unauthenticated("this API key is not known here", "unknown_key")
        return Caller(found.tenant, f"key:{found.name}", found.scopes)


def _unauthenticated(detail: str, reason: str | None = None) -> Problem:
    challenge = _CHALLENGE if reason is None else f'{_CHALLENGE}, error="invalid_token"'
    return Problem(401, detail, headers={"WWW-Authenticate": challenge}, reason=reason)


# For the OpenAPI document: who the caller is has been found out before, by the gate.
_bearer = HTTPBearer(auto_error=False, bearerFormat="JWT", description="A service's JWT with the scope `push`.")
_api_key = APIKeyHeader(name="X-API-Key", auto_error=False, description="A key made by `gateway apikey`.")


_user = HTTPBearer(auto_error=False, bearerFormat="JWT", scheme_name="UserToken", description="A user's own JWT.")


async def pushing(
    request: Request, _: Annotated[object, Depends(_bearer)], __: Annotated[object, Depends(_api_key)]
) -> Caller:
    """
    Return the caller, who may push.

    Raises:
        Problem: 403.
    """
    return _with_scope(request, PUSH)


async def operating(
    request: Request, _: Annotated[object, Depends(_bearer)], __: Annotated[object, Depends(_api_key)]
) -> Caller:
    """
    Return the caller, who may operate the gateways: all of them, and for all tenants.

    Raises:
        Problem: 403.
    """
    return _with_scope(request, ADMIN)


def _with_scope(request: Request, scope: str) -> Caller:
    caller: Caller = request.state.caller
    if scope not in caller.scopes:
        challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'
        raise Problem(403, f"the token lacks the scope `{scope}`", headers={"WWW-Authenticate": challenge})
    return caller


Pushing = Annotated[Caller, Depends(pushing)]
Operating = Annotated[Caller, Depends(operating)]


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose things a request is about."""

    tenant: str
    user_id: str


async def owning(
    request: Request,
    _: Annotated[object, Depends(_user)],
    __: Annotated[object, Depends(_bearer)],
    ___: Annotated[object, Depends(_api_key)],
    user_id: Annotated[
        Name | None,
        Query(description="For services: whose. Not needed with a user's own token.", examples=["42"]),
    ] = None,
) -> Owner:
    """
    Return the user that a request is about: the one behind the token, or, for a service, the one that it names.

    Raises:
        Problem: 403, 422.
    """
    caller: Caller = request.state.caller
    own = caller.identity.user_id if caller.identity is not None else None
    if user_id not in (None, own) and PUSH not in caller.scopes:
        raise Problem(403, "the token is another user's: only a service may name one")
    owner = own if user_id is None else user_id
    if owner is None:
        raise Problem(422, "user_id: say whose, because an API key is no user's")
    return Owner(caller.tenant, owner)


Owning = Annotated[Owner, Depends(owning)]
