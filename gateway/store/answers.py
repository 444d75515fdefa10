"""Answers to one `gateway explain`: a list that lives for a minute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from redis.asyncio import Redis

from gateway.store import keys

_TTL_S = 60


async def give_answer(redis: Redis, request: str, facts: Mapping[str, Any]) -> None:
    """Add one instance's answer."""
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.rpush(keys.explanation(request), orjson.dumps(facts))
        pipeline.expire(keys.explanation(request), _TTL_S)
        await pipeline.execute()


async def answers(redis: Redis, request: str) -> list[dict[str, Any]]:
    """Return the answers that have come so far."""
    return [orjson.loads(answer) for answer in await redis.lrange(keys.explanation(request), 0, -1)]
