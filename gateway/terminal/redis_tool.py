"""Running a tool that talks to Redis: one client, and one clear line when Redis does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis

from gateway.errors import ConfigError
from gateway.settings import Settings
from gateway.store.connection import REDIS_ERRORS, connect
from gateway.terminal.addresses import without_password


def run_with_redis(settings: Settings, tool: Callable[[Redis], Awaitable[int]]) -> int:
    """
    Run `tool` with a client of the configured Redis; return its exit status.

    Raises:
        ConfigError: Redis cannot be reached, or refuses.
    """
    return asyncio.run(_run(settings, tool))


async def _run(settings: Settings, tool: Callable[[Redis], Awaitable[int]]) -> int:
    redis = open_redis(settings)
    try:
        return await tool(redis)
    except BrokenPipeError:  # an OSError of our own output: redis-py has other names for its own
        raise
    except REDIS_ERRORS as error:
        raise unreachable(settings, error) from None
    finally:
        await redis.aclose()


def open_redis(settings: Settings) -> Redis:
    """
    Return a client of the configured Redis, which connects when it is first used.

    Raises:
        ConfigError: The URL is not one of Redis.
    """
    try:
        return connect(settings.redis_url, settings.redis.timeout_s)
    except ValueError as error:
        raise ConfigError("redis.url", str(error)) from None


def unreachable(settings: Settings, error: BaseException) -> ConfigError:
    """Return the error that says that Redis does not answer, and what may help."""
    place = without_password(settings.redis_url)
    advice = "; does `make run` run in this folder?" if settings.mode == "dev" else ""
    return ConfigError("redis.url", f"no answer from {place}: {error}{advice}")
