"""The rights of a command: what the policy says of a client, its durable membership included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import CommandError
from gateway.policy import Action

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.profiles import Membership
    from gateway.services import Services

_GROUP_ACTIONS = frozenset({Action.JOIN_GROUP, Action.SEND_TO_GROUP})
_RETRY_AFTER_MS = 1_000


def check(services: Services, connection: Connection, action: Action, name: str, deed: str) -> Membership | None:
    """
    Refuse what the policy does not allow; return where membership of the group began, if only that allows it.

    Args:
        deed: For the message: what a client is not let do with what has this name.

    Raises:
        CommandError: 403; or 503 where nobody knows yet which groups the user belongs to.
    """
    identity, policy = connection.identity, services.policy
    if identity is not None and policy.allows(identity, action, name):
        return None
    if identity is not None and action in _GROUP_ACTIONS and policy.allows(identity, action, name, member=True):
        if services.members.is_member(connection, name):
            return services.members.member_since(connection, f"group:{name}")
        if connection.profile is not None and not connection.profile.loaded:
            raise CommandError(503, "the groups of this user cannot be read now", retry_after_ms=_RETRY_AFTER_MS)
    raise CommandError(403, f"the policy does not let you {deed} {name!r:.80}")
