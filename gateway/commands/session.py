"""Commands about the connection itself: `ping`, `auth`, `get_client_info`, `echo`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from gateway.close_codes import CloseCode
from gateway.commands import arguments
from gateway.errors import AuthError, CommandError, KeyUnknown
from gateway.identity import Identity
from gateway.replies import Promise
from gateway.session import State
from gateway.user_limit import has_room
from gateway.wire.v1 import AUTH_FAILED, AUTH_SUCCESS, ECHO, ERROR, PONG, Reply, ack

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.services import CommandFunction, Services


_TOO_MANY: Final = "too many connections of this user"
_RETRY_AFTER_MS: Final = 5_000


def commands(services: Services) -> Mapping[str, CommandFunction]:
    """Return this family's commands."""

    def auth(connection: Connection, _message_id: str | None, data: Any) -> Reply | Promise:
        return _auth(services, connection, data)

    def get_client_info(connection: Connection, _message_id: str | None, _data: Any) -> Reply:
        return _client_info(services, connection)

    return {"ping": _ping, "auth": auth, "echo": _echo, "get_client_info": get_client_info}


def _ping(connection: Connection, _message_id: str | None, _data: Any) -> Reply:
    if connection.state is not State.ACTIVE:
        return Reply(PONG, {})
    return Reply(PONG, {"cursor": connection.cursor()})


def _echo(_connection: Connection, _message_id: str | None, data: Any) -> Reply:
    return Reply(ECHO, data)


def _auth(services: Services, connection: Connection, data: Any) -> Reply | Promise:
    token = arguments.mapping(data).get("token")
    if not isinstance(token, str):
        raise CommandError(400, "token: use the JWT, a string")
    cursor = arguments.cursor(data, "cursor")
    try:
        return _authenticated(services, connection, services.authenticator.verify(token, time.time()), cursor)
    except KeyUnknown:
        return Promise.of(services.tasks.start("auth", _auth_after_refresh(services, connection, token, cursor)))
    except AuthError as error:
        return _failed(services, connection, error)


async def _auth_after_refresh(services: Services, connection: Connection, token: str, cursor: str | None) -> Reply:
    try:
        identity = await services.authenticator.authenticate(token, time.time())
        return _authenticated(services, connection, identity, cursor)
    except AuthError as error:
        return _failed(services, connection, error)


def _authenticated(services: Services, connection: Connection, identity: Identity, cursor: str | None) -> Reply:
    if services.revocations.is_revoked(identity):
        raise AuthError("revoked")
    known = connection.identity
    if known is not None and (known.tenant, known.user_id) != (identity.tenant, identity.user_id):
        raise CommandError(403, "this connection belongs to another user: open a new one")
    if known is None and not has_room(services, identity):
        return _no_room(services, connection)
    now = asyncio.get_running_loop().time()
    facts = {"user_id": identity.user_id, "expires_at": int(identity.expires_at * 1000)}
    return Reply(AUTH_SUCCESS, facts, then=lambda: connection.authenticated(identity, cursor, now))


def _failed(services: Services, connection: Connection, error: AuthError) -> Reply:
    """Refuse a token: say so, then close."""
    reason = error.reason
    services.metrics.auth_failures[reason] += 1
    data = {"reason": reason, "message": str(error)}
    return Reply(AUTH_FAILED, data, then=lambda: connection.close(CloseCode.UNAUTHENTICATED, reason))


def _no_room(services: Services, connection: Connection) -> Reply:
    """Refuse one connection too many of its user."""
    services.metrics.handshakes_refused["user"] += 1
    data = {"code": 429, "message": _TOO_MANY, "retry_after_ms": _RETRY_AFTER_MS}
    return Reply(ERROR, data, then=lambda: connection.close(CloseCode.RATE, _TOO_MANY))


def _client_info(services: Services, connection: Connection) -> Reply:
    identity = connection.identity
    assert identity is not None  # noqa: S101 - the session lets nobody else ask
    profile = connection.profile
    names: dict[str, list[str]] = {"group": [], "tag": [], "topic": []}
    for address in connection.addresses:
        kind, _, name = address.partition(":")
        if kind in names:
            names[kind].append(name)
    return ack(
        client_id=connection.client_id,
        session_id=identity.session_id,
        user_id=identity.user_id,
        name=identity.name,
        tenant=identity.tenant,
        instance=services.instance_id,
        remote=connection.remote,
        connected_at=connection.opened_at,
        expires_at=int(identity.expires_at * 1000),
        groups=sorted(names["group"]),
        durable_groups=sorted(profile.groups) if profile is not None and profile.loaded else None,
        tags=sorted(names["tag"]),
        topics=sorted(names["topic"]),
        cursor=connection.cursor(),
    )
