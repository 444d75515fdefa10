"""Durable groups: had from the first frame on, and given and taken at their place between the messages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from publisher import Cursor, Publisher, keys, make_event
from publisher.event import KIND_STATE
from publisher.notification import UNREAD_COUNT
from tests.integration.gateway.raw_socket import raw_socket
from tests.support.clients import Client, Way, connected, opened, settled
from tests.support.gateway import PRODUCTION_POLICY, RunningGateway, running_gateway
from tests.support.monitor import Call, monitored
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

HOSTILE = ("user:1", '"]', "a\\b", "{events:0}", "李 雷", "\U0001f468\u200d", "a/b", "x" * 256, "*?", "")


def received(client: Client) -> list[Any]:
    return [data for kind, data in client.events if kind == "e"]


def post(tide: Publisher, data: Any, group: str = "ops", **options: Any) -> Any:
    return tide.publish("e", data, to=f"group:{group}", **options)


def looked_up(calls: list[Call]) -> list[Call]:
    """Return which of them were about users' memberships or inboxes: what loading a profile reads."""
    return [call for call in calls if call.first.startswith(("tg:members:", "tg:inbox:"))]


def lookups(calls: list[Call]) -> int:
    """Count the scripts that looked users up."""
    scripts = 0
    looking = False
    for call in calls:
        if not call.in_script:  # what a script calls follows the call of it
            looking = False
        elif not looking and looked_up([call]):
            scripts += 1
            looking = True
    return scripts


# Before connecting.


@pytest.mark.parametrize("way", ["query", "header", "subprotocol", "auth"])
async def test_who_was_added_while_away_has_the_group_from_the_start(
    gateway: RunningGateway, tide: Publisher, way: Way
) -> None:
    await tide.groups.add("ops", "42")
    async with connected(gateway, "42", way=way) as client:
        await post(tide, 1)
        await settled(tide, client)
        assert received(client) == [1]


async def test_without_a_cursor_nothing_from_before_the_connect_comes(gateway: RunningGateway, tide: Publisher) -> None:
    await tide.groups.add("ops", "42")
    await post(tide, "earlier")
    async with connected(gateway, "x") as witness:
        await settled(tide, witness)
    async with connected(gateway, "42") as client:
        await settled(tide, client)
        assert received(client) == []


async def test_client_info_names_them(gateway: RunningGateway, tide: Publisher) -> None:
    await tide.groups.add("ops", "42")
    async with connected(gateway, "42", claims={"groups": ["chat"]}) as client:
        info = (await client.send("get_client_info")).data
        assert (info["groups"], info["durable_groups"]) == (["chat", "ops"], ["ops"])


async def test_hostile_names_are_names(gateway: RunningGateway, tide: Publisher) -> None:
    for name in HOSTILE[:-1]:
        await tide.groups.add(name, *HOSTILE[:-1])
    for user in HOSTILE[:-1]:
        async with connected(gateway, user) as client:
            for name in HOSTILE[:-1]:
                await post(tide, name, name)
            await settled(tide, client)
            assert received(client) == list(HOSTILE[:-1])


async def test_a_key_of_a_wrong_type_keeps_nobody_out(
    gateway: RunningGateway, tide: Publisher, redis_server: RedisServer
) -> None:
    await tide.groups.add("ops", "42")
    with redis_server.client() as client:
        client.set(keys.memberships(0, "default", "7"), "text")
        client.hset(keys.memberships(0, "default", "8"), mapping={"ops": "not an id"})
        client.set(keys.inbox_unread(0, "default", "42"), "text")
    async with connected(gateway, "7") as one, connected(gateway, "8") as two, connected(gateway, "42") as three:
        await post(tide, 1)
        await settled(tide, one, two, three)
        assert [received(client) for client in (one, two, three)] == [[], [], [1]]
        assert "unread_count" not in three.welcome


async def test_tenants_are_kept_apart(gateway: RunningGateway, tide: Publisher) -> None:
    await tide.groups.add("ops", "42", tenant="acme")
    async with connected(gateway, "42") as ours, connected(gateway, "42", claims={"tenant": "acme"}) as theirs:
        await tide.groups.add("late", "42")
        for group in ("ops", "late"):
            await post(tide, f"default {group}", group)
            await post(tide, f"acme {group}", group, tenant="acme")
        await settled(tide, ours)
        await settled(tide, theirs, tenant="acme")
        assert (received(ours), received(theirs)) == (["default late"], ["acme ops"])


async def test_more_durable_groups_than_addresses_are_allowed_cost_none_of_these(
    redis_url: str, tide: Publisher
) -> None:
    for number in range(20):
        await tide.groups.add(f"g{number}", "42")
    async with running_gateway(redis_url, limits__addresses=2) as gateway, connected(gateway, "42") as client:
        await post(tide, 1, "g19")
        codes = [(await client.send("subscribe", {"topic": str(n)})).data.get("code") for n in range(3)]
        assert codes == [None, None, 409]
        await settled(tide, client)
        assert received(client) == [1]


# While connected.


async def test_messages_and_members_have_one_order_on_every_instance(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with (
        connected(gateway, "42") as one,
        connected(other, "42") as two,
        connected(other, "43") as bystander,
    ):
        for number in range(10):  # each alone, so in reads of its own
            await post(tide, [number, "before"])
            await tide.groups.add("ops", "42")
            await post(tide, [number, "between"])
            await tide.groups.remove("ops", "42")
            await post(tide, [number, "after"])
        await settled(tide, one, two, bystander)
        assert received(one) == received(two) == [[number, "between"] for number in range(10)]
        assert received(bystander) == []


@pytest.mark.parametrize("padding", [0, 9_000], ids=["small", "over a write"])
async def test_they_have_one_order_within_one_read_too(
    gateway: RunningGateway, tide: Publisher, redis_server: RedisServer, padding: int
) -> None:
    async with connected(gateway, "42") as client:
        await settled(tide, client)
        with redis_server.client() as redis:
            redis.client_pause(200, all=False)  # what is queued meanwhile is carried out at once
        calls: list[Any] = []
        for number in range(10):
            calls.append(post(tide, [number, "before", "x" * padding]))
            calls.append(tide.groups.add("ops", "42"))
            calls += [post(tide, [number, "between", "x" * padding]), tide.publish("e", [number, "own"], to="user:42")]
            calls.append(tide.groups.remove("ops", "42"))
            calls.append(post(tide, [number, "after", "x" * padding]))
        await asyncio.gather(*calls)
        await settled(tide, client)
        got = [data[:2] for data in received(client)]
        assert got == [[number, which] for number in range(10) for which in ("between", "own")]


async def test_who_is_removed_loses_the_group_however_it_was_joined(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    await tide.groups.add("ops", "42")
    async with (
        connected(gateway, "42", claims={"groups": ["ops"]}) as by_token,
        connected(other, "42") as by_command,
        connected(other, "43", claims={"groups": ["ops"]}) as bystander,
    ):
        await by_command.send("leave_group", {"group_id": "ops"})
        await by_command.send("join_group", {"group_id": "ops"})
        await post(tide, 1)
        await tide.groups.remove("ops", "42")
        await post(tide, 2)
        await settled(tide, by_token, by_command, bystander)
        assert (received(by_token), received(by_command), received(bystander)) == ([1], [1], [1, 2])


async def test_who_leaves_by_command_is_back_with_the_next_connection(gateway: RunningGateway, tide: Publisher) -> None:
    await tide.groups.add("ops", "42")
    async with connected(gateway, "42") as client:
        await client.send("leave_group", {"group_id": "ops"})
        await post(tide, 1)
        await settled(tide, client)
        assert received(client) == []
    async with connected(gateway, "42") as client:
        await post(tide, 2)
        await settled(tide, client)
        assert received(client) == [2]


async def test_ten_thousand_members(gateway: RunningGateway, other: RunningGateway, tide: Publisher) -> None:
    users = [str(number) for number in range(10_000)]
    async with connected(gateway, "0") as first, connected(other, "9999") as last, connected(other, "x") as nobody:
        assert await tide.groups.add("big", users) == 10_000
        await post(tide, 1, "big")
        await settled(tide, first, last, nobody)
        async with connected(other, "5000") as late:
            assert await tide.groups.remove("big", users[:5_000]) == 5_000
            await post(tide, 2, "big")
            await settled(tide, first, last, nobody, late)
            assert [received(client) for client in (first, last, nobody, late)] == [[1], [1, 2], [], [2]]


async def test_a_poison_order_is_skipped(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "42") as client:
        for data in ({}, {"group": "ops"}, {"group": "", "action": "added"}, {"group": "ops", "action": "x"}, [], 7):
            order = make_event("members", data, to="user:42", kind=b"control")
            await tide.publish_many([order])
        for data in ({}, {"unread_count": -1}, {"unread_count": True}, {"unread_count": "1"}):
            await tide.publish_many([make_event(UNREAD_COUNT, data, to="user:42", kind=KIND_STATE)])
        await tide.groups.add("ops", "42")
        await post(tide, 1)
        await settled(tide, client)
        assert received(client) == [1]
        assert gateway.services.metrics.poison == 10


# Resuming.


async def test_a_resume_shows_what_the_group_had_after_one_was_added_and_nothing_from_before(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "42") as client:
        start = client.cursor
    await post(tide, "before")
    await tide.groups.add("ops", "42")
    await post(tide, "as a member")
    for instance in (gateway, other):
        async with connected(instance, "42", cursor=start) as back:
            await post(tide, "now")
            await settled(tide, back)
            assert received(back)[:2] == ["as a member", "now"]
            assert "before" not in received(back)


async def test_a_resume_across_removed_and_added_again_shows_the_latter_part_only(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    await tide.groups.add("ops", "42")
    async with connected(gateway, "42") as client:
        start = client.cursor
    await post(tide, 1)
    await tide.groups.remove("ops", "42")
    await post(tide, 2)
    for instance in (gateway, other):
        async with connected(instance, "42", cursor=start) as back:
            await settled(tide, back)
            assert received(back) == []
    await tide.groups.add("ops", "42")
    await post(tide, 3)
    for instance in (gateway, other):
        async with connected(instance, "42", cursor=start) as back:
            await settled(tide, back)
            assert received(back) == [3]


async def test_what_the_token_names_is_resumed_in_full(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "42") as client:
        start = client.cursor
    await post(tide, 1)
    await tide.groups.add("ops", "42")
    await post(tide, 2)
    async with connected(gateway, "42", cursor=start, claims={"groups": ["ops"]}) as back:
        await settled(tide, back)
        assert received(back) == [1, 2]


@pytest.mark.parametrize("fresh", [False, True], ids=["known", "new to the instance"])
async def test_a_resume_from_before_memory_obeys_the_same_bound(redis_url: str, tide: Publisher, fresh: bool) -> None:
    async with (
        running_gateway(redis_url, log__memory_entries=20) as gateway,
        running_gateway(redis_url, log__memory_entries=20) as other,
        connected(gateway, "x") as witness,
        connected(other, "x") as second,
    ):
        async with connected(gateway, "42") as client:
            start = client.cursor
        for number in range(30):
            await post(tide, number)
        await tide.groups.add("ops", "42")
        await tide.publish_many([{"event": "e", "data": n, "to": "group:ops"} for n in range(30, 100)])
        await settled(tide, witness, second)
        async with connected(other if fresh else gateway, "42", cursor=start) as back:
            await settled(tide, back)
            assert received(back) == list(range(30, 100))
            assert back.of_type("resync") == []


async def test_a_resume_from_before_memory_is_bound_though_the_adding_is_in_memory(
    redis_url: str, tide: Publisher
) -> None:
    async with running_gateway(redis_url, log__memory_entries=20) as gateway, connected(gateway, "x") as witness:
        start = witness.cursor
        await tide.publish_many([{"event": "e", "data": n, "to": ["group:ops", "user:42"][n % 2]} for n in range(50)])
        await tide.groups.add("ops", "42")
        await post(tide, 50)
        await settled(tide, witness)
        async with connected(gateway, "42", cursor=start) as back:
            await settled(tide, back)
            assert received(back) == [*range(1, 50, 2), 50]


async def test_joining_with_since_by_membership_shows_nothing_from_before_it(redis_url: str, tide: Publisher) -> None:
    for memory in (1_000, 10):
        group = f"g{memory}"
        async with (
            running_gateway(redis_url, **PRODUCTION_POLICY, log__memory_entries=memory) as gateway,
            connected(gateway, "42") as client,
        ):
            start = client.cursor
            for number in range(15):
                await post(tide, number, group)
            await tide.groups.add(group, "42")
            for number in range(15, 30):
                await post(tide, number, group)
            await settled(tide, client)
            await client.send("leave_group", {"group_id": group})
            await post(tide, 30, group)
            await settled(tide, client)
            assert received(client) == list(range(15, 30))
            assert (await client.send("join_group", {"group_id": group, "since": start})).type == "ack"
            await settled(tide, client)
            assert sorted(set(received(client))) == list(range(15, 31))


async def test_who_has_lost_the_group_has_nothing_more_of_it_though_its_socket_lags(
    redis_url: str, tide: Publisher
) -> None:
    await tide.groups.add("ops", "slow")
    async with (
        running_gateway(redis_url, limits__stall_timeout_s=60) as gateway,
        raw_socket(gateway, gateway.token("slow"), receive_buffer=8 * 1024) as slow,
    ):
        pad = "x" * 10_000
        await tide.publish_many([{"event": "e", "data": [n, pad], "to": "group:ops"} for n in range(500)])
        await tide.publish_many([{"event": "e", "data": [n, pad], "to": "user:slow"} for n in range(500, 510)])
        (connection,) = gateway.services.connections
        await wait_until(lambda: connection.paused)
        while len(slow.pushes) < 100:  # so that it is in the midst of catching up
            assert await slow.read()
        await wait_until(lambda: connection.paused)
        await tide.groups.remove("ops", "slow")
        await wait_until(lambda: "group:ops" not in connection.addresses)
        await post(tide, [1_000, pad])
        await tide.publish("e", [510, ""], to="user:slow")
        while not slow.pushes or slow.pushes[-1].data[0] != 510:
            assert await slow.read()
        numbers = [frame.data[0] for frame in slow.pushes]
        kept = [number for number in numbers if number < 500]
        assert kept == list(range(len(kept)))
        assert len(kept) < 400
        assert numbers[len(kept) :] == list(range(500, 511))


async def test_who_loses_the_group_while_it_resumes_from_the_stream_has_nothing_more_of_it(
    redis_url: str, tide: Publisher
) -> None:
    await tide.groups.add("ops", "42")
    async with running_gateway(redis_url, log__memory_entries=10) as gateway, connected(gateway, "x") as witness:
        start = witness.cursor
        await tide.publish_many(
            [{"event": "e", "data": n, "to": ["group:ops", "user:42"][n % 2]} for n in range(9_000)]
        )
        await settled(tide, witness)
        async with opened(gateway) as back:
            await back.post("auth", {"token": gateway.token("42"), "cursor": start})
            await wait_until(lambda: back.of_type("welcome") or any(one.held for one in gateway.services.connections))
            await tide.groups.remove("ops", "42")
            await back.next("welcome")
            await settled(tide, back)
            from_group = [n for n in received(back) if n % 2 == 0]
            assert from_group in ([], list(range(0, 9_000, 2)))  # the removal came during the resume, or after it
            assert [n for n in received(back) if n % 2] == list(range(1, 9_000, 2))


# The policy.


async def test_in_production_a_durable_member_may_join_and_send_and_nobody_else(
    redis_url: str, tide: Publisher
) -> None:
    async with (
        running_gateway(redis_url, **PRODUCTION_POLICY) as gateway,
        connected(gateway, "1") as member,
        connected(gateway, "2") as outsider,
    ):
        message = {"group_id": "ops", "content": "hello"}
        assert (await member.send("send_message", message)).data["code"] == 403
        added = await tide.groups.add("ops", "1")
        await settled(tide, member)
        assert (await member.send("send_message", message)).type == "ack"
        await member.send("leave_group", {"group_id": "ops"})
        assert (await member.send("send_message", message)).data["code"] == 403
        assert (await member.send("join_group", {"group_id": "ops"})).type == "ack"
        assert (await outsider.send("join_group", {"group_id": "ops"})).data["code"] == 403
        assert (await member.send("subscribe", {"topic": "ops"})).data["code"] == 403
        await tide.groups.remove("ops", "1")
        await settled(tide, member)
        assert (await member.send("send_message", message)).data["code"] == 403
        assert (await member.send("join_group", {"group_id": "ops"})).data["code"] == 403
        assert Cursor.parse(str(added.id))


# The unread count.


async def test_welcome_says_how_much_is_unread(
    gateway: RunningGateway, tide: Publisher, redis_server: RedisServer
) -> None:
    with redis_server.client() as redis:
        redis.zadd(keys.inbox_unread(0, "default", "42"), {"a": 1, "b": 2})
    async with connected(gateway, "42") as one:
        assert one.welcome["unread_count"] == 2
        await tide.publish_many([make_event(UNREAD_COUNT, {"unread_count": 7}, to="user:42", kind=KIND_STATE)])
        assert (await one.next(UNREAD_COUNT)).data == {"unread_count": 7}
        async with connected(gateway, "42") as two:
            assert two.welcome["unread_count"] == 7


async def test_welcome_counts_what_was_notified_and_read_meanwhile_on_every_instance(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "42") as known:
        assert known.welcome["unread_count"] == 0
        ids = [await tide.notify("42", title="one"), await tide.notify("42", title="two")]
        await known.until(lambda: [frame.data for frame in known.of_type(UNREAD_COUNT)][-1:] == [{UNREAD_COUNT: 2}])
    async with connected(other, "x") as witness:  # whose log says nothing older any more
        await settled(tide, witness)
    for instance in (gateway, other):  # one knows it from the log, the other asks
        async with connected(instance, "42") as back:
            assert back.welcome["unread_count"] == 2
    async with connected(other, "42") as reader:
        await reader.send("mark_read", {"notification_ids": ids[:1]})
        await settled(tide, reader)
    async with connected(gateway, "x") as witness:
        await settled(tide, witness)
    for instance in (gateway, other):
        async with connected(instance, "42") as back:
            assert back.welcome["unread_count"] == 1


# What it costs.


async def test_who_comes_back_costs_redis_nothing(redis_url: str, tide: Publisher, redis_server: RedisServer) -> None:
    # Presence asks Redis when somebody comes or goes, some hundred at a time; this is about what each costs.
    async with running_gateway(redis_url, presence__enabled=False) as gateway:
        await _visit_again(gateway, tide, redis_server)


async def _visit_again(gateway: RunningGateway, tide: Publisher, redis_server: RedisServer) -> None:
    users = [str(number) for number in range(100)]
    await tide.groups.add("ops", users)

    async def visit(user: str, cursor: str | None = None) -> str:
        async with connected(gateway, user, cursor=cursor) as client:
            return client.cursor

    async with monitored(redis_server) as calls:
        cursors = await asyncio.gather(*map(visit, users))
    assert looked_up(calls)
    await wait_until(lambda: not gateway.services.connections)
    await tide.groups.remove("ops", users[:50])  # and stays right meanwhile
    await post(tide, 1)
    async with connected(gateway, "0") as witness:
        await settled(tide, witness)
    async with monitored(redis_server) as calls:
        await asyncio.gather(*map(visit, users, cursors))
    assert looked_up(calls) == []
    async with connected(gateway, "0", cursor=cursors[0]) as lost, connected(gateway, "99", cursor=cursors[99]) as kept:
        await settled(tide, lost, kept)
        assert (received(lost), received(kept)) == ([], [1])


async def test_many_who_come_at_once_are_loaded_together(
    gateway: RunningGateway, tide: Publisher, redis_server: RedisServer
) -> None:
    users = [str(number) for number in range(200)]
    await tide.groups.add("ops", users)

    async def one(user: str) -> list[Any]:
        async with connected(gateway, user) as client:
            await client.received(1)
            return received(client)

    async with monitored(redis_server) as calls:
        tasks = [asyncio.ensure_future(one(user)) for user in users]
        await wait_until(lambda: gateway.services.hub.count("default", "group:ops") == 200)
    await post(tide, 1)
    assert await asyncio.gather(*tasks) == [[1]] * 200
    assert 1 <= lookups(calls) < 150


async def test_commands_that_come_with_auth_wait_and_are_answered_in_order(
    gateway: RunningGateway, tide: Publisher
) -> None:
    await tide.groups.add("ops", "42")
    async with opened(gateway) as client:
        posted = [await client.post("auth", {"token": gateway.token("42")})]
        posted += [await client.post("echo", number) for number in range(20)]
        posted.append(await client.post("send_message", {"group_id": "ops", "content": 1}))
        replies = [await client.reply(message_id) for message_id in posted]
        assert [reply.type for reply in replies] == ["auth_success", *["echo"] * 20, "ack"]
        order = [frame.type for frame in client.frames]
        assert order[:3] == ["auth_success", "welcome", "echo"]


# Several partitions.


async def test_groups_of_every_partition_are_had_and_lost(redis_url: str) -> None:
    names = [f"g{number}" for number in range(12)]
    async with (
        Publisher(redis_url, partitions=3) as tide,
        running_gateway(redis_url, log__partitions=3) as gateway,
        running_gateway(redis_url, log__partitions=3) as other,
    ):
        for name in names[:6]:
            await tide.groups.add(name, "42")
        async with connected(gateway, "42") as one, connected(other, "42") as two:
            for name in names[6:]:
                await tide.groups.add(name, "42")
            for name in names:
                await post(tide, name, name)
            for client in (one, two):
                await client.received(12)
                assert sorted(received(client)) == sorted(names)
            start = (await one.send("ping")).data["cursor"]
        for name in names[::2]:
            await tide.groups.remove(name, "42")
        for name in names:
            await post(tide, [name], name)
        async with connected(other, "42", cursor=start) as back:
            await back.received(6)
            await tide.publish("e", "end", to="user:42")
            await back.received(7)
            assert sorted(data[0] for data in received(back) if data != "end") == sorted(names[1::2])
