"""/ready: the canary, the limit of lag, and why it says no."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time

from redis.asyncio import Redis

from gateway.canary import Canary
from gateway.metrics import Metrics
from gateway.readiness import DRAINING
from publisher import Publisher
from publisher.sync import Publisher as BlockingPublisher
from tests.support.clients import connected, settled
from tests.support.gateway import GatewayProcess, RunningGateway, http_get_json, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

OFTEN = {"ready__canary_interval_s": 0.05}


def returned(gateway: RunningGateway) -> int:
    """How many canaries have come back."""
    return gateway.application.parts.canary.round_trips.count


def says(gateway: RunningGateway, words: str) -> bool:
    return any(words in reason for reason in gateway.application.unready())


async def test_canaries_come_back_to_whom_they_belong_and_no_client_sees_one(redis_url: str, tide: Publisher) -> None:
    async with running_gateway(redis_url, **OFTEN) as one, running_gateway(redis_url, **OFTEN) as other:
        async with connected(one, "1") as client:
            await client.send("subscribe", {"topic": "order-0"})  # the address of the canaries
            await wait_until(lambda: returned(one) >= 3 and returned(other) >= 3)
            before = client.cursor
            await settled(tide, client)
            assert client.pushes == []
            assert client.cursor != before
            assert one.application.unready() == other.application.unready() == []
        for gateway in (one, other):
            assert gateway.services.metrics.poison == 0
    async with Redis.from_url(redis_url) as redis:
        keys = [key async for key in redis.scan_iter("*:key:*")]
    assert len(keys) == 1  # that of the marker: Redis has none of a canary to remember


async def test_a_client_resumes_from_between_two_canaries(redis_url: str, tide: Publisher) -> None:
    async with running_gateway(redis_url, **OFTEN) as gateway:
        async with connected(gateway, "1") as client:
            seen = returned(gateway)
            await wait_until(lambda: returned(gateway) > seen)
            cursor = (await client.send("ping")).data["cursor"]
        seen = returned(gateway)
        await wait_until(lambda: returned(gateway) > seen)
        await tide.publish("missed", 1, to="user:1")
        async with connected(gateway, "1", cursor=cursor) as client:
            await client.received(1)
            await settled(tide, client)
            assert client.events == [("missed", 1)]
            assert client.of_type("resync") == []


async def test_each_partition_has_its_canary(redis_url: str) -> None:
    async with running_gateway(redis_url, log__partitions=3, **OFTEN) as gateway:
        await wait_until(lambda: returned(gateway) >= 9)
        log = gateway.services.log
        await wait_until(lambda: {log.entry(seq).partition for seq in range(1, log.head + 1)} == {0, 1, 2})


async def test_what_does_not_come_back_is_said(redis_url: str) -> None:
    """Nobody reads: it is published, and that is all."""
    metrics = Metrics()
    async with Publisher(redis_url) as publisher:
        canary = Canary(publisher, metrics, secrets.token_hex(4), partitions=1, interval_s=0.01, timeout_s=0.1)
        task = asyncio.create_task(canary.run())
        try:
            await wait_until(lambda: [*canary.problems(time.monotonic())])
            (problem,) = canary.problems(time.monotonic())
        finally:
            task.cancel()
    assert problem.startswith("partition 0: what is published does not arrive")


async def test_a_server_that_takes_no_writes_is_said_to_and_noticed_when_it_does() -> None:
    with RedisServer() as server:
        redis = Redis.from_url(server.url)
        async with running_gateway(server.url, **OFTEN) as gateway:
            await wait_until(lambda: returned(gateway) > 0)
            await redis.config_set("min-replicas-to-write", 1)
            await wait_until(lambda: says(gateway, "partition 0: publishing fails"))
            await wait_until(lambda: says(gateway, "partition 0: Redis fails with NOREPLICAS"))
            errors = gateway.services.metrics.redis_errors  # unknown, where a busy machine kept an answer waiting
            assert errors["PublishUnavailable"] + errors["PublishUnknown"] > 0
            code, said = await http_get_json(gateway.port, "/ready")
            assert (code, said["ready"]) == (503, False)
            await redis.config_set("min-replicas-to-write", 0)
            await wait_until(lambda: gateway.application.unready() == [])
        await redis.aclose()


async def test_a_reading_that_is_behind_is_said_with_how_far(redis_url: str) -> None:
    slow = {"log__read_count": 1, "ready__max_lag_s": 0.5}  # an entry a time: it cannot catch up at once
    async with running_gateway(redis_url, **slow) as gateway:

        async def behind() -> bool:
            with BlockingPublisher(redis_url) as tide:
                tide.publish_many([{"event": "e", "data": n, "to": "all"} for n in range(200)])
            time.sleep(1)  # the gateway's own loop stands still, and with it the reading
            look = gateway.application.parts.consumers[0].health.looked_at
            await wait_until(lambda: gateway.application.parts.consumers[0].health.looked_at != look)
            return says(gateway, "behind the log, over the limit of 0.5 s")

        await wait_until(behind, 30)  # once more, where a look was under way: the next one may be too late
        assert gateway.application.parts.consumers[0].health.lag > 0
        await wait_until(lambda: gateway.application.unready() == [])


async def test_nothing_to_read_is_no_lag(gateway: RunningGateway, tide: Publisher) -> None:
    """However long ago the last entry was."""
    await tide.publish("e", 1, to="all")
    health = gateway.application.parts.consumers[0].health
    before = health.looked_at
    await wait_until(lambda: health.looked_at > before + 1)
    assert (health.lag, health.lag_s) == (0, 0.0)


async def test_draining_is_said_before_anybody_is_sent_away(redis_url: str) -> None:
    async with GatewayProcess(redis_url, shutdown__notice_s=60) as gateway, connected(gateway, "1") as client:
        gateway.signal(signal.SIGTERM)

        async def draining() -> bool:
            return await gateway.ready() == (503, {"ready": False, "reasons": [DRAINING]})

        await wait_until(draining)
        assert (await client.send("ping")).type == "pong"
        gateway.signal(signal.SIGTERM)
        await gateway.wait()
