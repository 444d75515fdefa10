"""Cursors that memory does not reach: read from the stream, or told by a `resync`; never silently with less."""

from __future__ import annotations

import asyncio
from typing import Any

from publisher import Cursor, Publisher
from tests.support.clients import Client, connected, opened, settled
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.redis_server import RedisServer

STREAM = "tg:{events:0}"


def received(client: Client) -> list[Any]:
    return [data for _, data in client.events]


async def publish(tide: Publisher, start: int, end: int, to: str = "user:42") -> list[str]:
    """Publish events numbered from `start`, `end` excluded; return their ids."""
    return await tide.publish_many([{"event": "e", "data": n, "to": to} for n in range(start, end)])


async def test_what_is_older_than_memory_is_read_from_the_stream(redis_url: str, tide: Publisher) -> None:
    async with running_gateway(redis_url, log__memory_entries=10) as gateway, connected(gateway, "43") as witness:
        ids = await publish(tide, 0, 1_300)
        await publish(tide, 0, 20, to="user:somebody-else")
        await settled(tide, witness)
        for at in (0, 700, 1_298, 1_299):
            async with connected(gateway, "42", cursor=ids[at]) as back:
                assert back.welcome["resumed"] is True
                await settled(tide, back)
                assert received(back) == list(range(at + 1, 1_300))
                assert back.of_type("resync") == []
        assert gateway.services.metrics.backfills == 4


async def test_a_backfill_keeps_to_rights_expiry_and_collapse_keys(redis_url: str, tide: Publisher) -> None:
    async with running_gateway(redis_url, log__memory_entries=5) as gateway, connected(gateway, "43") as witness:
        start = witness.cursor
        await tide.publish("e", "ours", to=["user:42", "group:g"])
        await tide.publish("e", "not ours", to="user:43")
        await tide.publish("e", "not our tenant's", to="user:42", tenant="acme")
        await tide.publish("e", "excluded", to="all", exclude="user:42")
        await tide.publish("e", "over", to="all", expires_in=0.05)
        await tide.publish("e", "old price", to="all", collapse="price")
        await tide.publish("e", "new price", to="all", collapse="price")
        await tide.kick("42")
        await publish(tide, 0, 10, to="user:nobody")
        await settled(tide, witness)
        await asyncio.sleep(0.06)  # the time that was given
        async with connected(gateway, "42", cursor=start, claims={"groups": ["g"]}) as back:
            await settled(tide, back)
            assert received(back) == ["ours", "new price"]


async def test_a_backfill_while_events_are_published_has_no_hole_and_no_repeat(redis_url: str, tide: Publisher) -> None:
    async with running_gateway(redis_url, log__memory_entries=50) as gateway, connected(gateway, "42") as first:
        await publish(tide, 0, 2_000)
        await first.received(2_000)

        async def go_on() -> None:
            for start in range(2_000, 4_000, 20):
                await publish(tide, start, start + 20)

        publishing = asyncio.create_task(go_on())
        async with connected(gateway, "42", cursor=first.pushes[0].id) as back:
            await publishing
            await settled(tide, back)
            assert received(back) == list(range(1, 4_000))


async def test_a_position_given_amid_a_backfill_leaves_nothing_out(redis_url: str, tide: Publisher) -> None:
    async with running_gateway(redis_url, log__memory_entries=10) as gateway, connected(gateway, "42") as first:
        ids = await publish(tide, 0, 500)
        await settled(tide, first)
        async with opened(gateway) as back:
            await back.post("auth", {"token": gateway.token("42"), "cursor": ids[0]})
            pings = [await back.post("ping") for _ in range(3)]
            await settled_after_welcome(tide, back)
            for ping in pings:
                cursor = (await back.reply(ping)).data["cursor"]
                at = next(place for place, frame in enumerate(back.frames) if frame.message_id == ping)
                before = {frame.id for frame in back.frames[:at]}
                assert {each for each in ids[1:] if position(each) <= position(cursor)} <= before


def position(cursor: str) -> tuple[int, int]:
    parsed = Cursor.parse(cursor)
    return parsed.ms, parsed.n


async def settled_after_welcome(tide: Publisher, client: Client) -> None:
    await client.next("welcome")
    await settled(tide, client)


async def test_what_was_trimmed_is_told_by_a_resync_and_live_goes_on(
    redis_url: str, tide: Publisher, redis_server: RedisServer
) -> None:
    async with running_gateway(redis_url, log__memory_entries=10) as gateway, connected(gateway, "43") as witness:
        ids = await publish(tide, 0, 100)
        await settled(tide, witness)
        with redis_server.client() as redis:
            redis.xtrim(STREAM, maxlen=50, approximate=False)
        async with connected(gateway, "42", cursor=ids[20], claims={"groups": ["g"]}) as back:
            resync = await back.next("resync")
            assert resync.data["reason"] == "expired"
            assert resync.data["addresses"] == ["all", f"client:{back.client_id}", "group:g", "user:42"]
            assert position(resync.data["cursor"]) > position(ids[-1])
            await tide.publish("e", "live", to="user:42")
            await settled(tide, back)
            assert received(back) == ["live"]
        async with connected(gateway, "42", cursor=resync.data["cursor"]) as again:
            await settled(tide, again)
            assert received(again) == ["live"]


async def test_what_was_trimmed_but_is_in_memory_is_served(
    gateway: RunningGateway, tide: Publisher, redis_server: RedisServer
) -> None:
    async with connected(gateway, "43") as witness:
        ids = await publish(tide, 0, 100)
        await settled(tide, witness)
    with redis_server.client() as redis:
        redis.xtrim(STREAM, maxlen=0, approximate=False)
    async with connected(gateway, "42", cursor=ids[20]) as back:
        await settled(tide, back)
        assert received(back) == list(range(21, 100))


async def test_more_than_may_be_read_back_is_told_by_a_resync(redis_url: str, tide: Publisher) -> None:
    settings = {"log__memory_entries": 10, "log__replay_entries": 50}
    async with running_gateway(redis_url, **settings) as gateway, connected(gateway, "43") as witness:
        ids = await publish(tide, 0, 200)
        await settled(tide, witness)
        async with connected(gateway, "42", cursor=ids[100]) as back:
            assert (await back.next("resync")).data["reason"] == "too_far"
            await tide.publish("e", "live", to="user:42")
            await settled(tide, back)
            assert received(back) == ["live"]
        async with connected(gateway, "42", cursor=ids[170]) as back:
            await settled(tide, back)
            assert received(back) == [*range(171, 200), "live"]


async def test_a_cursor_that_is_none_is_told_by_a_resync(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "42") as client:
        known = Cursor.parse(client.cursor)
    for cursor, reason in {
        "nonsense": "unknown_cursor",
        "0": "unknown_cursor",
        "é" * 300: "unknown_cursor",
        "1-1.7." + known.epoch: "unknown_cursor",
        f"{known.ms}-0.0.deadbeef": "epoch",
    }.items():
        async with connected(gateway, "42", cursor=cursor) as back:
            assert back.welcome["resumed"] is False
            assert back.welcome["cursor"] >= client.cursor
            resync = await back.next("resync")
            assert (resync.data["reason"], "user:42" in resync.data["addresses"]) == (reason, True)
            await tide.publish("e", reason, to="user:42")
            await settled(tide, back)
            assert received(back) == [reason]


async def test_an_empty_cursor_is_no_cursor(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "42", cursor="") as client:
        await settled(tide, client)
        assert client.welcome["resumed"] is False
        assert client.of_type("resync") == []


async def test_a_log_that_was_lost_is_told_to_everybody_and_to_those_who_come_back(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher, redis_server: RedisServer
) -> None:
    async with connected(gateway, "42") as one, connected(other, "42", claims={"tenant": "acme"}) as two:
        await tide.publish("e", 1, to="user:42")
        await one.received(1)
        old = one.cursor
        with redis_server.client() as redis:
            redis.flushall()
        await tide.publish("e", 2, to="user:42")
        resync = await one.next("resync")
        assert resync.data["reason"] == "epoch"
        assert "user:42" in resync.data["addresses"]
        assert (await two.next("resync")).data["reason"] == "epoch"
        await tide.publish("e", 3, to="user:42")
        await settled(tide, one)
        assert received(one)[-1] == 3
        async with connected(other, "42", cursor=old) as back:
            assert (await back.next("resync")).data["reason"] == "epoch"
        async with connected(other, "42", cursor=one.cursor) as back:
            assert back.welcome["resumed"] is True
            await settled(tide, back)
            assert back.events == []


async def test_when_the_stream_cannot_be_read_the_resync_says_so() -> None:
    with RedisServer() as server:
        async with (
            running_gateway(server.url, log__memory_entries=10) as gateway,
            Publisher(server.url) as tide,
            connected(gateway, "43") as witness,
        ):
            ids = await publish(tide, 0, 50)
            await settled(tide, witness)
            server.kill()
            async with connected(gateway, "42", cursor=ids[5]) as back:
                assert (await back.next("resync")).data["reason"] == "unavailable"
            async with connected(gateway, "42", cursor=ids[45]) as back:  # from memory
                await back.received(4)
                assert received(back) == [46, 47, 48, 49]
