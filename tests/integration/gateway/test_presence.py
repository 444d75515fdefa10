"""Presence over sockets: who is online, who is in a group, and who hears of it, on two instances."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from publisher import Publisher
from tests.support.clients import Client, Endpoint, connected, settled
from tests.support.gateway import PRODUCTION_POLICY, RunningGateway, running_gateway
from tests.support.waiting import wait_until

# Who waits for an answer asks on and on. A leave is told soon.
ON: dict[str, Any] = {
    "presence__groups": ["*"],
    "presence__leave_grace_s": 0.1,
    "limits__messages_per_s": 1_000,
    "limits__messages_burst": 1_000,
}
OPS = {"groups": ["ops"]}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[RunningGateway]:
    async with running_gateway(redis_url, **ON) as running:
        yield running


@pytest.fixture
async def other(redis_url: str, gateway: RunningGateway) -> AsyncIterator[RunningGateway]:
    async with running_gateway(redis_url, **ON) as running:
        yield running


def heard(client: Client) -> list[tuple[str, str, str]]:
    """Return group, user and action of each `presence` that came, in order."""
    data = [frame.data for frame in client.of_type("presence")]
    assert all(set(each) == {"group_id", "user_id", "action"} for each in data)
    return [(each["group_id"], each["user_id"], each["action"]) for each in data]


async def hears(client: Client, *expected: tuple[str, str, str]) -> None:
    await client.until(lambda: len(heard(client)) >= len(expected))
    assert heard(client) == list(expected)


def of_user(client: Client, user: str) -> list[str]:
    """Return what came about one user, in order."""
    return [action for _, name, action in heard(client) if name == user]


async def in_group(client: Client, group: str = "ops", **options: Any) -> list[str]:
    reply = await client.send("get_presence", {"group_id": group, **options})
    assert reply.type == "ack", reply
    users: list[str] = reply.data["users"]
    return users


async def online(client: Client, *users: str) -> dict[str, bool]:
    reply = await client.send("get_online_status", {"user_ids": list(users)})
    assert reply.type == "ack", reply
    statuses: dict[str, bool] = reply.data["online"]
    return statuses


async def comes_online(client: Client, user: str, expected: bool = True) -> None:
    async def is_so() -> bool:
        return (await online(client, user))[user] is expected

    await wait_until(is_so)


async def refused(client: Client, command: str, data: Any) -> int:
    reply = await client.send(command, data)
    assert reply.type == "error", reply
    code: int = reply.data["code"]
    return code


# Joins and leaves.


async def test_two_devices_on_two_instances_join_once_and_leave_once(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "alice", claims=OPS) as alice, connected(other, "carol", claims=OPS) as carol:
        await hears(alice, ("ops", "carol", "join"))
        async with connected(gateway, "bob", claims=OPS):
            await hears(alice, ("ops", "carol", "join"), ("ops", "bob", "join"))
            async with connected(other, "bob", claims=OPS) as second:
                assert await in_group(second) == ["alice", "bob", "carol"]
        await hears(alice, ("ops", "carol", "join"), ("ops", "bob", "join"), ("ops", "bob", "leave"))
        await settled(tide, carol)
        assert of_user(carol, "bob") == ["join", "leave"]
        assert await in_group(carol) == ["alice", "carol"]


async def test_a_group_may_be_joined_and_left_by_command(gateway: RunningGateway, other: RunningGateway) -> None:
    async with connected(gateway, "alice", claims=OPS) as alice, connected(other, "bob") as bob:
        await bob.send("join_group", {"group_id": "ops"})
        await hears(alice, ("ops", "bob", "join"))
        await bob.send("leave_group", {"group_id": "ops"})
        await hears(alice, ("ops", "bob", "join"), ("ops", "bob", "leave"))
        assert (await online(alice, "bob"))["bob"]


async def test_ones_own_coming_is_no_news(gateway: RunningGateway, other: RunningGateway, tide: Publisher) -> None:
    async with (
        connected(gateway, "alice", claims=OPS) as alice,
        connected(other, "alice", claims=OPS) as also,
        connected(other, "bob", claims=OPS) as bob,
    ):
        await hears(alice, ("ops", "bob", "join"))
        await settled(tide, alice, also, bob)
        assert heard(alice) == heard(also) == [("ops", "bob", "join")]


async def test_a_reload_within_the_grace_is_silent(redis_url: str) -> None:
    async with running_gateway(redis_url, **ON) as other, connected(other, "alice", claims=OPS) as alice:
        async with running_gateway(redis_url, **{**ON, "presence__leave_grace_s": 60}) as gateway:
            async with connected(gateway, "bob", claims=OPS):
                await hears(alice, ("ops", "bob", "join"))
            async with connected(gateway, "bob", claims=OPS), connected(gateway, "last", claims=OPS):
                await hears(alice, ("ops", "bob", "join"), ("ops", "last", "join"))
        await alice.until(lambda: len(heard(alice)) == 4)  # at the gateway's end
        assert sorted(heard(alice)[2:]) == [("ops", "bob", "leave"), ("ops", "last", "leave")]


async def test_without_grace_a_reload_is_heard(redis_url: str) -> None:
    async with (
        running_gateway(redis_url, **{**ON, "presence__leave_grace_s": 0}) as gateway,
        connected(gateway, "alice", claims=OPS) as alice,
    ):
        async with connected(gateway, "bob", claims=OPS):
            await hears(alice, ("ops", "bob", "join"))
        await hears(alice, ("ops", "bob", "join"), ("ops", "bob", "leave"))


async def test_who_comes_back_gets_the_last_word_about_each(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    """What was missed is replayed, but of several changes of one user only the last."""
    async with connected(gateway, "alice", claims=OPS) as alice:
        cursor = alice.cursor
    async with connected(gateway, "watcher", claims=OPS) as watcher:
        for count in (1, 3):
            async with connected(other, "bob", claims=OPS):
                await watcher.until(lambda count=count: len(of_user(watcher, "bob")) == count)
            await watcher.until(lambda count=count: len(of_user(watcher, "bob")) == count + 1)
        assert of_user(watcher, "bob") == ["join", "leave", "join", "leave"]
        async with connected(gateway, "alice", claims=OPS, cursor=cursor) as alice:
            assert alice.welcome["resumed"]
            await settled(tide, alice)
            assert of_user(alice, "bob") == ["leave"]


async def test_a_shutdown_announces_leaves(redis_url: str) -> None:
    async with running_gateway(redis_url, **ON) as staying, connected(staying, "alice", claims=OPS) as alice:
        async with running_gateway(redis_url, **ON) as leaving:
            async with connected(leaving, "bob", claims=OPS), connected(leaving, "carol", claims=OPS):
                await alice.until(lambda: len(heard(alice)) == 2)
                await leaving.application.__aexit__()
            assert await online(alice, "bob", "carol") == {"bob": False, "carol": False}
        await alice.until(lambda: len(heard(alice)) == 4)
        assert sorted(heard(alice)[2:]) == [("ops", "bob", "leave"), ("ops", "carol", "leave")]


async def test_tenants_do_not_see_each_other(gateway: RunningGateway, other: RunningGateway, tide: Publisher) -> None:
    acme = {**OPS, "tenant": "acme"}
    async with (
        connected(gateway, "alice", claims=OPS) as alice,
        connected(other, "bob", claims=acme) as bob,
        connected(other, "carol", claims=OPS) as carol,
    ):
        await hears(alice, ("ops", "carol", "join"))
        await comes_online(carol, "alice")
        assert await in_group(bob) == ["bob"]
        assert await online(bob, "alice", "bob", "carol") == {"alice": False, "bob": True, "carol": False}
        assert await in_group(carol) == ["alice", "carol"]
        await settled(tide, bob, tenant="acme")
        assert heard(bob) == []


# Off.


async def test_of_other_groups_nothing_is_tracked_or_sent(redis_url: str, tide: Publisher) -> None:
    claims = {"groups": ["hall", "room-1"]}
    async with (
        running_gateway(redis_url, presence__groups=["room-*"]) as gateway,
        connected(gateway, "alice", claims=claims) as alice,
        connected(gateway, "bob", claims=claims),
    ):
        await hears(alice, ("room-1", "bob", "join"))
        assert await in_group(alice, "room-1") == ["alice", "bob"]
        assert await refused(alice, "get_presence", {"group_id": "hall"}) == 403
        await settled(tide, alice)
        assert heard(alice) == [("room-1", "bob", "join")]


async def test_in_production_no_groups_presence_is_kept(redis_url: str, tide: Publisher) -> None:
    async with (
        running_gateway(redis_url, **PRODUCTION_POLICY) as gateway,
        connected(gateway, "alice", claims=OPS) as alice,
        connected(gateway, "bob", claims=OPS) as bob,
    ):
        assert await refused(alice, "get_presence", {"group_id": "ops"}) == 403
        assert (await alice.send("get_online_status", {"user_id": "alice"})).data["online"] is True
        assert await refused(alice, "get_online_status", {"user_id": "bob"}) == 403
        assert await refused(alice, "get_online_status", {"user_ids": ["alice", "bob"]}) == 403
        await settled(tide, alice, bob)
        assert heard(alice) == []


async def test_presence_off_tracks_and_sends_nothing(redis_url: str, tide: Publisher) -> None:
    async with (
        running_gateway(redis_url, **ON, presence__enabled=False) as gateway,
        connected(gateway, "alice", claims=OPS) as alice,
        connected(gateway, "bob", claims=OPS) as bob,
    ):
        assert await refused(alice, "get_presence", {"group_id": "ops"}) == 403
        assert await refused(alice, "get_online_status", {"user_id": "alice"}) == 403
        await settled(tide, alice, bob)
        assert heard(alice) == []
        assert gateway.application.parts.presence is None


# Questions.


async def test_online_status_is_of_all_instances(gateway: RunningGateway, other: RunningGateway) -> None:
    async with connected(gateway, "alice") as alice:
        async with connected(other, "bob"):
            await comes_online(alice, "bob")
            assert (await alice.send("get_online_status", {"user_id": "bob"})).data == {"success": True, "online": True}
            assert await online(alice, "bob", "alice", "x") == {"bob": True, "alice": True, "x": False}
        await comes_online(alice, "bob", False)
        assert (await alice.send("get_online_status", {"user_id": "bob"})).data["online"] is False


async def test_whoever_asks_is_there_at_once(gateway: RunningGateway) -> None:
    async with connected(gateway, "alice", claims=OPS) as alice:
        assert (await alice.send("get_online_status", {"user_id": "alice"})).data["online"] is True
        assert await in_group(alice) == ["alice"]


async def test_who_is_in_a_group_comes_in_pages(gateway: RunningGateway, other: RunningGateway) -> None:
    users = [f"u{number}" for number in range(5)]
    async with connected(gateway, "u5", claims=OPS) as client:
        held = [connected((gateway, other)[number % 2], user, claims=OPS) for number, user in enumerate(users)]
        for one in held:
            await one.__aenter__()
        try:
            await client.until(lambda: len(heard(client)) == 5)
            found: list[str] = []
            page = (await client.send("get_presence", {"group_id": "ops", "limit": 2})).data
            while True:
                assert page["total"] == 6
                found += page["users"]
                if "next" not in page:
                    break
                question = {"group_id": "ops", "limit": 2, "after": page["next"]}
                page = (await client.send("get_presence", question)).data
            assert found == [*users, "u5"]
        finally:
            for one in held:
                await one.__aexit__(None, None, None)


async def test_only_connections_in_a_group_may_ask_who_is_in_it(gateway: RunningGateway) -> None:
    async with connected(gateway, "alice") as alice:
        assert await refused(alice, "get_presence", {"group_id": "ops"}) == 403
        await alice.send("join_group", {"group_id": "ops"})
        assert await in_group(alice) == ["alice"]
        await alice.send("leave_group", {"group_id": "ops"})
        assert await refused(alice, "get_presence", {"group_id": "ops"}) == 403


async def test_the_policy_says_who_may_see_whom(redis_url: str) -> None:
    rules = [{"pattern": "staff-*", "allow": "anyone"}, {"pattern": "*", "allow": "scope:see"}]
    async with (
        running_gateway(redis_url, policy__see_online=rules) as gateway,
        connected(gateway, "alice") as alice,
        connected(gateway, "boss", claims={"scope": "see"}) as boss,
    ):
        assert await online(alice, "staff-1") == {"staff-1": False}
        assert await refused(alice, "get_online_status", {"user_ids": ["staff-1", "boss"]}) == 403
        assert set(await online(boss, "alice", "staff-1")) == {"alice", "staff-1"}


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "bob",
        {},
        {"user_id": "a", "user_ids": ["b"]},
        {"user_id": 7},
        {"user_id": ""},
        {"user_id": "x" * 257},
        {"user_id": "a\nb"},
        {"user_id": ["a"]},
        {"user_ids": "a"},
        {"user_ids": []},
        {"user_ids": ["a", 1]},
        {"user_ids": ["a", None]},
        {"user_ids": ["a\x00"]},
        {"user_ids": [["a"]]},
        {"user_ids": {"a": "b"}},
        {"user_ids": ["a"] * 1_001},
    ],
)
async def test_a_question_about_users_that_does_not_hold_is_refused(gateway: RunningGateway, data: Any) -> None:
    async with connected(gateway) as client:
        assert await refused(client, "get_online_status", data) == 400


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"group_id": 7},
        {"group_id": ""},
        {"group_id": "a\nb"},
        {"group_id": "ops", "after": ""},
        {"group_id": "ops", "after": 7},
        {"group_id": "ops", "after": None},
        {"group_id": "ops", "limit": 0},
        {"group_id": "ops", "limit": -1},
        {"group_id": "ops", "limit": 1_001},
        {"group_id": "ops", "limit": True},
        {"group_id": "ops", "limit": "5"},
        {"group_id": "ops", "limit": 1.5},
        {"group_id": "ops", "limit": 2**70},
    ],
)
async def test_a_question_about_a_group_that_does_not_hold_is_refused(gateway: RunningGateway, data: Any) -> None:
    async with connected(gateway, claims=OPS) as client:
        assert await refused(client, "get_presence", data) == 400


@pytest.mark.parametrize("name", ["a b", "{events:0}", "*", "a:users", "'\"]", "ä\u2028日本", "@held:x", "x" * 256])
async def test_hostile_names_are_names(gateway: RunningGateway, other: RunningGateway, name: str) -> None:
    claims = {"groups": [name]}
    async with connected(gateway, "watcher", claims=claims) as watcher:
        async with connected(other, name, claims=claims) as client:
            await hears(watcher, (name, name, "join"))
            assert await in_group(watcher, name) == sorted([name, "watcher"])
            await comes_online(client, "watcher")
            assert await online(client, name, "watcher", "nobody") == {name: True, "watcher": True, "nobody": False}
        await hears(watcher, (name, name, "join"), (name, name, "leave"))


async def test_many_users_are_asked_for_at_once(gateway: RunningGateway, other: RunningGateway) -> None:
    async with connected(gateway, "alice") as alice, connected(other, "u999"):
        await comes_online(alice, "u999")
        statuses = await online(alice, *(f"u{number}" for number in range(1_000)))
        assert [user for user, status in statuses.items() if status] == ["u999"]
        assert len(statuses) == 1_000


async def join_and_leave(to: Endpoint, user: str) -> None:
    async with connected(to, user, claims=OPS):
        pass


async def test_very_short_visits_are_announced_in_pairs_or_not_at_all(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "watcher", claims=OPS) as watcher:
        for number in range(30):
            await join_and_leave((gateway, other)[number % 2], f"u{number % 3}")
        for number, to in enumerate((gateway, other)):  # which tells what there was before as well, and before
            async with connected(to, f"last-{number}", claims=OPS):
                await watcher.until(lambda number=number: of_user(watcher, f"last-{number}") == ["join"])
            await watcher.until(lambda number=number: of_user(watcher, f"last-{number}") == ["join", "leave"])
        await settled(tide, watcher)
        assert await in_group(watcher) == ["watcher"]
        for user in ("u0", "u1", "u2"):
            actions = of_user(watcher, user)
            assert actions == ["join", "leave"] * (len(actions) // 2)
