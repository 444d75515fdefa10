"""Redis is killed and comes back: with all it had, with less, or as a replica that had not yet got everything."""

from __future__ import annotations

import asyncio

import pytest

from publisher import Publisher
from publisher.cursor import Cursor
from publisher.keys import stream
from tests.e2e.failures.scene import EVENT, PATIENCE_S, Ticker, compared, ready, resyncs, ticks, told, unready_with
from tests.support.clients import Client, connected, settled
from tests.support.gateway import GatewayProcess, RunningGateway, running_gateway
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_delivery_goes_on_after_redis_was_killed(fsync: str) -> None:
    with RedisServer(appendonly="yes", appendfsync=fsync) as server:
        async with (
            GatewayProcess(server.url) as gateway,
            Publisher(server.url, timeout_s=PATIENCE_S) as tide,
            connected(gateway) as alice,
            connected(gateway) as bob,
        ):
            await bob.send("join_group", {"group_id": "ops"})
            ticker = Ticker(tide)
            await ticker.tick(30)
            await settled(tide, alice)
            cursor = alice.pushes[9].id
            async with ticker.going_on():
                await wait_until(lambda: len(ticks(alice)) > 60)
                server.kill()
                await unready_with(gateway, "ConnectionError")

                # Sockets stay open, what is in memory is replayed, and what needs Redis is refused for now.
                refusal = await bob.send("send_message", {"group_id": "ops", "content": "anybody?"})
                assert (refusal.type, refusal.data["code"]) == ("error", 503)
                assert refusal.data["retry_after_ms"] > 0
                async with connected(gateway, cursor=cursor) as carol:
                    await wait_until(lambda: ticks(carol) == ticks(alice)[10:])
                    assert resyncs(carol) == []

                server.start()
                lost = set(ticker.promised) - _stored(server)
                before = len(ticks(alice))
                await wait_until(lambda: len(ticks(alice)) > before)
                await ready(gateway)
            await settled(tide, alice, bob)
            if lost and fsync == "everysec":
                return  # a write waits while the one before it is being synced: the log came back shorter
            for client in (alice, bob):
                ticker.check(client)
                assert resyncs(client) == []
            reached = gateway.log_events("log_reached")
            lost = gateway.log_events("log_unreachable")
            assert 1 <= len(lost) <= 4, lost  # the kinds of trouble, not the tries
            assert 1 <= len(reached) <= len(lost)  # a busy machine may keep an answer waiting for too long


def _stored(server: RedisServer) -> set[int]:
    """Return the numbers of the ticks that the server has."""
    with server.client() as client:
        return {int(fields["d"]) for _, fields in client.xrange(stream(0)) if fields["e"] == EVENT}


async def test_a_killed_redis_is_noticed_by_every_instance_and_serves_them_all_again(server: RedisServer) -> None:
    async with (
        GatewayProcess(server.url) as one,
        GatewayProcess(server.url) as other,
        Publisher(server.url, timeout_s=PATIENCE_S) as tide,
        connected(one) as alice,
        connected(other) as bob,
    ):
        ticker = Ticker(tide)
        async with ticker.going_on():
            for _ in range(2):
                server.kill()
                await asyncio.gather(unready_with(one, "ConnectionError"), unready_with(other, "ConnectionError"))
                server.start()
                await asyncio.gather(ready(one), ready(other))
        await settled(tide, alice, bob)
        ticker.check(alice)
        ticker.check(bob)
        assert ticks(alice) == ticks(bob)


@pytest.mark.usefixtures("quick_looks")
async def test_a_log_that_came_back_shorter_is_another_log() -> None:
    with RedisServer() as server:
        async with (
            running_gateway(server.url) as one,
            running_gateway(server.url) as other,
            Publisher(server.url, timeout_s=PATIENCE_S) as tide,
            connected(one) as alice,
            connected(other) as bob,
        ):
            ticker = Ticker(tide)
            await ticker.tick(10)
            with server.client() as client:
                client.save()
            await ticker.tick(10)
            await settled(tide, alice, bob)
            old = alice.cursor
            server.kill()
            server.start()  # with the first ten
            await told(alice, bob, reason="epoch")
            await _goes_on_in_one_new_epoch(ticker, (one, other), (alice, bob), old)


@pytest.mark.usefixtures("quick_looks")
async def test_a_promoted_replica_that_had_not_got_everything_is_another_log() -> None:
    with RedisServer(repl_diskless_sync_delay=0) as master, RedisServer() as replica:
        async with (
            Proxy(master.port) as proxy,
            running_gateway(proxy.url) as one,
            running_gateway(proxy.url) as other,
            Publisher(proxy.url, timeout_s=PATIENCE_S) as tide,
            connected(one) as alice,
            connected(other) as bob,
        ):
            ticker = Ticker(tide)
            await ticker.tick(10)
            with replica.client() as client:
                client.replicaof("127.0.0.1", master.port)
                await wait_until(lambda: client.exists(stream(0)) and client.xlen(stream(0)) == 10)
                client.replicaof("NO", "ONE")
            await ticker.tick(10)
            await settled(tide, alice, bob)
            old = alice.cursor
            proxy.target_port = replica.port
            proxy.cut()
            await told(alice, bob, reason="epoch")
            await _goes_on_in_one_new_epoch(ticker, (one, other), (alice, bob), old)


@pytest.mark.usefixtures("quick_looks")
async def test_a_shorter_log_is_noticed_although_it_has_grown_again() -> None:
    """New entries came before the first look: the last id alone shows nothing."""
    with RedisServer() as server:
        async with (
            Proxy(server.port) as proxy,
            running_gateway(proxy.url) as gateway,
            Publisher(server.url, timeout_s=PATIENCE_S) as tide,
            connected(gateway) as alice,
        ):
            ticker = Ticker(tide)
            await ticker.tick(10)
            with server.client() as client:
                client.save()
            await ticker.tick(5)
            await settled(tide, alice)
            proxy.refuse()
            server.kill()
            server.start()
            await ticker.tick(20)
            proxy.restore()
            await told(alice, reason="epoch")
            await compared(gateway)
            assert len(resyncs(alice)) == 1
            await ticker.reaches(alice)


async def _goes_on_in_one_new_epoch(
    ticker: Ticker, gateways: tuple[RunningGateway, ...], clients: tuple[Client, ...], old: str
) -> None:
    """Events flow again; a cursor of the log that is gone gets a `resync`, one of the new log does not."""
    epochs = {gateway.services.log.partitions[0].epoch for gateway in gateways}
    assert len(epochs) == 1
    assert epochs != {Cursor.parse(old).epoch}
    number = await ticker.tick()
    for client in clients:
        await wait_until(lambda client=client: ticks(client)[-1] == number)
    cursor = clients[0].cursor
    last = await ticker.tick()
    for gateway in gateways:
        async with connected(gateway, cursor=old) as stale, connected(gateway, cursor=cursor) as fresh:
            await told(stale, reason="epoch")
            await wait_until(lambda fresh=fresh: ticks(fresh) == [last])
            assert resyncs(fresh) == []
    await compared(*gateways)
    assert [len(resyncs(client)) for client in clients] == [1] * len(clients)
