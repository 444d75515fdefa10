"""`get_history`: what a group was written, a page at a time, for its members and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from publisher import Cursor, Publisher
from publisher.keys import history
from tests.support.clients import Client, connected, settled
from tests.support.gateway import GatewayProcess, RunningGateway, make_token, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

IN_G = {"groups": ["g"]}
KEEPING = {"history__groups": ["*"]}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[RunningGateway]:
    """A gateway whose groups keep everything."""
    async with running_gateway(redis_url, **KEEPING) as running:
        yield running


@pytest.fixture
async def other(redis_url: str, gateway: RunningGateway) -> AsyncIterator[RunningGateway]:
    """A second instance beside `gateway`."""
    async with running_gateway(redis_url, **KEEPING) as running:
        yield running


async def write(client: Client, *contents: Any, group: str = "g") -> list[str]:
    """Write to a group; return the ids."""
    acks = [await client.send("send_message", {"group_id": group, "content": content}) for content in contents]
    return [ack.data["id"] for ack in acks]


async def read(client: Client, group: str = "g", **arguments: Any) -> dict[str, Any]:
    """Return a page of a group's history."""
    reply = await client.send("get_history", {"group_id": group, **arguments})
    assert reply.type == "ack", reply
    page: dict[str, Any] = reply.data
    return page


def contents(page: dict[str, Any]) -> list[Any]:
    """What was written, in the order of a page."""
    return [message["data"]["content"] for message in page["messages"]]


async def test_a_page_has_the_messages_newest_first_and_as_they_were_pushed(
    gateway: RunningGateway, other: RunningGateway
) -> None:
    async with (
        connected(gateway, "ann", claims={"name": "Ann", **IN_G}) as ann,
        connected(other, "bob", claims=IN_G) as bob,
    ):
        await write(ann, "one", {"n": 2**70, "deep": [[[]]]})
        pushed = await bob.received(2)
        page = await read(bob)
        assert page.keys() == {"success", "messages", "has_more"}
        assert page["messages"] == [
            {
                "type": frame.type,
                "message_id": frame.message_id,
                "timestamp": int(str(frame.id).partition("-")[0]),
                "id": frame.id,
                "data": frame.data,
            }
            for frame in reversed(pushed)
        ]
        assert page["has_more"] is False
        assert await read(ann) == page


async def test_what_was_taken_in_comes_out_however_deep(gateway: RunningGateway, tide: Publisher) -> None:
    deep: Any = "x"
    for _ in range(61):
        deep = [deep]
    deeper = [[[deep]]]
    async with connected(gateway, "ann", claims=IN_G) as ann:
        await write(ann, deep)
        await tide.publish("new_message", deeper, to="group:g", history=True)
        first, second = (await read(ann))["messages"]
        assert (first["data"], second["data"]["content"]) == (deeper, deep)


async def test_pages_follow_each_other_without_a_gap_or_a_double(gateway: RunningGateway) -> None:
    async with connected(gateway, "ann", claims=IN_G) as ann:
        ids = await write(ann, *range(25))
        seen: list[Any] = []
        before: dict[str, str] = {}
        more = True
        while more:
            page = await read(ann, limit=10, **before)
            seen += page["messages"]
            before = {"before": seen[-1]["id"]}
            more = page["has_more"]
        assert [message["id"] for message in seen] == ids[::-1]
        assert (await read(ann, before=ids[0]))["messages"] == []
        assert contents(await read(ann, before=ids[3], limit=2)) == [2, 1]


async def test_50_messages_are_a_page_where_nothing_is_said_and_100_are_the_most(redis_url: str) -> None:
    async with (
        running_gateway(redis_url, **KEEPING, limits__messages_burst=1_000) as gateway,
        connected(gateway, "ann", claims=IN_G) as ann,
    ):
        sent = [await ann.post("send_message", {"group_id": "g", "content": number}) for number in range(105)]
        await ann.reply(sent[-1])
        assert contents(await read(ann)) == list(range(104, 54, -1))
        page = await read(ann, limit=100)
        assert (len(page["messages"]), page["has_more"]) == (100, True)


async def test_a_page_that_would_be_too_large_for_a_frame_ends_sooner_and_says_so(gateway: RunningGateway) -> None:
    async with connected(gateway, "ann", claims=IN_G) as ann:
        await write(ann, *(f"{number}{'x' * 60_000}" for number in range(12)))
        first = await read(ann)
        assert 5 <= len(first["messages"]) < 12
        assert first["has_more"] is True
        rest = await read(ann, before=first["messages"][-1]["id"])
        assert [content[0] for content in contents(first) + contents(rest)][-1] == "0"
        assert len(first["messages"]) + len(rest["messages"]) == 12


async def test_the_same_message_sent_twice_is_kept_once(gateway: RunningGateway, other: RunningGateway) -> None:
    message = {"group_id": "g", "content": "hello"}
    async with connected(gateway, "ann", claims=IN_G) as ann, connected(other, "ann", claims=IN_G) as anns_phone:
        acks = [await client.send("send_message", message, message_id="m-1") for client in (ann, ann, anns_phone)]
        assert len({ack.data["id"] for ack in acks}) == 1
        page = await read(ann)
        assert [(one["id"], one["message_id"]) for one in page["messages"]] == [(acks[0].data["id"], "m-1")]


async def test_only_who_is_in_the_group_may_read_it(gateway: RunningGateway) -> None:
    async with connected(gateway, "ann", claims=IN_G) as ann, connected(gateway, "eve") as eve:
        await write(ann, "secret")
        refused = await eve.send("get_history", {"group_id": "g"})
        assert (refused.type, refused.data["code"]) == ("error", 403)
        await eve.send("join_group", {"group_id": "g"})
        assert contents(await read(eve)) == ["secret"]
        await eve.send("leave_group", {"group_id": "g"})
        assert (await eve.send("get_history", {"group_id": "g"})).data["code"] == 403


async def test_a_group_of_the_same_name_in_another_tenant_is_another_group(gateway: RunningGateway) -> None:
    async with (
        connected(gateway, "ann", claims=IN_G) as ann,
        connected(gateway, "ann", claims={"tenant": "acme", **IN_G}) as namesake,
        connected(gateway, "ann", claims={"tenant": "acme", "groups": ["default:g", "g"]}) as forger,
    ):
        await write(ann, "ours")
        await write(namesake, "theirs")
        assert contents(await read(ann)) == ["ours"]
        assert contents(await read(namesake)) == ["theirs"]
        assert contents(await read(forger, "default:g")) == []


async def test_only_the_groups_that_the_settings_name_keep_anything(redis_url: str, redis_server: RedisServer) -> None:
    claims = {"groups": ["kept-1", "other"]}
    async with (
        running_gateway(redis_url, history__groups=["kept-*", "team-?"]) as gateway,
        connected(gateway, "ann", claims=claims) as ann,
    ):
        await write(ann, "yes", group="kept-1")
        await write(ann, "no", group="other")
        await ann.send("send_message", {"to": "bob", "content": "private"})
        assert contents(await read(ann, "kept-1")) == ["yes"]
        assert (await read(ann, "other")) == {"success": True, "messages": [], "has_more": False}
    with redis_server.client() as redis:
        assert list(redis.scan_iter("tg:history:*")) == [history(0, "default", "kept-1")]


async def test_production_keeps_nothing_unless_told_to(redis_url: str, redis_server: RedisServer) -> None:
    async with running_gateway(redis_url) as gateway, connected(gateway, "ann", claims=IN_G) as ann:
        await write(ann, "gone")
        assert (await read(ann))["messages"] == []
    with redis_server.client() as redis:
        assert list(redis.scan_iter("tg:history:*")) == []


async def test_a_history_holds_so_many_messages_and_ends_with_its_retention(
    redis_url: str, redis_server: RedisServer
) -> None:
    async with (
        running_gateway(redis_url, **KEEPING, history__max_messages=5, history__retention_days=2) as gateway,
        connected(gateway, "ann", claims=IN_G) as ann,
    ):
        await write(ann, *range(8))
        assert contents(await read(ann)) == [7, 6, 5, 4, 3]
        with redis_server.client() as redis:
            assert 2 * 86_400 - 60 < redis.ttl(history(0, "default", "g")) <= 2 * 86_400


async def test_what_is_older_than_the_retention_is_not_shown_though_the_group_is_busy(
    redis_url: str, redis_server: RedisServer
) -> None:
    async with (
        running_gateway(redis_url, **KEEPING, history__retention_days=1) as gateway,
        connected(gateway, "ann", claims=IN_G) as ann,
    ):
        key = history(0, "default", "g")
        await write(ann, "young")
        with redis_server.client() as redis:
            [(entry_id, fields)] = redis.xrange(key)
            redis.delete(key)
            redis.xadd(key, fields, id=f"{int(entry_id.partition('-')[0]) - 86_500_000}-0")
        await write(ann, "new")
        assert contents(await read(ann)) == ["new"]


async def test_bad_arguments_are_refused_with_400(gateway: RunningGateway) -> None:
    async with connected(gateway, "ann", claims=IN_G) as ann:
        position = "1764930000000-0"
        bad_limits = (0, -1, 101, 10**30, 1.5, "10", True, [], {})
        bad_ids = (
            "",
            "x",
            7,
            [],
            f"{position}",
            f"{position}.1.abc",
            f"{position}.0.abc,{position}.1.abc",
            "0-0.0.abc",
        )
        huge = (f"1764930000000-{2**64}.0.abc", "9" * 30 + "-0.0.abc", "x" * 5_000)
        for arguments in (
            *({"limit": limit} for limit in bad_limits),
            *({"before": before} for before in (*bad_ids, *huge)),
        ):
            refused = await ann.send("get_history", {"group_id": "g", **arguments})
            assert (refused.type, refused.data["code"]) == ("error", 400), arguments
        for data in (None, [], {}, {"group_id": 7}, {"group_id": "a\nb"}):
            assert (await ann.send("get_history", data)).data["code"] == 400, data
        largest = f"9999999999999999-{2**64 - 1}.0.abc"
        assert (await read(ann, before=largest, limit=None)) == {"success": True, "messages": [], "has_more": False}


async def test_an_id_of_a_message_that_is_gone_still_says_where_to_go_on(gateway: RunningGateway) -> None:
    async with connected(gateway, "ann", claims=IN_G) as ann:
        ids = await write(ann, "one", "two", "three")
        assert (await ann.send("recall_message", {"group_id": "g", "message_id": ids[1]})).type == "ack"
        assert contents(await read(ann, before=ids[1])) == ["one"]


async def test_history_is_there_after_every_gateway_was_killed(redis_url: str, tide: Publisher) -> None:
    async with GatewayProcess(redis_url, **KEEPING) as one:
        async with connected(one, "ann", claims=IN_G) as ann:
            ids = await write(ann, *range(10))
            one.kill()
        await one.start()
        async with connected(one, "bob", claims=IN_G) as bob:
            assert [message["id"] for message in (await read(bob))["messages"]] == ids[::-1]


async def test_history_outlives_the_log_and_goes_on_in_the_next(redis_server: RedisServer, redis_url: str) -> None:
    async with running_gateway(redis_url, **KEEPING) as gateway, connected(gateway, "ann", claims=IN_G) as ann:
        [old] = await write(ann, "old")
        with redis_server.client() as redis:
            redis.delete("tg:{events:0}", "tg:{events:0}:epoch")
        [new] = await write(ann, "new")
        page = await read(ann)
        assert [(one["id"], one["data"]["content"]) for one in page["messages"]] == [(new, "new"), (old, "old")]
        assert Cursor.parse(old).epoch != Cursor.parse(new).epoch


async def test_without_redis_it_is_answered_with_503_and_the_connection_stays() -> None:
    with RedisServer() as server:
        async with (
            running_gateway(server.url, **KEEPING) as gateway,
            connected(gateway, "ann", claims=IN_G) as ann,
        ):
            await write(ann, "one")
            assert gateway.services.chat.history._timeout_s == 5
            gateway.services.chat.history._timeout_s = 1  # for these reads alone: all else has its time
            server.pause()
            asked = [await ann.post("get_history", {"group_id": "g"}) for _ in range(20)]  # over those at a time
            refused = [await ann.reply(message_id) for message_id in asked]
            server.resume()
            assert {(one.type, one.data["code"]) for one in refused} == {("error", 503)}
            assert all(one.data["retry_after_ms"] > 0 for one in refused)

            async def answered() -> dict[str, Any] | None:
                reply = await ann.send("get_history", {"group_id": "g"})
                return reply.data if reply.type == "ack" else None

            assert contents(await wait_until(answered)) == ["one"]
            server.kill()
            assert (await ann.send("get_history", {"group_id": "g"})).data["code"] == 503
            assert (await ann.send("echo", 1)).data == 1


async def test_a_services_event_is_kept_where_it_says_so(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "ann", claims=IN_G) as ann:
        kept = await tide.publish("notice", {"text": "Ann has joined"}, to="group:g", history=True)
        await tide.publish("notice", {"text": "not kept"}, to="group:g")
        [message] = (await read(ann))["messages"]
        assert (message["type"], message["id"], message["data"]) == ("notice", kept, {"text": "Ann has joined"})


async def test_with_several_partitions_each_group_has_its_history_beside_its_log(
    redis_url: str, redis_server: RedisServer
) -> None:
    groups = [f"g{number}" for number in range(8)]
    async with (
        running_gateway(redis_url, **KEEPING, log__partitions=4) as gateway,
        connected(gateway, "ann", claims={"groups": groups}) as ann,
    ):
        ids = {group: (await write(ann, group, f"{group} again", group=group))[1] for group in groups}
        assert len({Cursor.parse(one).partition for one in ids.values()}) > 1
        for group in groups:
            assert contents(await read(ann, group, before=ids[group])) == [group]
    with redis_server.client() as redis:
        keys = set(redis.scan_iter("tg:history:*"))
    assert keys == {history(Cursor.parse(one).partition, "default", group) for group, one in ids.items()}


@pytest.mark.parametrize("echo", [False, True])
async def test_the_connection_that_sends_receives_its_own_message_where_echo_is_on(
    redis_url: str, tide: Publisher, echo: bool
) -> None:
    async with (
        running_gateway(redis_url, chat__echo=echo) as gateway,
        running_gateway(redis_url, chat__echo=echo) as other,
        connected(gateway, "ann", claims=IN_G) as ann,
        connected(other, "ann", token=make_token("ann", groups=["g"])) as anns_phone,
    ):
        [message] = await write(ann, "hello")
        private = await ann.send("send_message", {"to": "bob", "content": "hi"})
        await settled(tide, ann, anns_phone)
        both = [message, private.data["id"]]
        assert [frame.id for frame in anns_phone.pushes] == both
        assert [frame.id for frame in ann.pushes] == (both if echo else [])
