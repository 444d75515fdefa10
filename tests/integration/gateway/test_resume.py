"""Resuming from memory: every event once and in order, on whichever instance the client comes back."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

from gateway import resume
from publisher import Cursor, Publisher, make_event
from tests.support.clients import Way, connected, settled
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.monitor import Call, monitored
from tests.support.redis_server import RedisServer


def reads(calls: list[Call]) -> list[Call]:
    """Return which of them a gateway sent to read entries by id. (What it sees of the log now and then is a script.)"""
    return [call for call in calls if call.command in {"xrange", "xrevrange", "xread"} and not call.in_script]


async def missed(gateway: RunningGateway, tide: Publisher, cursor: str | None) -> list[Any]:
    """Come back as user 42; return the data of what is pushed."""
    async with connected(gateway, "42", cursor=cursor) as back:
        await settled(tide, back)
        return [data for _, data in back.events]


@pytest.mark.parametrize("way", ["query", "header", "subprotocol", "auth"])
async def test_a_client_that_comes_back_gets_what_it_missed(gateway: RunningGateway, tide: Publisher, way: Way) -> None:
    async with connected(gateway, "42") as client:
        await tide.publish("notice", 0, to="user:42")
        await client.received(1)
    await tide.publish_many([{"event": "notice", "data": n, "to": "user:42"} for n in (1, 2, 3)])
    async with connected(gateway, "42", way=way, cursor=client.cursor) as back:
        assert back.welcome["resumed"] is True
        assert back.welcome["cursor"] == client.cursor
        await tide.publish("notice", 4, to="user:42")
        await settled(tide, back)
        assert [data for _, data in back.events] == [1, 2, 3, 4]
        kinds = [frame.type for frame in back.frames]
        assert kinds.index("welcome") < kinds.index("notice")


async def test_it_gets_it_from_the_memory_of_another_instance(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher, redis_server: RedisServer
) -> None:
    async with connected(gateway, "42") as client, connected(other, "43") as witness:
        await tide.publish_many([{"event": "notice", "data": n, "to": ["user:42", "user:43"]} for n in range(1_000)])
        pushes = await client.received(1_000)
        await settled(tide, witness)
    async with monitored(redis_server) as calls:
        for at in (0, 500, 998):
            assert await missed(other, tide, pushes[at].id) == list(range(at + 1, 1_000))
    assert reads(calls) == []
    assert other.services.metrics.replays == 3


async def test_a_client_that_missed_nothing_gets_nothing(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "42") as client:
        await tide.publish("notice", 0, to="all")
        await client.received(1)
    async with connected(gateway, "42", cursor=client.cursor) as back:
        assert back.welcome["resumed"] is True
        await settled(tide, back)
        assert back.events == []


async def test_without_a_cursor_one_starts_with_what_comes_next(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "42") as client:
        await tide.publish("notice", 0, to="all")
        await client.received(1)
    async with connected(gateway, "42") as back:
        assert back.welcome["resumed"] is False
        assert back.welcome["cursor"] >= client.cursor
        await tide.publish("notice", 1, to="all")
        await settled(tide, back)
        assert back.events == [("notice", 1)]


async def test_the_cursor_of_a_welcome_is_one_to_resume_from(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "42") as client:
        assert client.cursor == client.welcome["cursor"]
    await tide.publish("notice", 1, to="all")
    async with connected(gateway, "42", cursor=client.cursor) as back:
        assert (await back.next("notice")).data == 1


async def test_the_cursor_of_a_pong_is_one_to_resume_from(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "42") as client:
        await tide.publish("notice", 1, to="user:42")
        await tide.publish("notice", 2, to="user:43")
        await settled(tide, client)
        cursor = (await client.send("ping")).data["cursor"]
        await tide.publish("notice", 3, to="user:42")
        await client.received(2)
    async with connected(other, "42", cursor=cursor) as back:
        await settled(tide, back)
        assert [data for _, data in back.events] == [3]


async def test_a_replay_has_the_rights_of_the_new_connection(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "42", claims={"groups": ["g", "h"]}) as client:
        start = client.cursor
    for address in ("user:42", "user:43", "group:g", "group:h", "tag:vip", f"client:{client.client_id}"):
        await tide.publish("notice", address, to=address)
    await tide.publish("notice", "not for us", to="all", exclude="group:g")
    async with connected(gateway, "42", claims={"groups": ["g"], "tags": ["vip"]}, cursor=start) as back:
        await settled(tide, back)
        assert [data for _, data in back.events] == ["user:42", "group:g", "tag:vip"]


async def test_an_event_for_several_of_ones_addresses_is_replayed_once(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "42") as client:
        start = client.cursor
    await tide.publish("notice", 1, to=["all", "user:42", "group:g", "group:h"])
    async with connected(gateway, "42", claims={"groups": ["g", "h"]}, cursor=start) as back:
        await settled(tide, back)
        assert back.events == [("notice", 1)]


async def test_what_has_expired_is_not_replayed_and_of_a_collapse_key_only_the_newest(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "42") as client:
        start = client.cursor
    await tide.publish("price", 1, to="all", collapse="x")
    await tide.publish("price", 2, to="all", collapse="y")
    await tide.publish("notice", "soon over", to="all", expires_in=0.05)
    await tide.publish("notice", "lasting", to="all", expires_in=60)
    await tide.publish("notice", "low", to="all", priority="low")
    await gateway.has_read(await tide.publish("price", 3, to="all", collapse="x"))
    await asyncio.sleep(0.06)  # the time that was given
    async with connected(gateway, "42", cursor=start) as back:
        await settled(tide, back)
        assert [data for _, data in back.events] == [2, "lasting", "low", 3]


async def test_reconnecting_again_and_again_while_events_are_published_loses_and_repeats_nothing(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    total = 3_000
    audiences = ["all", "user:42", "group:g", ["user:42", "group:g", "all"]]

    async def publish() -> None:
        for number in range(0, total, 10):
            await tide.publish_many(
                [{"event": "e", "data": n, "to": audiences[n % 4]} for n in range(number, number + 10)]
            )

    async with connected(gateway, "42", claims={"groups": ["g"]}) as client:
        cursor = client.cursor
    choices = random.Random(7)
    received: list[Any] = []
    connections = 0
    publishing = asyncio.create_task(publish())
    while len(received) < total:
        connections += 1
        to = choices.choice((gateway, other))
        way: Way = choices.choice(("query", "auth"))
        async with connected(to, "42", claims={"groups": ["g"]}, cursor=cursor, way=way) as client:
            await client.received(min(choices.randint(1, 200), total - len(received)))
        received += [data for _, data in client.events]  # what came until the close, too
        cursor = client.cursor
        assert client.of_type("resync") == []
    await publishing
    assert received == list(range(total))
    assert connections > 5


async def test_many_that_come_back_at_once_each_get_what_they_missed(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher, redis_server: RedisServer
) -> None:
    users = [str(number) for number in range(60)]
    async with connected(gateway, "x") as client:
        start = client.cursor
    events = [{"event": "e", "data": [user, n], "to": f"user:{user}"} for n in range(5) for user in users]
    await tide.publish_many(events)
    async with connected(other, "x") as witness:
        await settled(tide, witness)

    async def come_back(number: int) -> list[Any]:
        async with connected((gateway, other)[number % 2], users[number], cursor=start) as client:
            await client.received(5)
            return [data for _, data in client.events]

    async with monitored(redis_server) as calls:
        results = await asyncio.gather(*map(come_back, range(len(users))))
    assert results == [[[user, n] for n in range(5)] for user in users]
    assert reads(calls) == []


async def test_a_cursor_from_further_ahead_waits_for_this_instance_to_get_there(
    gateway: RunningGateway, tide: Publisher, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "_AHEAD_RETRIES", 600)
    async with connected(gateway, "42") as client:
        ahead = replace(Cursor.parse(client.cursor), ms=client.frames[0].timestamp + 30_000)
    async with connected(gateway, "42", cursor=str(ahead)) as back:
        assert (back.welcome["resumed"], back.welcome["cursor"]) == (True, str(ahead))
        had = await tide.publish("notice", "had already", to="all")
        assert Cursor.parse(had).ms < ahead.ms
        with redis_server.client() as redis:  # as by a server whose clock is that far ahead
            tick = make_event("tick", None, to="user:nobody").fields
            redis.xadd("tg:{events:0}", dict(zip(tick[::2], tick[1::2], strict=True)), id=f"{ahead.ms + 1}-0")
        await tide.publish("notice", "new", to="all")
        await settled(tide, back)
        assert back.events == [("notice", "new")]
        assert back.of_type("resync") == []


async def test_a_cursor_that_is_never_reached_ends_in_a_resync(
    gateway: RunningGateway, tide: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "_AHEAD_RETRIES", 3)
    async with connected(gateway, "42") as client:
        ahead = replace(Cursor.parse(client.cursor), ms=client.frames[0].timestamp + 10**9)
    async with connected(gateway, "42", cursor=str(ahead)) as back:
        resync = await back.next("resync")
        assert resync.data["reason"] == "unknown_cursor"
        assert Cursor.parse(resync.data["cursor"]).ms < ahead.ms
        await tide.publish("notice", 1, to="all")
        await settled(tide, back)
        assert back.events == [("notice", 1)]


async def test_a_restarted_instance_serves_old_cursors_from_memory(
    redis_url: str, tide: Publisher, redis_server: RedisServer
) -> None:
    async with running_gateway(redis_url, instance__id="restarted") as gateway, connected(gateway, "42") as client:
        await tide.publish_many([{"event": "e", "data": n, "to": "user:42"} for n in range(1_200)])
        pushes = await client.received(1_200)
    await tide.publish("e", 1_200, to="user:42")  # while nobody runs
    async with running_gateway(redis_url, instance__id="restarted") as gateway:
        async with monitored(redis_server) as calls:
            for at in (0, 600, 1_199):
                assert await missed(gateway, tide, pushes[at].id) == list(range(at + 1, 1_201))
        assert reads(calls) == []
        assert gateway.services.metrics.backfills == 0
