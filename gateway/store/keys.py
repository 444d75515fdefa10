"""The Redis keys of the gateway; those that publishers touch as well are in `publisher.keys`."""

from __future__ import annotations

from publisher.keys import PREFIX, access_rules, epoch, revocations, stream

__all__ = [
    "GROUP_PREFIX",
    "INSTANCE_PREFIX",
    "access_rules",
    "epoch",
    "explanation",
    "group",
    "instance",
    "revocations",
    "stream",
]

GROUP_PREFIX = "gw:"
INSTANCE_PREFIX = f"{PREFIX}instance:"


def group(instance_id: str) -> str:
    """An instance's consumer group on each stream: its cursor, and the gauge of its lag."""
    return GROUP_PREFIX + instance_id


def instance(instance_id: str) -> str:
    """Hash: an instance's lease and what it says of itself; expires when it does not renew."""
    return INSTANCE_PREFIX + instance_id


def explanation(request: str) -> str:
    """List: what the instances answered to one `gateway explain`; expires."""
    return f"{PREFIX}explain:{request}"
