"""Instances die, are doubled, and leave things behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway import janitor as janitor_module
from gateway.janitor import Janitor
from gateway.revocations import Revocations
from gateway.store import keys
from gateway.store.connection import connect
from gateway.store.leases import Lease
from publisher import Publisher
from publisher.keys import stream
from tests.e2e.failures.scene import Ticker, ready, ticks
from tests.support.clients import connected, settled
from tests.support.gateway import GatewayProcess, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

STREAM = stream(0)


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    client = connect(server.url, 5)
    yield client
    await client.aclose()


async def test_a_second_process_with_the_same_id_does_not_start(server: RedisServer, tide: Publisher) -> None:
    async with GatewayProcess(server.url, instance__id="twin") as first, connected(first) as alice:
        second = GatewayProcess(server.url, instance__id="twin")
        try:
            second.launch()
            assert await second.wait() == 1
            last = second.log.strip().splitlines()[-1]
            assert last.startswith("gateway: instance.id: 'twin' is in use by process")
            assert str(first.pid) in last
            assert "Traceback" not in second.log
        finally:
            await second.remove()
        ticker = Ticker(tide)
        await ticker.tick(3)
        await settled(tide, alice)
        ticker.check(alice)


async def test_a_killed_instance_starts_again_at_once_under_its_id(server: RedisServer, tide: Publisher) -> None:
    async with GatewayProcess(server.url, instance__id="phoenix") as gateway:
        async with connected(gateway) as alice:
            ticker = Ticker(tide)
            await ticker.tick(5)
            await settled(tide, alice)
            cursor = alice.cursor
            gateway.kill()
        await ticker.tick(5)
        with server.client() as client:
            assert client.persist(keys.instance("phoenix"))  # not when the lease ends: it does not
        await gateway.start()
        async with connected(gateway, cursor=cursor) as alice:
            await wait_until(lambda: ticks(alice) == [6, 7, 8, 9, 10])


async def test_the_id_of_an_instance_of_another_host_is_free_when_its_lease_ends(server: RedisServer) -> None:
    with server.client() as client:
        client.hset(keys.instance("moved"), mapping={"token": "x", "pid": "1", "host": "elsewhere/12345678"})
        client.expire(keys.instance("moved"), 600)
    gateway = GatewayProcess(server.url, instance__id="moved")
    try:
        gateway.launch()
        assert await gateway.wait() == 1
        assert "is in use by process 1 on elsewhere" in gateway.log
        with server.client() as client:
            client.pexpire(keys.instance("moved"), 1)
            await wait_until(lambda: not client.exists(keys.instance("moved")))
        await gateway.start()
    finally:
        await gateway.remove()


async def test_an_instance_whose_id_was_taken_by_another_ends(server: RedisServer) -> None:
    """It was frozen for longer than its lease, say."""
    async with GatewayProcess(server.url, instance__id="frozen", log__retention_s=4) as gateway:
        with server.client() as client:
            client.hset(keys.instance("frozen"), mapping={"token": "x", "pid": "1", "host": "elsewhere/12345678"})
            client.persist(keys.instance("frozen"))
        assert await gateway.wait() == 1
        assert gateway.log.strip().splitlines()[-1].startswith("gateway: process 1 on elsewhere/12345678 has taken")
        assert "Traceback" not in gateway.log
        with server.client() as client:
            assert client.hget(keys.instance("frozen"), "token") == "x"


async def test_a_lease_is_renewed_after_redis_forgot_it(server: RedisServer) -> None:
    async with running_gateway(server.url, log__retention_s=4) as gateway:
        with server.client() as client:
            client.flushall()
            await wait_until(lambda: client.exists(keys.instance(gateway.instance_id)))
            assert 0 < client.ttl(keys.instance(gateway.instance_id)) <= 30


async def test_the_janitor_removes_the_groups_of_instances_that_are_gone(
    server: RedisServer, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(janitor_module, "_GROUPS_EVERY_S", 0.0)
    async with running_gateway(server.url) as dead, running_gateway(server.url) as live:
        groups = {f"gw:{dead.instance_id}", f"gw:{live.instance_id}"}
        await redis.xgroup_create(STREAM, "projector")
        await wait_until(lambda: _groups(server) == {*groups, "projector"})
    # One has gone in good order, the other has come back.
    async with running_gateway(server.url, instance__id=live.instance_id), _janitor(redis, gone_for_s=0.5):
        await wait_until(lambda: _groups(server) == {f"gw:{live.instance_id}", "projector"})


async def test_the_janitor_leaves_the_group_of_an_instance_that_may_come_back(
    server: RedisServer, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(janitor_module, "_GROUPS_EVERY_S", 0.0)
    async with running_gateway(server.url) as gone:
        pass
    async with _janitor(redis, gone_for_s=3_600) as janitor:
        lease = keys.instance("janitor")
        for _ in range(2):  # each round renews the lease first
            with server.client() as client:
                client.delete(lease)
                await wait_until(lambda client=client: client.exists(lease))
        assert not janitor.done()
    assert _groups(server) == {f"gw:{gone.instance_id}"}


@contextlib.asynccontextmanager
async def _janitor(redis: Redis, gone_for_s: float) -> AsyncIterator[asyncio.Task[None]]:
    janitor = Janitor(
        redis,
        Lease(redis, "janitor"),
        partitions=1,
        retention_s=4,
        revocations=Revocations(),
        facts=dict,
        gone_for_s=gone_for_s,
    )
    task = asyncio.create_task(janitor.run(), name="janitor")
    try:
        yield task
    finally:
        while not task.done():  # again until it works: see services.Tasks.cancel
            task.cancel()
            await asyncio.wait({task}, timeout=0.05)


def _groups(server: RedisServer) -> set[str]:
    with server.client() as client:
        return {group["name"] for group in client.xinfo_groups(STREAM)}


async def test_a_dead_instance_does_not_keep_the_others_from_being_ready(server: RedisServer) -> None:
    async with GatewayProcess(server.url) as one, GatewayProcess(server.url) as other:
        one.kill()
        await ready(other)
