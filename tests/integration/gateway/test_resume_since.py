"""Joining with `since`: what one address has had, once, in order, and nothing of the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from publisher import Cursor, Publisher
from tests.support.clients import Client, connected, opened, settled
from tests.support.gateway import RunningGateway, running_gateway

JOINING = [("join_group", "group_id", "group"), ("subscribe", "topic", "topic"), ("add_tag", "tag", "tag")]


def received(client: Client) -> list[Any]:
    return [data for _, data in client.events]


@pytest.mark.parametrize(("command", "field", "kind"), JOINING)
async def test_since_brings_what_this_address_has_had_and_no_other(
    gateway: RunningGateway, tide: Publisher, command: str, field: str, kind: str
) -> None:
    async with connected(gateway, "42") as client:
        start = client.cursor
        for number in range(3):
            await tide.publish("e", number, to=f"{kind}:x")
            await tide.publish("e", "other", to=[f"{kind}:y", "group:xx"])
        await settled(tide, client)
        assert (await client.send(command, {field: "x", "since": start})).type == "ack"
        await tide.publish("e", 3, to=f"{kind}:x")
        await settled(tide, client)
        assert received(client) == [0, 1, 2, 3]


async def test_the_ack_comes_before_what_was_missed(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "42") as client:
        await tide.publish("e", 1, to="topic:x")
        await settled(tide, client)
        await client.send("subscribe", {"topic": "x", "since": client.welcome["cursor"]})
        await client.next("e")
        assert [frame.type for frame in client.frames if frame.type in {"ack", "e"}] == ["ack", "e"]


async def test_since_the_last_event_brings_what_came_after_it(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "42", claims={"groups": ["g"]}) as client:
        await tide.publish_many([{"event": "e", "data": n, "to": "group:g"} for n in range(10)])
        pushes = await client.received(10)
        for at in (9, 5, 0):
            async with connected(gateway, "42") as fresh:
                await fresh.send("join_group", {"group_id": "g", "since": pushes[at].id})
                await settled(tide, fresh)
                assert received(fresh) == list(range(at + 1, 10))


async def test_what_came_by_another_address_already_does_not_come_again(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "42") as client:
        start = client.cursor
        await tide.publish("e", "both", to=["user:42", "topic:x"])
        await tide.publish("e", "topic", to="topic:x")
        await tide.publish("e", "both again", to=["topic:x", "all"])
        await settled(tide, client)
        await client.send("subscribe", {"topic": "x", "since": start})
        await tide.publish("e", "live", to=["topic:x", "user:42"])
        await settled(tide, client)
        assert received(client) == ["both", "both again", "topic", "live"]


async def test_joining_several_with_since_brings_what_they_share_once(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "42") as client:
        start = client.cursor
        for number, to in enumerate((["topic:x", "topic:y"], "topic:y", ["topic:y", "topic:x", "group:g"], "group:g")):
            await tide.publish("e", number, to=to)
        await settled(tide, client)
        for command, data in (
            ("subscribe", {"topic": "x"}),
            ("subscribe", {"topic": "y"}),
            ("join_group", {"group_id": "g"}),
        ):
            await client.send(command, {**data, "since": start})
        await settled(tide, client)
        assert received(client) == [0, 2, 1, 3]


async def test_a_client_that_resumes_and_joins_again_has_everything_once(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "42") as client:
        await client.send("join_group", {"group_id": "g"})
        await tide.publish("e", 0, to="group:g")
        await client.received(1)
    audiences = ["group:g", "user:42", ["user:42", "group:g"]]
    for number in range(1, 31):
        await tide.publish("e", number, to=audiences[number % 3])
    async with connected(other, "42", cursor=client.cursor) as back:
        await back.send("join_group", {"group_id": "g", "since": client.cursor})
        await settled(tide, back)
        assert sorted(received(back)) == list(range(1, 31))


async def test_joining_again_with_since_brings_nothing_that_was_had(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "42") as client:
        start = client.cursor
        await client.send("subscribe", {"topic": "x"})
        await tide.publish("e", 1, to="topic:x")
        await settled(tide, client)
        assert (await client.send("subscribe", {"topic": "x", "since": start})).type == "ack"
        await settled(tide, client)
        assert received(client) == [1]


async def test_since_also_brings_what_an_address_of_the_token_had_before_the_connection(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "42", claims={"groups": ["g"]}) as client:
        start = client.cursor
        await tide.publish("e", 1, to="group:g")
        await client.received(1)
    async with connected(gateway, "42", claims={"groups": ["g"]}) as fresh:
        await tide.publish("e", 2, to="group:g")
        await settled(tide, fresh)
        for _ in range(2):
            await fresh.send("join_group", {"group_id": "g", "since": start})
        await settled(tide, fresh)
        assert sorted(received(fresh)) == [1, 2]


async def test_leaving_and_joining_with_since_brings_what_was_missed_in_between(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "42") as client:
        await client.send("subscribe", {"topic": "x"})
        left = await tide.publish("e", 1, to="topic:x")
        await settled(tide, client)
        await client.send("unsubscribe", {"topic": "x"})
        await tide.publish("e", 2, to="topic:x")
        await settled(tide, client)
        await client.send("subscribe", {"topic": "x", "since": left})
        await settled(tide, client)
        assert received(client) == [1, 2]


async def test_joining_while_events_are_published_has_no_hole_and_no_repeat(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "42") as client:
        start = client.cursor

        async def publish() -> None:
            for number in range(0, 1_000, 5):
                to = ["topic:x", "user:42"] if number % 2 else "topic:x"
                await tide.publish_many([{"event": "e", "data": n, "to": to} for n in range(number, number + 5)])

        publishing = asyncio.create_task(publish())
        await client.received(50)
        await client.send("subscribe", {"topic": "x", "since": start})
        await publishing
        await settled(tide, client)
        assert sorted(received(client)) == list(range(1_000))


async def test_since_a_cursor_from_further_ahead_brings_what_is_new(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "42") as client:
        known = Cursor.parse(client.cursor)
        ahead = str(Cursor(known.ms + 10**13, 0, known.partition, known.epoch))
        await client.send("subscribe", {"topic": "x", "since": ahead})
        await tide.publish("e", 1, to="topic:x")
        await settled(tide, client)
        assert received(client) == [1]


async def test_since_of_another_log_is_a_resync_of_this_address_alone(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "42") as client:
        await tide.publish("e", 1, to="topic:x")
        await settled(tide, client)  # it is in memory: who subscribes now is given it by `since` alone
        known = Cursor.parse(client.cursor)
        await client.send("subscribe", {"topic": "x", "since": str(Cursor(known.ms, 0, 0, "deadbeef"))})
        resync = await client.next("resync")
        assert (resync.data["reason"], resync.data["addresses"]) == ("epoch", ["topic:x"])
        await tide.publish("e", 2, to=["topic:x"])
        await tide.publish("e", 3, to=["user:42"])
        await settled(tide, client)
        assert received(client) == [2, 3]


async def test_since_before_memory_is_read_from_the_stream(redis_url: str, tide: Publisher) -> None:
    async with running_gateway(redis_url, log__memory_entries=10) as gateway, connected(gateway, "42") as client:
        start = client.cursor
        await tide.publish_many([{"event": "e", "data": n, "to": "topic:x"} for n in range(100)])
        await settled(tide, client)
        await client.send("subscribe", {"topic": "x", "since": start})
        await tide.publish("e", 100, to="topic:x")
        await settled(tide, client)
        assert received(client) == list(range(101))
        assert client.of_type("resync") == []


async def test_since_before_memory_repeats_what_came_by_another_address_at_most_under_its_id(
    redis_url: str, tide: Publisher
) -> None:
    async with running_gateway(redis_url, log__memory_entries=10) as gateway, connected(gateway, "42") as client:
        start = client.cursor
        for number in range(30):
            await tide.publish("e", number, to=["topic:x", "user:42"] if number % 2 else "topic:x")
        await settled(tide, client)
        await client.send("subscribe", {"topic": "x", "since": start})
        await settled(tide, client)
        by_id = {frame.id: frame.data for frame in client.pushes}
        assert sorted(by_id.values()) == list(range(30))
        assert [n for n in received(client) if n % 2 == 0] == list(range(0, 30, 2))


async def test_a_resume_and_joins_that_all_reach_before_memory_have_everything(redis_url: str, tide: Publisher) -> None:
    async with running_gateway(redis_url, log__memory_entries=10) as gateway, connected(gateway, "43") as witness:
        start = witness.cursor
        audiences = ["user:42", "group:g", "group:h"]
        await tide.publish_many([{"event": "e", "data": n, "to": audiences[n % 3]} for n in range(300)])
        await settled(tide, witness)
        async with opened(gateway) as back:
            await back.post("auth", {"token": gateway.token("42"), "cursor": start})
            for group in ("g", "h"):
                await back.post("join_group", {"group_id": group, "since": start})
            await back.next("welcome")
            await tide.publish("e", 300, to=["user:42", "group:g", "group:h"])
            await back.received(301)
            await settled(tide, back)
            assert sorted(received(back)) == list(range(301))
            assert back.of_type("resync") == []


async def test_joins_while_events_push_the_rest_out_of_memory_have_everything(redis_url: str, tide: Publisher) -> None:
    async with running_gateway(redis_url, log__memory_entries=100) as gateway, connected(gateway, "42") as client:
        start = client.cursor

        async def publish() -> None:
            for first in range(0, 3_000, 10):
                await tide.publish_many(
                    [{"event": "e", "data": n, "to": f"topic:{n % 3}"} for n in range(first, first + 10)]
                )

        publishing = asyncio.create_task(publish())
        await client.send("subscribe", {"topic": "0", "since": start})
        await client.received(300)
        for topic in ("1", "2"):
            await client.send("subscribe", {"topic": topic, "since": start})
        await publishing
        await settled(tide, client)
        await client.received(3_000)
        assert sorted(received(client)) == list(range(3_000))
        assert client.of_type("resync") == []


async def test_since_beyond_the_stream_is_a_resync_of_this_address_alone(
    redis_url: str, tide: Publisher, redis_server: Any
) -> None:
    async with running_gateway(redis_url, log__memory_entries=10) as gateway, connected(gateway, "42") as client:
        start = client.cursor
        await tide.publish_many([{"event": "e", "data": n, "to": "topic:x"} for n in range(100)])
        await settled(tide, client)
        with redis_server.client() as redis:
            redis.xtrim("tg:{events:0}", maxlen=10, approximate=False)
        await client.send("subscribe", {"topic": "x", "since": start})
        resync = await client.next("resync")
        assert (resync.data["reason"], resync.data["addresses"]) == ("expired", ["topic:x"])
        await tide.publish("e", "user", to="user:42")
        await tide.publish("e", "topic", to="topic:x")
        await settled(tide, client)
        assert received(client)[-2:] == ["user", "topic"]
