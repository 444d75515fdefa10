"""
The loader: gets users' profiles from Redis, many at a time.

All who come within a few milliseconds go into one script, so a user costs a few µs and a task is shared by hundreds.
When Redis does not answer, those who wait are told so after a while, and the loads are tried again until they succeed.
Knows no connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog
from redis.asyncio import Redis

from gateway.profiles import Profile, Snapshot
from gateway.services import Tasks
from gateway.store.connection import REDIS_ERRORS
from gateway.store.profiles import load_profiles

_log = structlog.get_logger()

_GATHER_S: Final = 0.004
_BATCH: Final = 500
_AT_A_TIME: Final = 2
_PATIENCE_S: Final = 2.0
_PAUSE_S: Final = 0.1
_RETRY_S: Final = 0.5


class ProfileLoader:
    """
    Loads profiles.

    Args:
        on_loaded: Called with each profile that was asked for, and what Redis has of it.
        on_late: Called with those that have to be waited for longer than a connection should.

    Attributes:
        down: Redis does not answer at the moment.
    """

    def __init__(
        self,
        redis: Redis,
        tasks: Tasks,
        *,
        partitions: int,
        on_loaded: Callable[[Profile, Snapshot], None],
        on_late: Callable[[Iterable[Profile]], None],
    ) -> None:
        self.down = False
        self._redis = redis
        self._tasks = tasks
        self._partitions = partitions
        self._on_loaded = on_loaded
        self._on_late = on_late
        self._queue: dict[Profile, None] = {}  # in the order of asking
        self._running = 0
        self._generation = 0
        self._timer: asyncio.TimerHandle | None = None

    def want(self, profile: Profile) -> None:
        """Load a profile soon."""
        self._queue[profile] = None
        self._start_soon()

    def distrust(self) -> None:
        """Load again what is being loaded now: it may be from before a gap in the log."""
        self._generation += 1

    def _start_soon(self) -> None:
        at_a_time = 1 if self.down else _AT_A_TIME
        if self._queue and self._timer is None and self._running < at_a_time:
            wait_s = _RETRY_S if self.down else _GATHER_S
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._start)

    def _start(self) -> None:
        self._timer = None
        batch: list[Profile] = []
        while self._queue and len(batch) < _BATCH:
            profile = next(iter(self._queue))
            del self._queue[profile]
            if profile.connections:  # else nobody waits any more; the next one asks again
                batch.append(profile)
        if batch:
            self._running += 1
            self._tasks.start("profiles", self._load(batch))
        self._start_soon()

    async def _load(self, batch: list[Profile]) -> None:
        generation = self._generation
        try:
            snapshots = await self._snapshots(batch)
        except REDIS_ERRORS as error:
            self._failed(batch, error)
        except Exception as error:  # the task's boundary: a bug must not leave anybody waiting
            _log.exception("profiles_failed")
            self._failed(batch, error)
        else:
            self._recovered()
            if generation == self._generation:
                self._hand_out(batch, snapshots)
            else:
                self._queue.update(dict.fromkeys(batch))
        finally:
            self._running -= 1
            self._start_soon()

    async def _snapshots(self, batch: list[Profile]) -> list[Snapshot]:
        """Ask as long as a connection can wait, or once where it is known that Redis is down."""
        keys = [profile.key for profile in batch]
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                try:
                    return await load_profiles(self._redis, keys, self._partitions)
                except REDIS_ERRORS:
                    if self.down:
                        raise
                await asyncio.sleep(_PAUSE_S)

    def _hand_out(self, batch: list[Profile], snapshots: list[Snapshot]) -> None:
        for profile, snapshot in zip(batch, snapshots, strict=True):
            try:
                self._on_loaded(profile, snapshot)
            except Exception:  # one user's must not keep the others from entering
                _log.exception("profile_failed", tenant=profile.key[0], user=profile.key[1])

    def _failed(self, batch: list[Profile], error: Exception) -> None:
        if not self.down:
            _log.warning("profiles_unavailable", error=type(error).__name__)
        self.down = True
        self._queue = {**dict.fromkeys(batch), **self._queue}
        self._on_late(list(self._queue))

    def _recovered(self) -> None:
        if self.down:
            _log.info("profiles_available")
        self.down = False
