"""Connections to Redis: how clients are made, and scripts run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError
from redis.retry import Retry

from publisher.failure import REDIS_ERRORS
from publisher.script import Script, read

__all__ = ["REDIS_ERRORS", "connect", "eviction_policy", "run_script", "script"]

_FOLDER: Final = Path(__file__).with_name("scripts")


def connect(url: str, timeout_s: float) -> Redis:
    """
    Return a client; it connects when it is first used.

    RESP2, because reply shapes differ between protocols; no retries of redis-py's own, because what may be retried
    is decided where the command is known.
    """
    redis = Redis.from_url(
        url,
        protocol=2,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    pool: Any = redis.connection_pool
    pool.connection_class = _telling(pool.connection_class)
    return redis


def _telling(kind: Any) -> type:
    """Return a class of connections (TCP, TLS or unix) that say in redis-py's terms that they are lost."""

    class Connection(kind):  # type: ignore[misc]  # known at run time only
        async def send_packed_command(self, *args: Any, **options: Any) -> None:
            try:
                await super().send_packed_command(*args, **options)
            except RuntimeError as error:  # uvloop's, where the peer has closed; asyncio's own loop says nothing here
                raise RedisConnectionError(f"the connection is lost: {error}") from error

    return Connection


def script(name: str) -> Script:
    """Read one of the store's scripts."""
    return read(_FOLDER / f"{name}.lua")


async def run_script(redis: Redis, lua: Script, keys: list[str], *args: str | bytes | int) -> Any:
    """Run a script by its digest; send its source where the server does not have it."""
    call: Any = redis.execute_command
    try:
        return await call("EVALSHA", lua.sha, len(keys), *keys, *args)
    except NoScriptError:
        return await call("EVAL", lua.source, len(keys), *keys, *args)


async def eviction_policy(redis: Redis) -> str | None:
    """Return the server's `maxmemory-policy`, or None where it may not be asked (managed services hide CONFIG)."""
    reply = await redis.info("memory")
    policy = reply.get("maxmemory_policy") if isinstance(reply, dict) else None
    return policy if isinstance(policy, str) else None
