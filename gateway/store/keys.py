"""The Redis keys of the gateway; those that publishers touch as well are in `publisher.keys`."""

from __future__ import annotations

from publisher.keys import (
    GROUP_PREFIX,
    INBOX_PREFIX,
    PREFIX,
    access_rules,
    epoch,
    history,
    inbox,
    inbox_order,
    inbox_owner,
    inbox_unread,
    inbox_work,
    memberships,
    partition_of,
    receipt,
    revocations,
    stream,
    templates,
)

__all__ = [
    "GROUP_PREFIX",
    "INSTANCE_PREFIX",
    "access_rules",
    "answers",
    "box",
    "epoch",
    "group",
    "history",
    "inbox_owner",
    "inbox_pattern",
    "inbox_unread",
    "inbox_work",
    "instance",
    "memberships",
    "partition_of",
    "presence_group",
    "presence_held",
    "presence_instances",
    "presence_tenants",
    "presence_users",
    "receipt",
    "revocations",
    "stream",
    "templates",
]

INSTANCE_PREFIX = f"{PREFIX}instance:"


def group(instance_id: str) -> str:
    """An instance's consumer group on each stream: its cursor, and the gauge of its lag."""
    return GROUP_PREFIX + instance_id


def instance(instance_id: str) -> str:
    """Hash: an instance's lease and what it says of itself; expires when it does not renew."""
    return INSTANCE_PREFIX + instance_id


def box(partition: int, tenant: str, user: str) -> list[str]:
    """The three keys of a user's inbox, in the order in which the scripts take them."""
    return [named(partition, tenant, user) for named in (inbox, inbox_order, inbox_unread)]


def inbox_pattern(tenant: str | None) -> str:
    """What SCAN finds every inbox by, or a tenant's: no tenant's name means anything in a pattern."""
    return f"{INBOX_PREFIX}{{events:*}}:{'*' if tenant is None else tenant}:*"


def answers(request: str) -> str:
    """List: what the instances answered to one question; expires."""
    return f"{PREFIX}answers:{request}"


# Presence. All of a partition's in its slot; `@` is in no tenant's name.


def presence_users(partition: int, tenant: str) -> str:
    """Hash: each of a tenant's users who is online → the instances that hold them, separated by spaces; expires."""
    return f"{_presence(partition)}:{tenant}:users"


def presence_group(partition: int, tenant: str, group_id: str) -> str:
    """Hash: the same of the users in one group; expires."""
    return f"{_presence(partition)}:{tenant}:group:{group_id}"


def presence_instances(partition: int) -> str:
    """Hash: each instance that holds presence → its process, its last batch and its last beat; expires."""
    return f"{_presence(partition)}:@instances"


def presence_held(partition: int, instance_id: str) -> str:
    """Set: what an instance holds, so that others can remove it; expires."""
    return f"{_presence(partition)}:@held:{instance_id}"


def presence_tenants(partition: int) -> str:
    """Set: the tenants that have users online; expires."""
    return f"{_presence(partition)}:@tenants"


def _presence(partition: int) -> str:
    return f"{PREFIX}presence:{{events:{partition}}}"
