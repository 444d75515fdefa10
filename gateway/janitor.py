"""
The janitor: what has to be done now and then, by every live instance, so that none is special.

Trims the log by time, renews the lease, removes the groups of instances that are gone, forgets old revocations and
the profiles of users who have not come back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from redis.asyncio import Redis

from gateway.errors import GatewayError
from gateway.profiles import Profiles
from gateway.revocations import Revocations
from gateway.store.connection import REDIS_ERRORS
from gateway.store.groups import dead_groups, remove_group
from gateway.store.leases import RENEW_S, Lease
from gateway.store.stream import trim

_log = structlog.get_logger()

_GROUPS_EVERY_S = 60.0
GONE_FOR_S: Final = 3_600.0


class LeaseLost(GatewayError):
    """Another process runs under this instance's id."""


class Janitor:
    """
    Keeps house for as long as `run` runs.

    Args:
        facts: Returns what this instance says of itself in its lease.
        gone_for_s: A group that nobody has read for so long is removed, if its instance has no lease.
    """

    def __init__(
        self,
        redis: Redis,
        lease: Lease,
        *,
        partitions: int,
        retention_s: float,
        revocations: Revocations,
        facts: Callable[[], Mapping[str, str | int]],
        profiles: Profiles | None = None,
        gone_for_s: float = GONE_FOR_S,
    ) -> None:
        self._redis = redis
        self._lease = lease
        self._partitions = partitions
        self._retention_s = retention_s
        self._revocations = revocations
        self._facts = facts
        self._profiles = profiles
        self._gone_for_s = gone_for_s

    async def run(self) -> None:
        """
        Keep house until cancelled.

        Raises:
            LeaseLost: See there; this instance must not go on.
        """
        groups_at = 0.0
        every_s = min(RENEW_S, max(1.0, self._retention_s / 4))
        while True:
            try:
                await self._renew()
                for partition in range(self._partitions):
                    await trim(self._redis, partition, self._retention_s)
                if time.monotonic() >= groups_at:
                    await self._remove_dead_groups()
                    groups_at = time.monotonic() + _GROUPS_EVERY_S
            except REDIS_ERRORS as error:
                _log.debug("housekeeping_failed", error=type(error).__name__)  # the consumer reports it
            self._revocations.prune(int(time.time() * 1000))
            if self._profiles is not None:
                self._profiles.prune(time.monotonic())
            await asyncio.sleep(every_s)

    async def _renew(self) -> None:
        holder = await self._lease.hold(self._facts())
        if holder is not None:
            raise LeaseLost(f"process {holder.get('pid')} on {holder.get('host')} has taken this instance's id")

    async def _remove_dead_groups(self) -> None:
        for partition in range(self._partitions):
            for group in await dead_groups(self._redis, partition, self._gone_for_s):
                await remove_group(self._redis, partition, group)
                _log.info("group_removed", partition=partition, group=group)
