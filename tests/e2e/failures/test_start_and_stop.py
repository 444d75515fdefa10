"""Starting without a Redis that can be used, and stopping at any time."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import pytest

from gateway.store import keys
from publisher.keys import stream
from tests.e2e.failures.scene import unready_with
from tests.support.clients import connected
from tests.support.gateway import GatewayProcess
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

NOBODY = "redis://127.0.0.1:1"  # tcpmux; a free port might be another test's a moment later


@pytest.fixture
async def proxy(server: RedisServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as proxy:
        yield proxy


async def _fails_to_start(url: str, *words: str, **settings: object) -> None:
    """Start a gateway, and see it end soon, with one clear line."""
    gateway = GatewayProcess(url, **settings)
    try:
        began = time.monotonic()
        gateway.launch()
        assert await gateway.wait() == 1
        assert time.monotonic() - began < 40
        lines = [line for line in gateway.log.splitlines() if line.startswith("gateway: ")]
        assert len(lines) == 1, gateway.log
        assert all(word in lines[0] for word in words), lines[0]
        assert "Traceback" not in gateway.log
    finally:
        await gateway.remove()


async def test_without_redis_the_start_fails_with_one_line() -> None:
    await _fails_to_start(NOBODY, "redis.url", "ConnectionError")


async def test_a_server_that_never_answers_fails_the_start(proxy: Proxy) -> None:
    proxy.silence()
    await _fails_to_start(proxy.url, "redis.url", "TimeoutError")


async def test_a_wrong_password_fails_the_start() -> None:
    with RedisServer() as server:
        url = server.url.replace("//", "//:wrong@")
        with server.client() as client:
            client.config_set("requirepass", "right")
        await _fails_to_start(url, "redis.url", "AuthenticationError")


async def test_a_read_only_server_fails_the_start(server: RedisServer) -> None:
    with server.client() as client:
        client.replicaof("127.0.0.1", 1)
    await _fails_to_start(server.url, "redis.url", "ReadOnlyError")


async def test_a_log_of_the_wrong_type_fails_the_start(server: RedisServer) -> None:
    with server.client() as client:
        client.set(stream(0), "not a stream")
    await _fails_to_start(server.url, "redis.url", "the log cannot be read", "WRONGTYPE")


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_evicts_is_refused(policy: str) -> None:
    with RedisServer(maxmemory_policy=policy) as server:
        await _fails_to_start(server.url, "redis.allow_eviction", policy, "noeviction")


async def test_a_server_that_evicts_is_accepted_with_a_warning_where_that_is_set() -> None:
    with RedisServer(maxmemory_policy="allkeys-lru") as server:
        async with GatewayProcess(server.url, redis__allow_eviction=True) as gateway:
            assert [line["policy"] for line in gateway.log_events("log_may_be_evicted")] == ["allkeys-lru"]


async def test_a_start_that_waits_for_redis_can_be_stopped(proxy: Proxy) -> None:
    proxy.hold()
    gateway = GatewayProcess(proxy.url, redis__timeout_s=60)
    try:
        gateway.launch()
        await wait_until(lambda: proxy.connections)
        began = time.monotonic()
        assert await gateway.terminate() == 0
        assert time.monotonic() - began < 20
    finally:
        await gateway.remove()


async def test_a_start_that_is_stopped_leaves_no_lease(server: RedisServer, proxy: Proxy) -> None:
    gateway = GatewayProcess(proxy.url, instance__id="brief")
    try:
        with server.client() as client:
            gateway.launch()
            await wait_until(lambda: client.exists(keys.instance("brief")))
            assert await gateway.terminate() == 0
            assert not client.exists(keys.instance("brief"))
        assert "Traceback" not in gateway.log
    finally:
        await gateway.remove()


@pytest.mark.parametrize("way", ["killed", "silent"])
async def test_a_gateway_without_redis_stops_in_good_order(server: RedisServer, proxy: Proxy, way: str) -> None:
    async with GatewayProcess(proxy.url, redis__timeout_s=3) as gateway, connected(gateway) as alice:
        await alice.send("join_group", {"group_id": "ops"})
        server.kill() if way == "killed" else proxy.silence()
        sending = await alice.post("send_message", {"group_id": "ops", "content": "anybody?"})
        await alice.reply(sending)
        await unready_with(gateway, "partition 0")
        gateway.signal(signal.SIGTERM)
        began = time.monotonic()
        assert (await alice.closed())[0] == 1012
        assert await gateway.wait() == 0
        assert time.monotonic() - began < 30
        assert "Traceback" not in gateway.log


async def test_the_second_signal_ends_it_at_once(proxy: Proxy) -> None:
    async with GatewayProcess(proxy.url, shutdown__drain_s=60) as gateway:
        clients = [connected(gateway, str(number)) for number in range(70)]  # two steps of the drain
        await asyncio.gather(*(client.__aenter__() for client in clients))
        gateway.signal(signal.SIGTERM)
        await wait_until(lambda: gateway.log_events("stopping"))
        began = time.monotonic()
        assert await gateway.terminate() == 1
        assert time.monotonic() - began < 20
        await asyncio.gather(*(client.__aexit__(None, None, None) for client in clients))
