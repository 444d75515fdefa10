"""
The Redis keys that a publisher touches.

One hash tag per partition, `{events:P}`, so that a partition's keys live in one Cluster slot and one script
can use them together.
"""

from __future__ import annotations

from zlib import crc32

from publisher.address import DEFAULT_TENANT

PREFIX = "tg:"
INBOX_PREFIX = f"{PREFIX}inbox:"
INBOX_ORDER = "order"
INBOX_UNREAD = "unread"
GROUP_PREFIX = "gw:"  # of the gateways' consumer groups: behind it stands the instance's id


def stream(partition: int) -> str:
    """The log: one stream entry an event."""
    return f"{PREFIX}{{events:{partition}}}"


def epoch(partition: int) -> str:
    """The random name of this incarnation of the log; a part of every cursor. Gone when the log is gone."""
    return f"{stream(partition)}:epoch"


def idempotency(partition: int, tenant: str, key: str) -> str:
    """Holds the id of the event first published under `key`; expires. No two (tenant, key) pairs share a name."""
    scope = "key" if tenant == DEFAULT_TENANT else f"key@{tenant}"  # a tenant's name has neither ':' nor '@'
    return f"{stream(partition)}:{scope}:{key}"


def notify_idempotency(partition: int, tenant: str, key: str) -> str:
    """The same for notifications: the key of an event does not keep a notification from being stored."""
    scope = "nkey" if tenant == DEFAULT_TENANT else f"nkey@{tenant}"
    return f"{stream(partition)}:{scope}:{key}"


def revocations(partition: int) -> str:
    """Sorted set of revoked tokens and users, scored by when (ms) each may be forgotten; expires with the last."""
    return f"{stream(partition)}:revoked"


def history(partition: int, tenant: str, group: str) -> str:
    """Stream: what a group has been written and keeps; ends with the retention. A tenant's name has no ':'."""
    return f"{PREFIX}history:{{events:{partition}}}:{tenant}:{group}"


def inbox_work(partition: int) -> str:
    """Stream: the notifications that are not in the inboxes yet; expires when none is added for a week."""
    return f"{stream(partition)}:inbox"


def inbox(partition: int, tenant: str, user: str) -> str:
    """Hash: a user's notifications by id, as JSON. Expires when the newest of them is over its time."""
    # Escaped, or the user `42:unread` would own the key of another kind that is the user `42`'s.
    name = user.replace("%", "%25").replace(":", "%3A")
    return f"{INBOX_PREFIX}{{events:{partition}}}:{tenant}:{name}"


def inbox_order(partition: int, tenant: str, user: str) -> str:
    """Sorted set: the ids of a user's notifications by age."""
    return f"{inbox(partition, tenant, user)}:{INBOX_ORDER}"


def inbox_unread(partition: int, tenant: str, user: str) -> str:
    """Sorted set: those of them that are not read; its cardinality is the user's unread count."""
    return f"{inbox(partition, tenant, user)}:{INBOX_UNREAD}"


def inbox_owner(key: str) -> tuple[str, str]:
    """Return the tenant and the user of an inbox, given any of its three keys."""
    tenant, name, *_ = key.partition("}:")[2].split(":")
    return tenant, name.replace("%3A", ":").replace("%25", "%")


def templates() -> str:
    """Hash: the gateways' message templates, as JSON in the field `json`; expires unless a gateway renews it."""
    return f"{PREFIX}templates"


def receipt(partition: int, event_id: str) -> str:
    """Hash: what the instances report of one event that asked for a receipt; expires."""
    return f"{stream(partition)}:receipt:{event_id}"


def access_rules(partition: int) -> str:
    """Sorted set of address rules, `<action> <network>`, scored by when (ms) each ends; expires with the last."""
    return f"{stream(partition)}:access"


def members(partition: int, tenant: str, group: str) -> str:
    """
    Sorted set: the durable members of a group, scored by when (ms) each was added. Lasts.

    The partition is that of `group:<group>`, as of the two keys' control entries. A tenant's name has no ':'.
    """
    return f"{PREFIX}members:{{events:{partition}}}:{tenant}:group:{group}"


def memberships(partition: int, tenant: str, user: str) -> str:
    """Hash: those groups of a user that belong to a partition, each with the id of the entry that added it. Lasts."""
    return f"{PREFIX}members:{{events:{partition}}}:{tenant}:user:{user}"


def partition_of(address: str, partitions: int) -> int:
    """Return the partition of an event whose first address is `address`."""
    return crc32(address.encode()) % partitions if partitions > 1 else 0
