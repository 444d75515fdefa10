"""
Leases: which instances live, and what each says of itself.

`tg:instance:<id>` is a hash that expires unless its process renews it. Its `token` tells two processes with the same
id apart: the second does not start.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from gateway.store import keys
from gateway.store.connection import run_script, script

LEASE_S: Final = 30.0
RENEW_S: Final = 10.0

_HOLD: Final = script("hold_lease")
_RELEASE: Final = script("release_lease")

Facts = Mapping[str, str | int]


class Lease:
    """This process's hold on its instance id."""

    def __init__(self, redis: Redis, instance_id: str) -> None:
        self._redis = redis
        self._key = keys.instance(instance_id)
        self._token = secrets.token_hex(8)

    async def hold(self, facts: Facts) -> dict[str, str] | None:
        """
        Take or renew the lease, and publish `facts`.

        A holder that is known to be dead, a process of this host that is no more, is replaced at once, so that a
        killed instance can be started again under its id.

        Returns:
            None when the lease is held; else what the process that holds it says of itself.
        """
        holder = await self._try(facts, "")
        if holder is not None and _is_dead(holder):
            holder = await self._try(facts, holder["token"])
        return holder

    async def _try(self, facts: Facts, replace: str) -> dict[str, str] | None:
        stated = {**facts, "pid": os.getpid(), "host": _host()}
        fields = [str(part) for pair in stated.items() for part in pair]
        reply = await run_script(self._redis, _HOLD, [self._key], self._token, int(LEASE_S * 1000), replace, *fields)
        return _pairs(reply) or None

    async def release(self) -> None:
        """Give the lease back, if it is still ours."""
        await run_script(self._redis, _RELEASE, [self._key], self._token)


async def instances(redis: Redis) -> dict[str, dict[str, str]]:
    """Return every live instance's id with what it says of itself."""
    found = {}
    key: Any
    async for key in redis.scan_iter(match=keys.INSTANCE_PREFIX + "*", count=500):
        facts = await redis.hgetall(key)
        if facts:  # it may have expired meanwhile
            name = key.decode().removeprefix(keys.INSTANCE_PREFIX)
            found[name] = _pairs([part for pair in facts.items() for part in pair])
    return found


def _pairs(reply: Any) -> dict[str, str]:
    values = [part.decode() for part in reply]
    return dict(zip(values[::2], values[1::2], strict=True))


def _is_dead(holder: dict[str, str]) -> bool:
    pid = holder.get("pid", "")
    if holder.get("host") != _host() or not pid.isdigit():
        return False
    if int(pid) == os.getpid():  # containers: the process before us had our number
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _host() -> str:
    """Name this boot of this host: a process id means nothing elsewhere."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        boot = ""
    return f"{socket.gethostname()}/{boot}"
