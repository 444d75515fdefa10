"""
Who is online, as Redis has it from all instances. Those that have died are left out before they are cleared away.

Used with sockets and without (`gateway api`). Every method raises what redis-py raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from redis.asyncio import Redis

from gateway.errors import PresenceUnsettled
from gateway.presence import Kept
from gateway.store import keys
from gateway.store.presence import SETTLING, group_partition, leased, tenant_partition
from gateway.store.sharing import Shared

_FRESH_MS: Final = 10_000  # four beats


class Online:
    """
    Answers who is online.

    Args:
        kept: The groups whose presence is kept.
        instance_id: That of this process, if it has one: while it is not there, not everything is.
    """

    def __init__(self, redis: Redis, *, partitions: int, kept: Kept, instance_id: str | None = None) -> None:
        self._redis = redis
        self._partitions = partitions
        self._instance_id = instance_id
        self.kept = kept
        self._lists: Shared[list[str]] = Shared()  # after a failure, all clients of a group ask at once

    async def which(self, tenant: str, users: Sequence[str]) -> dict[str, bool]:
        """
        Tell of each user whether they are online.

        Raises:
            PresenceUnsettled: The instances are about to tell theirs anew.
        """
        partition = tenant_partition(tenant, self._partitions)
        asked = list(dict.fromkeys(users))
        (held,), live = await self._ask(partition, [("HMGET", keys.presence_users(partition, tenant), *asked)])
        return {user: _any(instances, live) for user, instances in zip(asked, held, strict=True)}

    async def users(self, tenant: str) -> list[str]:
        """Return a tenant's users who are online, sorted; not to be changed. Raises `PresenceUnsettled`."""
        partition = tenant_partition(tenant, self._partitions)
        return await self._sorted(partition, keys.presence_users(partition, tenant))

    async def members(self, tenant: str, group_id: str) -> list[str]:
        """Return the users who are in a group, sorted; not to be changed. Raises `PresenceUnsettled`."""
        partition = group_partition(group_id, self._partitions)
        return await self._sorted(partition, keys.presence_group(partition, tenant, group_id))

    async def count(self) -> int:
        """Return how many users are online, of all tenants. Raises `PresenceUnsettled`."""
        total = 0
        for partition in range(self._partitions):
            tenants: Any = await self._redis.smembers(keys.presence_tenants(partition))
            where = [keys.presence_users(partition, tenant.decode()) for tenant in tenants]
            lengths, live = await self._ask(partition, [("HLEN", key) for key in where])
            if live is None:
                total += sum(lengths)
                continue
            for key in where:
                (held,), live = await self._ask(partition, [("HVALS", key)])
                total += sum(_any(instances, live) for instances in held)
        return total

    async def _sorted(self, partition: int, key: str) -> list[str]:
        return await self._lists.ask(key, lambda: self._read(partition, key))

    async def _read(self, partition: int, key: str) -> list[str]:
        (pairs,), live = await self._ask(partition, [("HGETALL", key)])
        return sorted(user.decode() for user, instances in pairs.items() if _any(instances, live))

    async def _ask(
        self, partition: int, commands: Iterable[tuple[str, ...]]
    ) -> tuple[list[Any], frozenset[bytes] | None]:
        """Run commands of a partition; return the replies, and which instances live, or None where all of them do."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hgetall(keys.presence_instances(partition))
            pipeline.time()
            for command in commands:
                pipeline.execute_command(*command)
            found, (seconds, micros), *replies = await pipeline.execute()
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        told = {name.decode(): said.decode() for name, said in found.items()}
        if int(told.pop(SETTLING, 0)) > now_ms or (self._instance_id is not None and self._instance_id not in told):
            raise PresenceUnsettled
        return replies, await self._live(told, now_ms)

    async def _live(self, told: Mapping[str, str], now_ms: int) -> frozenset[bytes] | None:
        silent = [name for name, said in told.items() if now_ms - int(said.rpartition(" ")[2]) > _FRESH_MS]
        if not silent:
            return None
        dead = set(silent) - await leased(self._redis, silent)
        return frozenset(name.encode() for name in told if name not in dead) if dead else None


def page(names: Sequence[str], *, after: str | None, limit: int) -> list[str]:
    """Return up to `limit` of sorted names, those behind `after`."""
    return list(islice((name for name in names if after is None or name > after), limit))


def _any(instances: bytes | None, live: frozenset[bytes] | None) -> bool:
    """Tell whether one of the instances lives, of which `live` are those that do; None: all."""
    return bool(instances) and (live is None or not live.isdisjoint((instances or b"").split()))
