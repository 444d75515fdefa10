"""The end of a gateway, the id that it held, and starting where another one is."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import websockets

from gateway import server
from gateway.app import Application
from gateway.errors import ConfigError
from gateway.settings import load
from publisher import Publisher
from tests.integration.gateway.raw_socket import raw_socket
from tests.support.clients import connected, opened, settled
from tests.support.frames import upgrade
from tests.support.gateway import SECRET, GatewayProcess, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


async def test_clients_are_told_to_go_and_closed_with_1012(redis_url: str, tide: Publisher) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with running_gateway(redis_url) as leaving:
            clients = [await stack.enter_async_context(connected(leaving, str(number))) for number in range(5)]
            waiting = await stack.enter_async_context(opened(leaving))
        for client in clients:
            assert await client.closed() == (1012, "the gateway restarts")
            assert 0 <= client.of_type("going_away")[0].data["reconnect_in_ms"] <= 1_000
        assert (await waiting.closed())[0] == 1012
    async with running_gateway(redis_url) as gateway, connected(gateway, "0", cursor=clients[0].cursor) as back:
        await tide.publish("e", 1, to="user:0")
        await settled(tide, back)
        assert back.events == [("e", 1)]


async def test_whose_handshake_is_under_way_is_turned_away(redis_url: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with running_gateway(redis_url) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            request = upgrade(f"/ws?token={gateway.token('late')}")
            writer.write(request[:7])
            client = await stack.enter_async_context(connected(gateway))  # accepted after that one

            async def go_on() -> bytes:
                await client.closed()
                writer.write(request[7:])
                return await reader.readline()

            answered = asyncio.create_task(go_on())
        assert (await answered).startswith(b"HTTP/1.1 503 ")  # else nobody would tell it to go
        writer.close()
        assert gateway.services.metrics.handshakes_refused == {"leaving": 1}


@pytest.mark.parametrize("count", [10, 130])
async def test_clients_are_sent_away_one_after_the_other(redis_url: str, count: int) -> None:
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        async with running_gateway(redis_url, shutdown__drain_s=0.5) as gateway:
            clients = [await stack.enter_async_context(connected(gateway, str(n))) for n in range(count)]
            began = loop.time()
        assert 0.4 <= loop.time() - began <= 20
        for client in clients:
            assert (await client.closed())[0] == 1012
        assert len({client.of_type("going_away")[0].data["reconnect_in_ms"] for client in clients}) > count / 3


async def test_what_was_not_delivered_before_the_end_comes_after_it(redis_url: str, tide: Publisher) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with running_gateway(redis_url) as gateway:
            client = await stack.enter_async_context(connected(gateway, "42"))
            await tide.publish_many([{"event": "e", "data": n, "to": "user:42"} for n in range(500)])
            await client.received(1)
        assert (await client.closed())[0] == 1012
    had = [data for _, data in client.events]
    async with running_gateway(redis_url) as gateway, connected(gateway, "42", cursor=client.cursor) as back:
        await settled(tide, back)
        assert had + [data for _, data in back.events] == list(range(500))


async def test_a_client_that_does_not_answer_does_not_hold_up_the_end(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CLOSING_TIMEOUT_S", 0.5)
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        async with running_gateway(redis_url) as gateway:
            mute = await stack.enter_async_context(raw_socket(gateway, gateway.token("42")))
            began = loop.time()
        assert loop.time() - began < 30
        await mute.read_until_end()
        assert mute.close_code == 1012


async def test_nobody_is_let_in_once_it_stops(redis_url: str) -> None:
    async with running_gateway(redis_url) as gateway:
        pass
    with pytest.raises((OSError, websockets.InvalidHandshake)):
        async with connected(gateway):
            pass


async def test_the_lease_is_held_while_it_runs_and_given_back(redis_url: str, redis_server: RedisServer) -> None:
    with redis_server.client() as redis:
        async with running_gateway(redis_url, instance__id="one"):
            facts = redis.hgetall("tg:instance:one")
            assert {"version", "address", "pid", "host", "token"} <= facts.keys()
            assert 0 < redis.pttl("tg:instance:one") <= 30_000
        assert not redis.exists("tg:instance:one")


async def test_a_second_process_with_the_same_id_refuses_to_start(redis_url: str) -> None:
    async with GatewayProcess(redis_url, instance__id="one") as first:
        with pytest.raises(ConfigError, match="'one' is in use by process") as refused:
            async with running_gateway(redis_url, instance__id="one"):
                pass
        assert refused.value.setting == "instance.id"
        second = GatewayProcess(redis_url, instance__id="one")
        try:
            second.launch()
            assert await second.wait() == 1
            assert f"gateway: instance.id: 'one' is in use by process {first.pid} on " in second.log
        finally:
            await second.remove()
        assert (await first.ready())[0] == 200  # and is none the worse
        assert await first.terminate() == 0
    async with running_gateway(redis_url, instance__id="one"):  # free at once
        pass


async def test_a_killed_instance_can_be_started_again_at_once_under_its_id(redis_url: str) -> None:
    async with GatewayProcess(redis_url, instance__id="one") as gateway:
        gateway.kill()
        await gateway.start()
        assert (await gateway.ready())[0] == 200


async def test_what_failed_half_way_through_the_start_leaves_nothing(redis_url: str, redis_server: RedisServer) -> None:
    async with running_gateway(redis_url) as gateway:
        settings = load(
            auth={"secret": SECRET},
            redis={"url": redis_url},
            instance={"id": "two"},
            listen={"host": "127.0.0.1", "port": gateway.port},  # taken
        )
        with pytest.raises(ConfigError, match=r"listen\.port"):
            async with Application(settings):
                pass
    with redis_server.client() as redis:
        assert not redis.exists("tg:instance:two")

        def connections() -> int:
            return len(redis.client_list())

        await wait_until(lambda: connections() == 1)


async def test_a_server_that_evicts_keys_is_refused() -> None:
    with RedisServer(maxmemory="100mb", maxmemory_policy="allkeys-lru") as server:
        with pytest.raises(ConfigError, match="allkeys-lru"):
            async with running_gateway(server.url):
                pass
        async with running_gateway(server.url, redis__allow_eviction=True):
            pass


async def test_a_redis_that_is_not_there_is_named_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"redis\.url"):
        async with running_gateway("redis://127.0.0.1:1/0", redis__timeout_s=1):
            pass
