"""The revocations that publishers stored, as an instance loads them when it starts."""

from __future__ import annotations

import time
from typing import Any

import orjson
import structlog
from redis.asyncio import Redis

from gateway.revocations import Revocations
from gateway.store import keys

_log = structlog.get_logger()

_PARTITION = 0  # all of them, because each concerns every partition's readers


async def load_revocations(redis: Redis, into: Revocations) -> None:
    """Add every stored revocation that still matters."""
    now_ms = int(time.time() * 1000)
    reply: Any = await redis.zrangebyscore(keys.revocations(_PARTITION), now_ms, "+inf", withscores=True)
    for member, score in reply:
        try:
            add_revocation(into, orjson.loads(member), int(float(score)))
        except (ValueError, OverflowError):
            _log.error("poison_revocation", member=str(member)[:200])  # one must not keep the others from being loaded


def add_revocation(into: Revocations, member: list[Any], until_ms: int) -> None:
    """Add one, given as its member of the sorted set: `[tenant, "jti", jti]` or `[tenant, "user", id, before_ms]`."""
    match member:
        case [str(tenant), "jti", str(jti)]:
            into.add_jti(tenant, jti, until_ms)
        case [str(tenant), "user", str(user_id), int(issued_before_ms)]:
            into.add_user(tenant, user_id, issued_before_ms, until_ms)
