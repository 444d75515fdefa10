"""Commands about who is there: `get_online_status`, `get_presence`."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final

from gateway.commands import arguments
from gateway.errors import CommandError, PresenceUnsettled
from gateway.identity import Identity
from gateway.policy import Action
from gateway.replies import Promise
from gateway.store.connection import REDIS_ERRORS
from gateway.store.online import Online, page
from gateway.wire.v1 import Reply, ack
from publisher.address import MAX_NAME_LENGTH, is_name

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.services import CommandFunction, Services

MAX_USERS: Final = 1_000

_RETRY_AFTER_MS: Final = 1_000


def commands(services: Services) -> Mapping[str, CommandFunction]:
    """Return this family's commands."""

    def get_online_status(connection: Connection, _message_id: str | None, data: Any) -> Promise:
        return _get_online_status(services, connection, data)

    def get_presence(connection: Connection, _message_id: str | None, data: Any) -> Promise:
        return _get_presence(services, connection, data)

    return {"get_online_status": get_online_status, "get_presence": get_presence}


def _get_online_status(services: Services, connection: Connection, data: Any) -> Promise:
    identity = _identity(connection)
    if ("user_id" in arguments.mapping(data)) == ("user_ids" in data):
        raise CommandError(400, "name either user_id or user_ids")
    users = [arguments.name(data, "user_id")] if "user_id" in data else _user_ids(data["user_ids"])
    for user in users:
        if not services.policy.allows(identity, Action.SEE_ONLINE, user):
            raise CommandError(403, f"the policy does not let you see whether {user!r:.80} is online")
    if services.online is None:
        raise CommandError(403, "presence is off")
    return _asked(services, _status(services.online, identity, users, one="user_id" in data))


async def _status(online: Online, identity: Identity, users: list[str], *, one: bool) -> Reply:
    found = await online.which(identity.tenant, users)
    if identity.user_id in found:
        found[identity.user_id] = True  # whoever asks is; Redis may not have been told yet
    return ack(online=found[users[0]] if one else found)


def _get_presence(services: Services, connection: Connection, data: Any) -> Promise:
    identity = _identity(connection)
    group_id = arguments.name(data, "group_id")
    after = arguments.name(data, "after") if "after" in data else None
    limit = _limit(data)
    if f"group:{group_id}" not in connection.addresses:
        raise CommandError(403, f"join the group {group_id!r:.80} first")
    if services.online is None or group_id not in services.online.kept:
        raise CommandError(403, f"presence is off in the group {group_id!r:.80}")
    return _asked(services, _members(services.online, identity, group_id, after=after, limit=limit))


async def _members(online: Online, identity: Identity, group_id: str, *, after: str | None, limit: int) -> Reply:
    members = await online.members(identity.tenant, group_id)
    if identity.user_id not in members:  # whoever asks is in it; Redis may not have been told yet
        members = sorted([*members, identity.user_id])
    users = page(members, after=after, limit=limit)
    more: dict[str, Any] = {"next": users[-1]} if users and users[-1] != members[-1] else {}
    return ack(users=users, total=len(members), **more)


def _identity(connection: Connection) -> Identity:
    identity = connection.identity
    assert identity is not None  # noqa: S101 - the session lets nobody else ask
    return identity


def _user_ids(users: Any) -> list[str]:
    if not isinstance(users, list) or not 0 < len(users) <= MAX_USERS:
        raise CommandError(400, f"user_ids: use a list of 1 to {MAX_USERS} strings")
    if not all(map(is_name, users)):
        raise CommandError(400, f"user_ids: use strings of 1 to {MAX_NAME_LENGTH} characters, no control characters")
    return users


def _limit(data: Mapping[str, Any]) -> int:
    limit = data.get("limit", MAX_USERS)
    if type(limit) is not int or not 0 < limit <= MAX_USERS:
        raise CommandError(400, f"limit: use a number from 1 to {MAX_USERS}")
    return limit


def _asked(services: Services, question: Coroutine[Any, Any, Reply]) -> Promise:
    return Promise.of(services.tasks.start("presence", _answer(question)))


async def _answer(question: Coroutine[Any, Any, Reply]) -> Reply:
    try:
        return await question
    except PresenceUnsettled:
        raise CommandError(503, "who is online is being told anew", retry_after_ms=_RETRY_AFTER_MS) from None
    except REDIS_ERRORS:
        raise CommandError(503, "who is online cannot be asked now", retry_after_ms=_RETRY_AFTER_MS) from None
