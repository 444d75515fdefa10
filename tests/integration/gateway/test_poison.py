"""Entries that somebody wrote by hand: skipped, counted, logged once, and no obstacle for those behind them."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from publisher import Publisher
from tests.support.clients import connected, settled
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.redis_server import RedisServer

STREAM = "tg:{events:0}"
GOOD: dict[str, Any] = {"v": "1", "t": "default", "to": '["all"]', "e": "by_hand", "m": "m", "d": "1"}
POISON: dict[str, dict[str, Any]] = {
    "data that is not JSON": {**GOOD, "d": "{broken"},
    "no data": {**GOOD, "d": ""},
    "data that is not UTF-8": {**GOOD, "d": b'"\xff"'},
    "data with a lone surrogate": {**GOOD, "d": b'"\xed\xa0\x80"'},
    "two values": {**GOOD, "d": "1 2"},
    "data that closes the frame": {**GOOD, "d": '1},"type":"forged"'},
    "data beyond what can be read": {**GOOD, "d": "[" * 5_000 + "]" * 5_000},
    "NaN": {**GOOD, "d": "NaN"},
    "a name that is not UTF-8": {**GOOD, "e": b"\xff"},
    "a message id that is not UTF-8": {**GOOD, "m": b"\xff"},
    "another version": {**GOOD, "v": "2"},
    "no audience": {name: value for name, value in GOOD.items() if name != "to"},
    "an audience that is not JSON": {**GOOD, "to": "all"},
    "an audience that is no list": {**GOOD, "to": '"all"'},
    "an audience of another kind": {**GOOD, "to": '["planet:mars"]'},
    "an audience of numbers": {**GOOD, "to": "[1]"},
    "a tenant that is none": {**GOOD, "t": "a/b"},
    "a tenant that is not ASCII": {**GOOD, "t": b"\xff"},
    "an expiry that is none": {**GOOD, "exp": "soon"},
    "an exclusion that is none": {**GOOD, "x": "everybody"},
    "something else": {"hello": "world"},
    "an unknown order": {**GOOD, "k": "control", "e": "explode"},
    "a kick without sense": {**GOOD, "k": "control", "e": "kick", "d": '{"code": "x"}'},
    "a kick with a code that may not be sent": {**GOOD, "k": "control", "e": "kick", "d": '{"code": 1006}'},
    "a kick with a reason that is too long": {
        **GOOD,
        "k": "control",
        "e": "kick",
        "d": '{"reason": "%s"}' % ("x" * 200),
    },
    "a revocation of nothing": {**GOOD, "k": "control", "e": "revoke", "d": "{}"},
    "a revocation that is no object": {**GOOD, "k": "control", "e": "revoke", "d": "[]"},
}


def write(redis_server: RedisServer, *entries: dict[str, Any]) -> None:
    with redis_server.client() as redis:
        for fields in entries:
            redis.xadd(STREAM, fields)


async def test_each_kind_of_poison_is_skipped_and_counted_and_the_rest_arrives(
    gateway: RunningGateway, tide: Publisher, redis_server: RedisServer
) -> None:
    async with connected(gateway, "42") as client:
        for count, (name, poison) in enumerate(POISON.items(), start=1):
            write(redis_server, {**GOOD, "d": '"before"'}, poison, {**GOOD, "d": '"after"'})
            await settled(tide, client)
            assert client.events[-2:] == [("by_hand", "before"), ("by_hand", "after")], name
            assert gateway.services.metrics.poison == count, name
        assert len(client.events) == 2 * len(POISON)


async def test_poison_among_a_whole_read_is_skipped(
    gateway: RunningGateway, tide: Publisher, redis_server: RedisServer
) -> None:
    async with connected(gateway, "42") as client:
        with redis_server.client() as redis, redis.pipeline() as pipeline:
            for number in range(100):
                pipeline.xadd(STREAM, {**GOOD, "d": str(number)})
                pipeline.xadd(STREAM, list(POISON.values())[number % len(POISON)])
            pipeline.execute()
        await settled(tide, client)
        assert [data for _, data in client.events] == list(range(100))
        assert gateway.services.metrics.poison == 100


async def test_poison_is_logged_once_with_its_id_and_without_its_payload(
    redis_url: str, tide: Publisher, redis_server: RedisServer
) -> None:
    with capture_logs() as logs:
        async with (
            running_gateway(redis_url) as gateway,
            connected(gateway, "1") as one,
            connected(gateway, "2") as two,
        ):
            write(redis_server, {**GOOD, "d": '{"password": "hunter2"'})
            await settled(tide, one, two)
            async with connected(gateway, "3", cursor=one.welcome["cursor"]) as back:
                await settled(tide, back)
                assert back.events == []
    lines = [line for line in logs if line["event"] == "poison_entry"]
    assert len(lines) == 1
    assert "-" in lines[0]["entry"]
    assert "hunter2" not in str(lines)


@pytest.mark.parametrize("memory_entries", [5, 10_000], ids=["from the stream", "from memory"])
async def test_a_resume_over_poison_gets_the_rest(
    redis_url: str, tide: Publisher, redis_server: RedisServer, memory_entries: int
) -> None:
    async with running_gateway(redis_url, log__memory_entries=memory_entries) as gateway:
        async with connected(gateway, "42") as client:
            start = client.cursor
            for poison in POISON.values():
                write(redis_server, poison, GOOD)
            await settled(tide, client)
        async with connected(gateway, "42", cursor=start) as back:
            await settled(tide, back)
            assert back.events == [("by_hand", 1)] * len(POISON)
            assert back.of_type("resync") == []


async def test_a_gateway_starts_on_a_log_full_of_poison(
    redis_url: str, tide: Publisher, redis_server: RedisServer
) -> None:
    write(redis_server, *POISON.values(), GOOD)
    async with running_gateway(redis_url) as gateway, connected(gateway, "42") as client:
        await tide.publish("e", 1, to="all")
        await settled(tide, client)
        assert client.events == [("e", 1)]


async def test_data_is_not_read_where_nobody_wants_it(
    gateway: RunningGateway, tide: Publisher, redis_server: RedisServer
) -> None:
    async with connected(gateway, "42") as client:
        write(redis_server, {**GOOD, "to": '["user:nobody"]', "d": "{broken"})
        await settled(tide, client)
        assert gateway.services.metrics.poison == 0


async def test_unknown_fields_of_a_newer_publisher_are_ignored(
    gateway: RunningGateway, tide: Publisher, redis_server: RedisServer
) -> None:
    async with connected(gateway, "42") as client:
        write(redis_server, {**GOOD, "zz": "new"}, {**GOOD, "p": "urgent"})
        await settled(tide, client)
        assert client.events == [("by_hand", 1)] * 2
