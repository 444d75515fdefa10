"""Presence when instances end: real processes, at their own pace."""

from __future__ import annotations

import time

import pytest

from publisher import Publisher
from tests.support.clients import Client, connected, settled
from tests.support.gateway import GatewayProcess
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

ON = {"presence__groups": ["*"], "limits__messages_per_s": 1_000, "limits__messages_burst": 1_000}
OPS = {"groups": ["ops"]}
OFFLINE_WITHIN_S = 45.0


def heard(client: Client, user: str) -> list[str]:
    return [frame.data["action"] for frame in client.of_type("presence") if frame.data["user_id"] == user]


async def is_online(client: Client, user: str) -> bool:
    reply = await client.send("get_online_status", {"user_id": user})
    assert reply.type == "ack", reply
    online: bool = reply.data["online"]
    return online


async def _is_offline(client: Client, user: str) -> bool:
    return not await is_online(client, user)


async def in_group(client: Client) -> list[str]:
    reply = await client.send("get_presence", {"group_id": "ops"})
    users: list[str] = reply.data["users"]
    return users


async def test_the_users_of_a_killed_instance_leave_within_45_s(server: RedisServer) -> None:
    async with (
        GatewayProcess(server.url, **ON) as dying,
        GatewayProcess(server.url, **ON) as one,
        GatewayProcess(server.url, **ON) as other,
        connected(one, "alice", claims=OPS) as alice,
        connected(other, "carol", claims=OPS) as carol,
        connected(other, "both", claims=OPS),
    ):
        async with connected(dying, "bob", claims=OPS), connected(dying, "both", claims=OPS):
            await wait_until(lambda: heard(alice, "bob") == ["join"] and heard(alice, "both") == ["join"])
            assert await is_online(alice, "bob")
            dying.kill()
            killed_at = time.monotonic()
        await wait_until(
            lambda: heard(alice, "bob") == ["join", "leave"] and heard(carol, "bob")[-1:] == ["leave"],
            OFFLINE_WITHIN_S,
        )
        await wait_until(lambda: _is_offline(carol, "bob"), OFFLINE_WITHIN_S)
        assert time.monotonic() - killed_at < OFFLINE_WITHIN_S
        assert await in_group(carol) == ["alice", "both", "carol"]
        assert await is_online(alice, "both")
        assert heard(alice, "both") == ["join"]


async def test_sigterm_announces_leaves(server: RedisServer) -> None:
    async with (
        GatewayProcess(server.url, **ON) as ending,
        GatewayProcess(server.url, **ON) as staying,
        connected(staying, "alice", claims=OPS) as alice,
        connected(ending, "bob", claims=OPS),
        connected(ending, "carol", claims=OPS),
    ):
        await wait_until(lambda: heard(alice, "bob") == heard(alice, "carol") == ["join"])
        assert await ending.terminate() == 0
        await wait_until(lambda: heard(alice, "bob") == heard(alice, "carol") == ["join", "leave"])
        assert await in_group(alice) == ["alice"]
        assert "Traceback" not in ending.log
        with server.client() as client:
            assert list(client.hgetall("tg:presence:{events:0}:@instances")) == [staying.instance_id]


async def test_a_killed_instance_that_starts_again_clears_up_after_itself(server: RedisServer) -> None:
    async with (
        GatewayProcess(server.url, **ON) as phoenix,
        GatewayProcess(server.url, **ON) as watching,
        connected(watching, "alice", claims=OPS) as alice,
    ):
        async with connected(phoenix, "bob", claims=OPS), connected(phoenix, "carol", claims=OPS):
            await wait_until(lambda: heard(alice, "bob") == heard(alice, "carol") == ["join"])
            phoenix.kill()
        await phoenix.start()
        async with connected(phoenix, "carol", claims=OPS):
            await wait_until(lambda: heard(alice, "bob") == ["join", "leave"], OFFLINE_WITHIN_S)
            assert heard(alice, "carol") == ["join"]
            assert await in_group(alice) == ["alice", "carol"]


@pytest.mark.parametrize("empty", [False, True])
async def test_a_restart_of_redis_makes_nobody_join_or_leave(server: RedisServer, tide: Publisher, empty: bool) -> None:
    async with (
        GatewayProcess(server.url, **ON) as one,
        GatewayProcess(server.url, **ON) as other,
        connected(one, "alice", claims=OPS) as alice,
        connected(other, "bob", claims=OPS) as bob,
    ):
        await wait_until(lambda: heard(alice, "bob") == ["join"])

        async def are_told() -> bool:
            """Each knows of the other by Redis; of its own users, an instance knows by itself."""
            return await in_group(alice) == await in_group(bob) == ["alice", "bob"]

        await wait_until(are_told)
        await settled(tide, alice, bob)
        before = heard(bob, "alice")  # it depends on which of the two instances told first
        if empty:
            with server.client() as client:
                client.flushall()
        else:
            server.kill()
            server.start()

        async def is_back() -> bool:
            group = await alice.send("get_presence", {"group_id": "ops"})
            user = await bob.send("get_online_status", {"user_id": "alice"})
            for reply in (group, user):
                assert reply.type == "ack" or reply.data["code"] == 503
            return group.data.get("users") == ["alice", "bob"] and user.data.get("online") is True

        await wait_until(is_back, 30)
        assert (heard(alice, "bob"), heard(bob, "alice")) == (["join"], before)
