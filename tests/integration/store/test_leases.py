"""Leases, and the groups of instances that have none any more."""

from __future__ import annotations

import os
import subprocess
import sys

from redis.asyncio import Redis

from gateway.store import keys
from gateway.store.groups import dead_groups, lags, remove_group
from gateway.store.leases import LEASE_S, Lease, instances
from gateway.store.stream import StreamReader
from tests.support.waiting import wait_until

KEY = keys.instance("a")


class TestLease:
    async def test_it_states_facts_and_ends_by_itself(self, redis: Redis) -> None:
        assert await Lease(redis, "a").hold({"version": "1", "connections": 3}) is None
        facts = (await instances(redis))["a"]
        assert (facts["version"], facts["connections"], facts["pid"]) == ("1", "3", str(os.getpid()))
        assert 0 < await redis.pttl(KEY) <= LEASE_S * 1000

    async def test_renewing_it_replaces_the_facts(self, redis: Redis) -> None:
        lease = Lease(redis, "a")
        await lease.hold({"old": 1})
        await redis.pexpire(KEY, 1_000)
        assert await lease.hold({"new": 2}) is None
        facts = (await instances(redis))["a"]
        assert "old" not in facts
        assert await redis.pttl(KEY) > 20_000

    async def test_another_holder_keeps_it(self, redis: Redis) -> None:
        await _held_by(redis, pid=str(os.getppid()))
        holder = await Lease(redis, "a").hold({})
        assert holder is not None
        assert holder["pid"] == str(os.getppid())
        assert await redis.hget(KEY, "token") == b"other"

    async def test_a_holder_of_another_host_keeps_it(self, redis: Redis) -> None:
        await _held_by(redis, pid=_dead_process(), host="elsewhere")
        assert await Lease(redis, "a").hold({}) is not None

    async def test_a_holder_that_is_dead_is_replaced(self, redis: Redis) -> None:
        await _held_by(redis, pid=_dead_process())
        lease = Lease(redis, "a")
        assert await lease.hold({"mine": 1}) is None
        assert (await instances(redis))["a"]["mine"] == "1"

    async def test_a_holder_that_states_no_process_keeps_it(self, redis: Redis) -> None:
        for pid in ("", "-1", "many"):
            await _held_by(redis, pid=pid)
            assert await Lease(redis, "a").hold({}) is not None

    async def test_only_the_holder_gives_it_back(self, redis: Redis) -> None:
        lease, other = Lease(redis, "a"), Lease(redis, "a")
        await lease.hold({})
        await other.release()
        assert await redis.exists(KEY)
        await lease.release()
        assert not await redis.exists(KEY)
        await lease.release()

    async def test_one_that_has_ended_is_taken_by_the_next(self, redis: Redis) -> None:
        first, second = Lease(redis, "a"), Lease(redis, "a")
        await first.hold({})
        await redis.pexpire(KEY, 1)
        await wait_until(lambda: _gone(redis))
        assert await second.hold({}) is None
        await redis.hset(KEY, "host", "elsewhere")
        assert await first.hold({}) is not None


async def _gone(redis: Redis) -> bool:
    return not await redis.exists(KEY)


async def _held_by(redis: Redis, *, pid: str, host: str | None = None) -> None:
    """Let another process hold the lease."""
    ours = Lease(redis, "probe")
    await ours.hold({})
    stated = {"token": "other", "pid": pid, "host": host or (await instances(redis))["probe"]["host"]}
    await redis.delete(KEY)
    await redis.hset(KEY, mapping=stated)


def _dead_process() -> str:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return str(process.pid)


class TestGroups:
    async def test_the_dead_are_those_without_lease_that_have_not_read_for_long(self, redis: Redis) -> None:
        for instance_id in ("leased", "busy", "idle"):
            await _reads(redis, instance_id)
        await redis.xgroup_create(keys.stream(0), "gw:never-read", id="0")
        await redis.xgroup_create(keys.stream(0), "projector", id="0")
        await Lease(redis, "leased").hold({})
        assert await dead_groups(redis, 0, 3_600) == ["never-read"]

        async def all_idle() -> bool:
            return set(await dead_groups(redis, 0, 0.5)) == {"never-read", "busy", "idle"}

        async def all_but_one() -> bool:  # who has read just now; should we have paused since, it reads again
            await redis.xadd(keys.stream(0), {"n": 1})  # Redis 7.0 does not count a read that brought nothing
            await _reads(redis, "busy")
            return set(await dead_groups(redis, 0, 0.5)) == {"never-read", "idle"}

        await wait_until(all_idle)
        await wait_until(all_but_one)

    async def test_removed_is_removed(self, redis: Redis) -> None:
        await _reads(redis, "a")
        await _reads(redis, "b")
        await remove_group(redis, 0, "a")
        await remove_group(redis, 0, "a")
        assert set(await lags(redis, 0)) == {"b"}

    async def test_lags_are_the_instances(self, redis: Redis) -> None:
        for number in (1, 2, 3):
            await redis.xadd(keys.stream(0), {"n": number}, id=f"{number}-0")
        await _reads(redis, "a", count=1)
        await redis.xgroup_create(keys.stream(0), "projector", id="0")
        assert await lags(redis, 0) == {"a": 2}


async def _reads(redis: Redis, instance_id: str, count: int = 10) -> None:
    reader = StreamReader(redis, 0, instance_id, timeout_s=30)
    await reader.connect()
    await reader.look()
    await reader.set_position((0, 0), 0)
    await reader.read_group(count, 1)
    await reader.disconnect()
