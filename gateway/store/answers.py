"""Answers to one question that all instances were asked: a list that lives for a minute."""

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
        pipeline.rpush(keys.answers(request), orjson.dumps(facts))
        pipeline.expire(keys.answers(request), _TTL_S)
        await pipeline.execute()


async def answers_from(redis: Redis, request: str, first: int) -> list[dict[str, Any]]:
    """Return the answers that have come so far, but for the `first` ones."""
    return [orjson.loads(answer) for answer in await redis.lrange(keys.answers(request), first, -1)]
