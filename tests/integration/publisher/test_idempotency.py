"""Idempotency: one key, one entry."""

from __future__ import annotations

import asyncio
import sys

from tests.support.redis_server import RedisServer


async def test_the_same_key_returns_the_first_id(url, open_publisher, entries):
    tide = open_publisher(url)
    first = await tide.publish("e", 1, to="all", key="k")
    await tide.publish("e", 2, to="all")
    assert await tide.publish("e", 3, to="all", key="k") == first
    assert [fields["d"] for _, fields in entries()] == ["1", "2"]


async def test_concurrent_publishes_under_one_key_store_one_entry(url, open_publisher, entries):
    tides = [open_publisher(url) for _ in range(3)]
    calls = [tides[n % 3].publish("e", n, to="all", key="k") for n in range(60)]
    assert len(set(await asyncio.gather(*calls))) == 1
    assert len(entries()) == 1


async def test_one_pipeline_may_hold_a_key_twice(url, open_publisher, entries):
    ids = await open_publisher(url).publish_many([{"event": "e", "data": 1, "to": "all", "key": "k"}] * 3)
    assert len(set(ids)) == 1
    assert len(entries()) == 1


async def test_processes_that_publish_under_one_key_store_one_entry(redis_server, redis_url):
    command = [sys.executable, "-m", "publisher", "--redis", redis_url, "--key", "k", "all", "e", "1"]
    running = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(4)]
    outputs = {(await each.communicate())[0] for each in running}
    assert len(outputs) == 1
    with redis_server.client() as client:
        assert client.xlen("tg:{events:0}") == 1


async def test_tenants_do_not_share_keys(url, open_publisher, entries):
    tide = open_publisher(url)
    for tenant in ("default", "acme"):
        await tide.publish("e", 1, to="all", key="k", tenant=tenant)
    assert len(entries()) == 2


async def test_a_key_is_forgotten_after_its_time(server, url, open_publisher, entries):
    tide = open_publisher(url, key_ttl_s=100)
    await tide.publish("e", 1, to="all", key="k")
    with server.client() as client:
        assert 90 <= client.ttl("tg:{events:0}:key:k") <= 100
        client.delete("tg:{events:0}:key:k")
    await tide.publish("e", 1, to="all", key="k")
    assert len(entries()) == 2


async def test_a_known_key_answers_with_the_epoch_of_its_time(server, url, open_publisher):
    tide = open_publisher(url)
    first = await tide.publish("e", 1, to="all", key="k")
    with server.client() as client:
        client.delete("tg:{events:0}")
    assert await tide.publish("e", 1, to="all", key="k") == first
    assert await tide.publish("e", 1, to="all") != first


async def test_a_key_survives_the_restart_of_the_server(open_publisher):
    with RedisServer(appendonly="yes", appendfsync="always") as own:
        tide = open_publisher(own.url)
        first = await tide.publish("e", 1, to="all", key="k")
        own.kill()
        own.start()
        assert await tide.publish("e", 1, to="all", key="k") == first
