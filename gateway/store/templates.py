"""The message templates in Redis, from where publishers fetch them."""

from __future__ import annotations

from typing import Final

from redis.asyncio import Redis

from gateway.store import keys
from gateway.store.connection import run_script, script

TTL_S: Final = 24 * 3600.0
"""Long: publishers go on while no gateway runs."""

_KEEP: Final = script("keep_templates")


async def keep_templates(redis: Redis, text: bytes, started: str) -> str:
    """
    Store the templates, unless those of a process that started later are there, and renew their life.

    Args:
        text: JSON.
        started: What the first call returned; empty in the first.
    """
    reply: bytes = await run_script(redis, _KEEP, [keys.templates()], text, started, int(TTL_S * 1000))
    return reply.decode()
