"""What lies between the gateway and Redis fails: silence, cuts in the midst of a reply, slowness."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway import readiness
from gateway.store.connection import connect
from publisher import Publisher
from tests.e2e.failures.scene import Ticker, compared, hurry, ready, resyncs, ticks, unready_with
from tests.support.clients import connected, settled
from tests.support.gateway import GatewayProcess, running_gateway
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


@pytest.fixture
async def proxy(server: RedisServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as proxy:
        yield proxy


async def test_a_half_open_connection_is_given_up_in_time(
    proxy: Proxy, tide: Publisher, ticker: Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the default time limits; but it is called stale long before it is given up, or that could be missed."""
    monkeypatch.setattr(readiness, "_STALE_AFTER_S", 1.0)
    async with running_gateway(proxy.url) as gateway, connected(gateway) as alice:
        await alice.send("join_group", {"group_id": "ops"})
        await ticker.tick(10)
        await settled(tide, alice)
        proxy.silence()
        began = time.monotonic()
        sending = await alice.post("send_message", {"group_id": "ops", "content": "anybody?"})
        await unready_with(gateway, "no read for over 1 s")
        await ticker.tick(10)
        reply = await alice.reply(sending)
        assert (reply.type, reply.data["code"]) == ("error", 503)
        await unready_with(gateway, "TimeoutError")
        assert time.monotonic() - began < 40
        proxy.restore()
        await wait_until(lambda: len(ticks(alice)) == 20)
        await ready(gateway)
        await compared(gateway)
        ticker.check(alice)
        assert resyncs(alice) == []


async def test_a_frozen_server_is_waited_for(server: RedisServer, ticker: Ticker) -> None:
    async with running_gateway(server.url) as gateway, connected(gateway) as alice:
        hurry(gateway, 1)
        await ticker.tick(10)
        await wait_until(lambda: len(ticks(alice)) == 10)
        server.pause()
        await unready_with(gateway, "TimeoutError")
        server.resume()
        await ticker.reaches(alice)
        await ready(gateway)
        ticker.check(alice)
        assert resyncs(alice) == []


@pytest.mark.usefixtures("quick_looks")
async def test_replies_that_are_cut_anywhere_cost_nothing(proxy: Proxy, tide: Publisher, ticker: Ticker) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    async with running_gateway(proxy.url, log__read_count=50) as gateway, connected(gateway) as alice:
        async with ticker.going_on(0):
            for _ in range(12):
                proxy.cut_after(rng.randrange(1, 20_000))
                await wait_until(lambda: not proxy.cut_is_due)
        await settled(tide, alice)
        await compared(gateway)
        ticker.check(alice)
        assert resyncs(alice) == []


async def test_connections_that_end_under_uvloop_cost_nothing(proxy: Proxy, tide: Publisher, ticker: Ticker) -> None:
    """Its transports treat writes after the end in their own way."""
    rng = random.Random(1)
    async with GatewayProcess(proxy.url) as gateway, connected(gateway) as alice:
        async with ticker.going_on(0):
            for _ in range(6):
                proxy.cut_after(rng.randrange(1, 2_000))
                await wait_until(lambda: not proxy.cut_is_due)
                proxy.cut()
        await ready(gateway)
        await settled(tide, alice)
        ticker.check(alice)
        assert resyncs(alice) == []


async def test_a_slow_network_delays_and_loses_nothing(proxy: Proxy, tide: Publisher, ticker: Ticker) -> None:
    proxy.delay_s = 0.2
    async with running_gateway(proxy.url) as gateway, connected(gateway) as alice:
        await ticker.tick(100)
        await settled(tide, alice)
        await ready(gateway)
        ticker.check(alice)
        assert resyncs(alice) == []


async def test_a_reply_that_takes_too_long_is_asked_for_in_smaller_parts(
    proxy: Proxy, tide: Publisher, ticker: Ticker
) -> None:
    """2 MB that have piled up, over a network that passes less than that within the time limit."""
    async with running_gateway(proxy.url, log__read_count=32) as gateway, connected(gateway) as alice:
        hurry(gateway, 0.5)
        proxy.refuse()
        await tide.publish_many([{"event": "filling", "data": "x" * 100_000, "to": "user:nobody"}] * 20)
        await ticker.tick()
        proxy.delay_s = 0.06  # per 64 KB: two seconds for all of it, and the limit is 0.9
        proxy.restore()
        await wait_until(lambda: ticks(alice) == [1], 60)
        assert resyncs(alice) == []


async def test_a_cancelled_call_leaves_no_reply_to_the_next_one(proxy: Proxy, server: RedisServer) -> None:
    client: Redis = connect(proxy.url, 5)
    try:
        with server.client() as direct:
            for number in range(20):
                direct.set(f"number:{number}", number)
        proxy.delay_s = 0.02
        for number in range(0, 20, 2):
            late = asyncio.create_task(client.get(f"number:{number}"))
            await asyncio.sleep(0)
            await asyncio.wait({late}, timeout=0.01)
            late.cancel()
            await asyncio.gather(late, return_exceptions=True)
            assert await client.get(f"number:{number + 1}") == b"%d" % (number + 1)
    finally:
        await client.aclose()


async def test_commands_of_clients_that_leave_do_not_mix_up_replies(proxy: Proxy, tide: Publisher) -> None:
    """Clients send and go, so that their publishes are given up under way, while another one's are acknowledged."""
    proxy.delay_s = 0.01
    async with running_gateway(proxy.url) as gateway, connected(gateway, "7") as alice:
        await alice.send("join_group", {"group_id": "ops"})
        acked = []
        for number in range(20):
            async with connected(gateway, "8") as bob:
                await bob.send("join_group", {"group_id": "ops"})
                await bob.post("send_message", {"group_id": "ops", "content": "bye"})
            acked.append((await alice.send("send_message", {"group_id": "ops", "content": number})).data["id"])
        async with connected(gateway, "9") as carol:
            await carol.send("join_group", {"group_id": "ops", "since": alice.welcome["cursor"]})
            await settled(tide, carol)
            sent = {frame.data["content"]: frame.id for frame in carol.pushes if frame.data["from"] == "7"}
        assert [sent[number] for number in range(20)] == acked
