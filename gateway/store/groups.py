"""The instances' consumer groups, seen from outside: lag, and those whose owner is gone."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from gateway.entry import EntryId, split_id
from gateway.store import keys


async def lags(redis: Redis, partition: int) -> dict[str, int | None]:
    """Return, per instance, how many entries it has not read; None where Redis cannot know."""
    found = {}
    for group in await _groups(redis, partition):
        name = group["name"].decode()
        if name.startswith(keys.GROUP_PREFIX):
            found[name.removeprefix(keys.GROUP_PREFIX)] = group.get("lag")
    return found


async def positions(redis: Redis, partition: int) -> dict[str, EntryId]:
    """Return, per instance, the last entry of a partition that it has read; also of those that have stopped lately."""
    return {
        group["name"].decode().removeprefix(keys.GROUP_PREFIX): split_id(group["last-delivered-id"])
        for group in await _groups(redis, partition)
        if group["name"].decode().startswith(keys.GROUP_PREFIX)
    }


async def total_lags(redis: Redis, partitions: int) -> dict[str, int | None]:
    """Return, per instance, how many entries of all partitions it has not read; None where Redis cannot know."""
    total: dict[str, int | None] = {}
    for partition in range(partitions):
        if not await redis.exists(keys.stream(partition)):
            continue
        for name, lag in (await lags(redis, partition)).items():
            known = total.get(name, 0)
            total[name] = known + lag if known is not None and lag is not None else None
    return total


async def live_instances(redis: Redis) -> list[str]:
    """Return the instances that read the log and have a lease: those that can be asked something."""
    if not await redis.exists(keys.stream(0)):
        return []
    names = list(await lags(redis, 0))
    if not names:
        return []
    async with redis.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.exists(keys.instance(name))
        alive = await pipeline.execute()
    return sorted(name for name, lives in zip(names, alive, strict=True) if lives)


async def dead_groups(redis: Redis, partition: int, gone_for_s: float) -> list[str]:
    """Return the instances without a lease whose group nobody has read for `gone_for_s` (XINFO CONSUMERS, `idle`)."""
    dead = []
    for group in await _groups(redis, partition):
        name = group["name"].decode()
        instance_id = name.removeprefix(keys.GROUP_PREFIX)
        # One key asked for by name: to scan for leases is to walk through every idempotency key.
        if not name.startswith(keys.GROUP_PREFIX) or await redis.exists(keys.instance(instance_id)):
            continue
        consumers = await redis.xinfo_consumers(keys.stream(partition), name)
        if all(consumer["idle"] >= gone_for_s * 1000 for consumer in consumers):
            dead.append(instance_id)
    return dead


async def remove_group(redis: Redis, partition: int, instance_id: str) -> None:
    """Remove an instance's group."""
    await redis.xgroup_destroy(keys.stream(partition), keys.group(instance_id))


async def _groups(redis: Redis, partition: int) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = await redis.xinfo_groups(keys.stream(partition))
    return groups
