"""Durable groups when Redis cannot be asked, and when something of the log was missed: late, but never less."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from publisher import Publisher, keys
from tests.support.clients import Client, connected, opened, settled
from tests.support.gateway import PRODUCTION_POLICY, RunningGateway, running_gateway
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


def received(client: Client) -> list[Any]:
    return [data for kind, data in client.events if kind == "e"]


def post(tide: Publisher, data: Any, group: str = "ops") -> Any:
    return tide.publish("e", data, to=f"group:{group}")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Connections enter soon without a profile that cannot be had."""
    with monkeypatch.context() as soon:
        soon.setattr("gateway.profile_loader._PATIENCE_S", 0.5)
        yield soon


@pytest.fixture
def unreadable(redis_server: RedisServer, impatient: pytest.MonkeyPatch) -> Iterator[contextlib.ExitStack]:
    """Profiles cannot be read, and all else can, until this is closed."""
    with contextlib.ExitStack() as stack, redis_server.client() as redis:
        stack.callback(impatient.undo)
        redis.execute_command("ACL", "SETUSER", "default", "-hgetall")
        stack.callback(redis.execute_command, "ACL", "SETUSER", "default", "+hgetall")
        yield stack


async def known_to_be_down(gateway: RunningGateway, tide: Publisher) -> None:
    """Wait until the gateway lets connections in without their profiles, and has read the log as it is now."""
    async with connected(gateway, "canary") as client:
        assert "unread_count" not in client.welcome
        await settled(tide, client)


async def test_who_comes_while_profiles_cannot_be_read_enters_and_has_what_was_missed_later(
    gateway: RunningGateway, tide: Publisher, unreadable: contextlib.ExitStack
) -> None:
    await tide.groups.add("ops", "42")
    await post(tide, "before the connection")
    await known_to_be_down(gateway, tide)
    async with connected(gateway, "42") as client:
        assert "unread_count" not in client.welcome
        assert (await client.send("get_client_info")).data["durable_groups"] is None
        await post(tide, 1)
        await tide.publish("e", "own", to="user:42")
        await settled(tide, client)
        assert received(client) == ["own"]
        unreadable.close()
        assert (await client.next("unread_count")).data == {"unread_count": 0}
        await client.received(2)
        await post(tide, 2)
        await settled(tide, client)
        assert received(client) == ["own", 1, 2]
        assert (await client.send("get_client_info")).data["durable_groups"] == ["ops"]


async def test_who_resumes_meanwhile_has_what_it_missed_before_as_well(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher, unreadable: contextlib.ExitStack
) -> None:
    async with connected(gateway, "x") as witness:
        start = witness.cursor
        await post(tide, 0)
        await tide.groups.add("ops", "42")
        await post(tide, 1)
        await settled(tide, witness)
    async with connected(other, "42", cursor=start) as client:
        await post(tide, 2)
        unreadable.close()
        await client.received(2)
        await post(tide, 3)
        await settled(tide, client)
        assert received(client) == [1, 2, 3]


async def test_what_has_left_memory_meanwhile_comes_from_the_stream(
    redis_url: str, tide: Publisher, unreadable: contextlib.ExitStack
) -> None:
    await tide.groups.add("ops", "42")
    async with running_gateway(redis_url, log__memory_entries=10) as gateway, connected(gateway, "42") as client:
        await tide.publish_many([{"event": "e", "data": n, "to": "group:ops"} for n in range(100)])
        await settled(tide, client)
        unreadable.close()
        await client.received(100)
        assert received(client) == list(range(100))
        assert client.of_type("resync") == []


async def test_what_cannot_be_had_any_more_is_a_resync_that_names_the_group(
    redis_url: str, tide: Publisher, unreadable: contextlib.ExitStack
) -> None:
    await tide.groups.add("ops", "42")
    async with (
        running_gateway(redis_url, log__memory_entries=10, log__replay_entries=0) as gateway,
        connected(gateway, "42") as client,
    ):
        await tide.publish_many([{"event": "e", "data": n, "to": "group:ops"} for n in range(100)])
        await settled(tide, client)
        unreadable.close()
        assert (await client.next("resync")).data["addresses"] == ["group:ops"]
        await post(tide, 100)
        await settled(tide, client)
        assert received(client) == [100]


async def test_members_added_and_removed_meanwhile_count(
    gateway: RunningGateway, tide: Publisher, unreadable: contextlib.ExitStack
) -> None:
    await tide.groups.add("old", "42")
    await tide.groups.add("ops", "42")
    await known_to_be_down(gateway, tide)
    async with connected(gateway, "42") as client:
        await tide.groups.add("new", "42")
        await tide.groups.remove("old", "42")
        for group in ("old", "new", "ops"):
            await post(tide, group, group)
        await settled(tide, client)
        assert received(client) == ["new"]
        unreadable.close()
        await client.received(2)
        await settled(tide, client)
        assert received(client) == ["new", "ops"]


async def test_commands_that_need_the_membership_are_answered_503(
    redis_url: str, tide: Publisher, unreadable: contextlib.ExitStack
) -> None:
    await tide.groups.add("ops", "42")
    async with running_gateway(redis_url, **PRODUCTION_POLICY) as gateway, connected(gateway, "42") as client:
        refused = (await client.send("join_group", {"group_id": "ops"})).data
        assert (refused["code"], refused["retry_after_ms"] > 0) == (503, True)
        unreadable.close()
        await client.next("unread_count")
        assert (await client.send("join_group", {"group_id": "ops"})).type == "ack"


async def test_who_is_revoked_while_it_waits_does_not_enter(
    gateway: RunningGateway, tide: Publisher, unreadable: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.profile_loader._PATIENCE_S", 20.0)  # time enough to revoke
    async with connected(gateway, "42", welcomed=False) as client:
        await wait_until(lambda: gateway.services.connections)
        await tide.revoke(user="42")
        await wait_until(lambda: len(gateway.services.revocations) == 1)
        unreadable.close()  # now it could
        assert (await client.closed())[0] == 4403
        assert client.of_type("welcome") == []


async def test_who_leaves_while_it_waits_leaves_nothing(
    gateway: RunningGateway, tide: Publisher, unreadable: contextlib.ExitStack
) -> None:
    for way in ("query", "auth"):
        async with connected(gateway, "42", way=way, welcomed=False):  # type: ignore[arg-type]
            await wait_until(lambda: gateway.services.connections)
    await wait_until(lambda: not gateway.services.connections)
    await known_to_be_down(gateway, tide)
    assert list(gateway.services.hub.subscribers()) == []
    unreadable.close()
    await tide.groups.add("ops", "42")
    async with connected(gateway, "42") as client:
        await wait_until(lambda: "group:ops" in next(iter(gateway.services.connections)).addresses)
        await post(tide, 1)
        await settled(tide, client)
        assert received(client) == [1]


async def test_a_flood_while_it_waits_is_refused_as_ever(redis_url: str, unreadable: contextlib.ExitStack) -> None:
    async with running_gateway(redis_url, limits__messages_burst=20) as gateway, opened(gateway) as client:
        await client.post("auth", {"token": gateway.token("42")})
        for number in range(15):
            await client.post_text(b"binary" if number == 7 else '{"type": "echo", "data": 1}')
        await client.next("welcome")
        await client.until(lambda: len(client.of_type("echo")) == 14)
        kinds = [frame.type for frame in client.frames]
        assert kinds == ["auth_success", "welcome", *["echo"] * 7, "error", *["echo"] * 7]


@pytest.mark.parametrize("failure", ["refuse", "silence"])
@pytest.mark.usefixtures("impatient")
async def test_redis_down_or_silent_at_connect_lets_in_and_makes_up_for_it(
    redis_url: str, redis_server: RedisServer, tide: Publisher, failure: str
) -> None:
    await tide.groups.add("ops", "42")
    async with Proxy(redis_server.port) as proxy, running_gateway(proxy.url) as gateway:
        getattr(proxy, failure)()
        async with connected(gateway, "42") as client:
            assert "unread_count" not in client.welcome
            async with connected(gateway, "43") as second:  # it is known by now
                assert "unread_count" not in second.welcome
                await post(tide, 1)
                proxy.restore()
                if failure == "silence":
                    proxy.cut()
                await client.received(1)
                await post(tide, 2)
                await client.received(2)
                assert received(client) == [1, 2]


async def test_a_profile_that_is_known_needs_no_redis(
    redis_url: str, redis_server: RedisServer, tide: Publisher
) -> None:
    await tide.groups.add("ops", "42")
    async with Proxy(redis_server.port) as proxy, running_gateway(proxy.url) as gateway:
        async with connected(gateway, "42"):
            pass
        proxy.refuse()
        async with connected(gateway, "42") as client:
            assert client.welcome["unread_count"] == 0
            await post(tide, 1)
            proxy.restore()
            await client.received(1)
            assert client.of_type("resync") == []


# Gaps.


async def test_what_changed_in_a_gap_is_made_up_for_and_named(
    redis_url: str, redis_server: RedisServer, tide: Publisher
) -> None:
    await tide.groups.add("lost", "42")
    await tide.groups.add("kept", "42")
    async with Proxy(redis_server.port) as proxy, running_gateway(proxy.url) as gateway:
        async with connected(gateway, "idle"):
            pass
        async with connected(gateway, "42") as client:
            await settled(tide, client)
            proxy.refuse()
            await tide.groups.remove("lost", "42")
            await tide.groups.add("gained", "42", "idle")
            await post(tide, "missed", "gained")
            with redis_server.client() as redis:
                redis.xtrim(keys.stream(0), maxlen=0, approximate=False)
            proxy.restore()

            def named() -> set[str]:
                return {address for frame in client.of_type("resync") for address in frame.data["addresses"]}

            await client.until(lambda: {"group:gained", "group:kept"} <= named())
            for group in ("lost", "kept", "gained"):
                await post(tide, group, group)
            await settled(tide, client)
            assert received(client) == ["kept", "gained"]
            async with connected(gateway, "idle") as back:
                await post(tide, "again", "gained")
                await settled(tide, back)
                assert received(back) == ["again"]


async def test_a_log_that_was_lost_with_everything_takes_the_groups_with_it(
    gateway: RunningGateway, redis_server: RedisServer, tide: Publisher
) -> None:
    await tide.groups.add("ops", "42")
    async with connected(gateway, "42") as client:
        await settled(tide, client)
        with redis_server.client() as redis:
            redis.flushall()
        await tide.publish("e", 0, to="user:42")
        await client.next("resync")
        (connection,) = gateway.services.connections
        await wait_until(lambda: "group:ops" not in connection.addresses)
        await post(tide, 1)
        await settled(tide, client)
        assert 1 not in received(client)


async def test_members_outlive_the_loss_of_the_log_alone(
    gateway: RunningGateway, redis_server: RedisServer, tide: Publisher
) -> None:
    await tide.groups.add("ops", "42", "43")
    async with connected(gateway, "42") as client:
        await settled(tide, client)
        with redis_server.client() as redis:
            redis.delete(keys.stream(0))
        await client.next("resync")
        async with connected(gateway, "43") as later:
            await post(tide, 1)
            await settled(tide, client, later)
            assert received(client) == received(later) == [1]
