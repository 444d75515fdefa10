"""A log of three partitions: everything arrives, and both kinds of cursor resume it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from publisher import Cursor, Publisher
from tests.support.clients import Client, connected
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

USERS = [str(number) for number in range(12)]


@pytest.fixture
async def tide(redis_url: str) -> AsyncIterator[Publisher]:
    """A publisher for three partitions."""
    async with Publisher(redis_url, partitions=3) as publisher:
        yield publisher


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[RunningGateway]:
    """A gateway with three partitions."""
    async with running_gateway(redis_url, log__partitions=3) as running:
        yield running


@pytest.fixture
async def other(redis_url: str, gateway: RunningGateway) -> AsyncIterator[RunningGateway]:
    """A second one."""
    async with running_gateway(redis_url, log__partitions=3) as running:
        yield running


async def publish(tide: Publisher, numbers: range) -> None:
    """Publish numbered events, each for one of the users and for the group."""
    events = [{"event": "e", "data": n, "to": [f"user:{USERS[n % len(USERS)]}", "group:g"]} for n in numbers]
    await tide.publish_many(events)


def data(client: Client) -> list[Any]:
    return [frame.data for frame in client.pushes]


MEMBER: dict[str, Any] = {"groups": ["g"]}


async def test_events_of_every_partition_arrive_in_the_order_of_each(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher, redis_server: RedisServer
) -> None:
    async with connected(gateway, "x", claims=MEMBER) as one, connected(other, "x", claims=MEMBER) as two:
        await publish(tide, range(600))
        for client in (one, two):
            pushes = await client.received(600)
            assert sorted(data(client)) == list(range(600))
            for partition in range(3):
                of_one = [frame for frame in pushes if Cursor.parse(str(frame.id)).partition == partition]
                assert [frame.data for frame in of_one] == sorted(frame.data for frame in of_one)
    with redis_server.client() as redis:
        assert all(redis.xlen(f"tg:{{events:{partition}}}") for partition in range(3))


async def test_a_users_own_events_are_in_one_partition_and_so_in_order(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, USERS[3]) as client:
        await publish(tide, range(240))
        await client.received(20)
        assert data(client) == list(range(3, 240, 12))


async def test_a_resume_by_the_id_of_an_event_loses_nothing(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "x", claims=MEMBER) as client:
        await publish(tide, range(100))
        await client.received(100)
        before = {frame.id: frame.data for frame in client.pushes}
    await publish(tide, range(100, 200))
    for to in (gateway, other):
        async with connected(to, "x", claims=MEMBER, cursor=client.pushes[-1].id) as back:
            assert back.welcome["resumed"] is True
            while len({frame.id for frame in back.pushes} - before.keys()) < 100:
                await back.received(len(back.pushes) + 1)
            by_id = {frame.id: frame.data for frame in back.pushes}
            assert len(by_id) == len(back.pushes)  # not twice on one connection
            assert sorted((before | by_id).values()) == list(range(200))
            assert back.of_type("resync") == []


async def test_a_resume_by_the_cursor_of_a_pong_is_exact(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "x", claims=MEMBER) as client:
        await publish(tide, range(100))
        await client.received(100)
        cursor = (await client.send("ping")).data["cursor"]
    await publish(tide, range(100, 200))
    for count, to in enumerate((gateway, other), start=1):
        async with connected(to, "x", claims=MEMBER, cursor=cursor) as back:
            await back.until(lambda back=back: {*data(back)} >= {*range(100, 200)})
            await publish(tide, range(200, 201))
            await back.received(100 + count)
            assert sorted(data(back)) == [*range(100, 200), *[200] * count]


async def test_a_resume_by_the_cursor_of_a_welcome_is_exact(gateway: RunningGateway, tide: Publisher) -> None:
    await publish(tide, range(50))
    await wait_until(lambda: gateway.services.metrics.events == 50)  # what is not read yet comes after the welcome
    async with connected(gateway, "x", claims=MEMBER) as client:
        cursor = client.welcome["cursor"]
        assert len(cursor.split(",")) == 3
    await publish(tide, range(50, 100))
    async with connected(gateway, "x", claims=MEMBER, cursor=cursor) as back:
        await back.received(50)
        assert sorted(data(back)) == list(range(50, 100))


async def test_a_resume_from_before_memory_is_read_from_every_partition(redis_url: str, tide: Publisher) -> None:
    async with running_gateway(redis_url, log__partitions=3, log__memory_entries=20) as gateway:
        async with connected(gateway, "x", claims=MEMBER) as client:
            cursor = client.welcome["cursor"]
            await publish(tide, range(300))
            await client.received(300)
        async with connected(gateway, "x", claims=MEMBER, cursor=cursor) as back:
            await back.received(300)
            assert sorted(data(back)) == list(range(300))
            assert back.of_type("resync") == []


async def test_an_order_reaches_every_instance_by_whatever_partition(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    for user in USERS[:4]:
        async with connected(gateway, user) as one, connected(other, user) as two:
            await tide.kick(user)
            assert (await one.closed())[0] == (await two.closed())[0] == 4403
