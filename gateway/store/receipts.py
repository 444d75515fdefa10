"""What an instance reports of events with a receipt; `publisher.receipt` says how it is written, and reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from gateway.store import keys
from publisher.receipt import TENANT, TO


async def write_reports(
    redis: Redis, partition: int, reports: Sequence[tuple[str, dict[Any, Any]]], ttl_ms: int
) -> None:
    """
    Write one instance's reports of events of a partition.

    Args:
        reports: Event id, and the fields to set in its hash, as bytes or text.
        ttl_ms: How long a hash that begins now is kept.
    """
    async with redis.pipeline(transaction=True) as pipeline:  # a hash without an end would stay for ever
        for event_id, fields in reports:
            key = keys.receipt(partition, event_id)
            pipeline.hset(key, mapping=fields)
            pipeline.pexpire(key, ttl_ms, nx=True)
        await pipeline.execute()


def about(tenant: str, to: bytes) -> dict[bytes, str | bytes]:
    """Return the fields that say what an event is: the log may forget it before its receipt ends."""
    return {TENANT: tenant, TO: to}
