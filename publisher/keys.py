"""
The Redis keys that a publisher touches.

One hash tag per partition, `{events:P}`, so that a partition's keys live in one Cluster slot and one script
can use them together.
"""

from __future__ import annotations

from zlib import crc32

from publisher.address import DEFAULT_TENANT

PREFIX = "tg:"


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


def revocations(partition: int) -> str:
    """Sorted set of revoked tokens and users, scored by when (ms) each may be forgotten; expires with the last."""
    return f"{stream(partition)}:revoked"


def access_rules(partition: int) -> str:
    """Sorted set of address rules, `<action> <network>`, scored by when (ms) each ends; expires with the last."""
    return f"{stream(partition)}:access"


def partition_of(address: str, partitions: int) -> int:
    """Return the partition of an event whose first address is `address`."""
    return crc32(address.encode()) % partitions if partitions > 1 else 0
