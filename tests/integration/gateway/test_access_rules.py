"""Address rules: of the settings, and changed at run time for every instance."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio
import websockets

from gateway.store import keys
from publisher import Publisher, PublishError
from publisher.sync import Publisher as BlockingPublisher
from tests.support.clients import connected, opened
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.waiting import wait_until

HERE, OTHER = "127.0.0.1", "127.0.0.2"


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        yield client


def at(address: str) -> dict[str, Any]:
    return {"local_addr": (address, 0)}


async def may_connect(gateway: RunningGateway, address: str) -> bool:
    try:
        async with connected(gateway, **at(address)):
            return True
    except websockets.InvalidStatus as refused:
        body = json.loads(refused.response.body or b"{}")
        if (refused.response.status_code, body.get("reason")) != (403, "blocked"):
            raise
        return False


async def test_a_block_list_of_the_settings_keeps_out(redis_url: str) -> None:
    settings = {"access__block": ["127.0.0.0/30", "2001:db8::/32"], "access__allow": [OTHER]}
    async with running_gateway(redis_url, **settings) as gateway:
        assert [await may_connect(gateway, a) for a in (HERE, OTHER, "127.0.0.9")] == [False, True, True]


async def test_a_block_holds_on_every_instance_and_closes_what_is_open(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with (
        connected(gateway, "1", **at(OTHER)) as one,
        connected(other, "2", **at(OTHER)) as two,
        opened(gateway, **at(OTHER)) as waiting,
        connected(gateway, "3") as kept,
    ):
        await tide.access("block", "127.0.0.2/31", lasts_s=60)
        for client in (one, two, waiting):
            assert await client.closed() == (4403, "this address may not connect")
        for instance in (gateway, other):
            assert not await may_connect(instance, OTHER)
            assert await may_connect(instance, HERE)
        assert (await kept.send("ping")).type == "pong"
        await tide.access("clear", "127.0.0.2/31")
        await wait_until(lambda: not len(gateway.application.parts.rules) and not len(other.application.parts.rules))
        for instance in (gateway, other):
            assert await may_connect(instance, OTHER)


async def test_an_allowed_address_within_a_blocked_network_may(gateway: RunningGateway, tide: Publisher) -> None:
    await tide.access("block", "127.0.0.0/8")
    await tide.access("allow", OTHER)
    await wait_until(lambda: len(gateway.application.parts.rules) == 2)
    assert [await may_connect(gateway, a) for a in (HERE, OTHER)] == [False, True]


async def test_an_instance_that_starts_later_knows_the_rules(redis_url: str, tide: Publisher) -> None:
    await tide.access("block", OTHER)
    await tide.access("block", HERE)
    await tide.access("clear", HERE)
    async with running_gateway(redis_url) as gateway:
        assert [await may_connect(gateway, a) for a in (HERE, OTHER)] == [True, False]


async def test_after_a_gap_the_rules_are_looked_up_and_enforced(
    gateway: RunningGateway, tide: Publisher, store: redis.asyncio.Redis
) -> None:
    await tide.access("block", "127.0.0.9")
    await wait_until(lambda: len(gateway.application.parts.rules) == 1)
    async with connected(gateway, **at(OTHER)) as client:
        # What an instance missed: both changes happened while it did not read.
        await store.zrem(keys.access_rules(0), "block 127.0.0.9/32")
        await store.zadd(keys.access_rules(0), {f"block {OTHER}/32": 4_000_000_000_000})
        await store.delete(keys.stream(0), keys.epoch(0))
        assert (await client.closed())[0] == 4403
        await wait_until(lambda: len(gateway.application.parts.rules) == 1)
        assert await may_connect(gateway, "127.0.0.9")


async def test_a_rule_ends_by_itself(gateway: RunningGateway, tide: Publisher) -> None:
    await tide.access("block", OTHER, lasts_s=2)
    await wait_until(lambda: len(gateway.application.parts.rules) == 1)  # also where it has ended meanwhile
    await wait_until(lambda: may_connect(gateway, OTHER))


async def test_rules_are_kept_no_longer_than_they_hold(tide: Publisher, store: redis.asyncio.Redis) -> None:
    await tide.access("block", OTHER, lasts_s=3_600)
    await tide.access("allow", HERE, lasts_s=60)
    assert 3_500 < await store.ttl(keys.access_rules(0)) <= 3_600
    await tide.access("clear", OTHER)
    assert 0 < await store.ttl(keys.access_rules(0)) <= 60
    await tide.access("clear", HERE)
    assert not await store.exists(keys.access_rules(0))


async def test_the_newest_rule_of_a_network_is_the_one_that_is_kept(
    tide: Publisher, store: redis.asyncio.Redis
) -> None:
    for action, lasts_s in (("block", 3_600), ("allow", 60), ("block", 30)):
        await tide.access(action, "203.0.113.0/24", lasts_s=lasts_s)  # type: ignore[arg-type]
    assert await store.zrange(keys.access_rules(0), 0, -1) == [b"block 203.0.113.0/24"]
    assert await store.ttl(keys.access_rules(0)) <= 30


async def test_there_is_a_most_of_rules(tide: Publisher, store: redis.asyncio.Redis) -> None:
    await store.zadd(keys.access_rules(0), {f"block 10.{n >> 8}.{n & 255}.0/24": 4e12 for n in range(10_000)})
    with pytest.raises(PublishError, match="10000 address rules already"):
        await tide.access("block", "192.0.2.0/24")
    await tide.access("allow", "10.0.0.0/24")  # in place of another
    await tide.access("clear", "10.0.0.0/24")
    await tide.access("block", "192.0.2.0/24")


@pytest.mark.parametrize(
    ("action", "network", "lasts_s"),
    [
        ("block", "192.0.2.7/24", 60),
        ("block", "nobody", 60),
        ("block", None, 60),
        ("ban", "192.0.2.0/24", 60),
        ("block", "192.0.2.0/24", 0),
        ("block", "192.0.2.0/24", float("nan")),
        ("block", "192.0.2.0/24", True),
        ("block", "192.0.2.0/24", 1e10),
    ],
)
async def test_what_is_not_well_formed_is_refused_before_it_is_sent(
    tide: Publisher, store: redis.asyncio.Redis, action: Any, network: Any, lasts_s: Any
) -> None:
    with pytest.raises(PublishError):
        await tide.access(action, network, lasts_s=lasts_s)
    assert not await store.exists(keys.stream(0))


async def test_hostile_orders_and_stored_rules_are_poison_and_nothing_more(
    gateway: RunningGateway, tide: Publisher, store: redis.asyncio.Redis
) -> None:
    bad: list[Any] = [
        {},
        {"network": "192.0.2.0/24"},
        {"network": "192.0.2.7/24", "action": "block", "lasts_ms": 1},
        {"network": "192.0.2.0/24", "action": "ban", "lasts_ms": 1},
        {"network": "192.0.2.0/24", "action": "block", "lasts_ms": "soon"},
        {"network": ["0.0.0.0/0"], "action": "block", "lasts_ms": 1},
        [],
    ]
    for data in bad:
        fields = {"v": "1", "t": "default", "to": '["all"]', "e": "access", "m": "m", "k": "control"}
        await store.xadd(keys.stream(0), {**fields, "d": json.dumps(data)})
    await wait_until(lambda: gateway.services.metrics.poison == len(bad))
    for member in ("block", "ban 192.0.2.0/24", "block nobody", b"\xff\xfe", "block 127.0.0.1/24"):
        await store.zadd(keys.access_rules(0), {member: 4e12})
    await store.zadd(keys.access_rules(0), {f"block {OTHER}/32": 4e12})
    async with running_gateway(gateway.application._settings.redis_url) as later:
        assert [await may_connect(later, a) for a in (HERE, OTHER)] == [True, False]


async def test_the_blocking_publisher_does_the_same(redis_url: str, gateway: RunningGateway) -> None:
    with BlockingPublisher(redis_url) as tide:
        tide.access("block", OTHER)
    await wait_until(lambda: len(gateway.application.parts.rules) == 1)
    assert not await may_connect(gateway, OTHER)
