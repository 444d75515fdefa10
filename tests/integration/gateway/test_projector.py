"""The projector beside real gateways: it goes on after everything that Redis can do to it."""

from __future__ import annotations

import pytest

from gateway import projector
from gateway.store.inbox_work import GROUP
from publisher import Publisher, PublishError
from publisher.keys import inbox, inbox_work
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

WORK = inbox_work(0)


@pytest.fixture
def server():
    """A server that the test may spoil."""
    with RedisServer(appendonly="yes", appendfsync="always") as own:
        yield own


@pytest.fixture
async def own_tide(server):
    async with Publisher(server.url) as publisher:
        yield publisher


async def written(gateway: RunningGateway, user: str, count: int) -> None:
    """Wait until a user has so many unread notifications."""

    async def there() -> bool:
        assert gateway.services.inbox is not None
        return await gateway.services.inbox.unread_count("default", user) == count

    await wait_until(there)


async def test_poison_is_logged_once_counted_and_dropped(gateway, tide, redis_server, capfd) -> None:
    with redis_server.client() as redis:
        redis.xadd(WORK, {"i": "nonsense"})
        redis.xadd(WORK, {"x": "y" * 100_000})
        await tide.notify("42", title="t")
        await written(gateway, "42", 1)
        await wait_until(lambda: redis.xlen(WORK) == redis.xpending(WORK, GROUP)["pending"] == 0)
    assert gateway.services.metrics.poison == 2
    assert "".join(capfd.readouterr()).count("poison_notification") == 2


async def test_an_inbox_that_cannot_be_written_is_logged_and_the_rest_goes_on(
    gateway, tide, redis_server, capfd
) -> None:
    with redis_server.client() as redis:
        redis.set(inbox(0, "default", "1"), "of another program")
    await tide.notify(["1", "2"], title="secret")
    await written(gateway, "2", 1)
    await wait_until(lambda: gateway.services.metrics.notifications == 1)
    logged = "".join(capfd.readouterr())
    assert logged.count("inbox_unusable") == 1
    assert "secret" not in logged


async def test_what_an_instance_left_behind_is_done_by_another(redis_url, redis_server, tide, monkeypatch) -> None:
    monkeypatch.setattr(projector, "CLAIM_IDLE_S", 0.2)
    monkeypatch.setattr(projector, "_CLAIM_EVERY_S", 0.1)
    monkeypatch.setattr(projector, "BLOCK_S", 0.1)
    with redis_server.client() as redis:
        redis.xgroup_create(WORK, GROUP, "0", mkstream=True)
        await tide.notify("42", title="t")
        assert redis.xreadgroup(GROUP, "dead", {WORK: ">"})
        async with running_gateway(redis_url) as gateway:
            await written(gateway, "42", 1)
            await wait_until(lambda: redis.xlen(WORK) == 0)


async def test_what_it_left_behind_itself_is_done_at_its_restart(redis_url, redis_server, tide, monkeypatch) -> None:
    monkeypatch.setattr(projector, "CLAIM_IDLE_S", 3_600)  # not as another's
    with redis_server.client() as redis:
        redis.xgroup_create(WORK, GROUP, "0", mkstream=True)
        await tide.notify("42", title="t")
        assert redis.xreadgroup(GROUP, "me", {WORK: ">"})
        async with running_gateway(redis_url, instance__id="me") as gateway:
            await written(gateway, "42", 1)


async def test_it_goes_on_after_flushall(gateway, other, tide, redis_server) -> None:
    await tide.notify("42", title="t")
    await written(gateway, "42", 1)
    with redis_server.client() as redis:
        redis.flushall()
    await tide.notify("42", title="t")
    await tide.notify("42", title="t")
    await written(other, "42", 2)


async def test_it_goes_on_after_the_group_was_deleted(gateway, tide, redis_server) -> None:
    with redis_server.client() as redis:
        await wait_until(lambda: redis.exists(WORK))
        redis.xgroup_destroy(WORK, GROUP)
    await tide.notify("42", title="t")
    await written(gateway, "42", 1)


async def test_it_goes_on_after_a_restart_and_with_all_that_was_acknowledged(server, own_tide) -> None:
    async with running_gateway(server.url) as one, running_gateway(server.url) as two:
        await own_tide.notify("42", title="t")
        server.kill()
        with pytest.raises(PublishError):
            await own_tide.notify("42", title="t", key="k")
        server.start()
        await own_tide.notify("42", title="t", key="k")
        await written(one, "42", 2)
        await written(two, "42", 2)


async def test_it_goes_on_after_the_server_was_a_replica_for_a_while(server, own_tide) -> None:
    async with running_gateway(server.url) as gateway:
        with server.client() as redis:
            await own_tide.notify("42", title="t")
            redis.replicaof("127.0.0.1", 1)
            await wait_until(lambda: gateway.services.metrics.redis_errors["ReadOnlyError"] > 1)
            redis.replicaof("no", "one")
            await own_tide.notify("42", title="t")
            await written(gateway, "42", 2)


async def test_it_goes_on_once_there_is_memory_again(server, own_tide) -> None:
    async with running_gateway(server.url) as gateway:
        with server.client() as redis:
            redis.config_set("maxmemory", 1)
            with pytest.raises(PublishError):
                await own_tide.notify("42", title="t")
            redis.config_set("maxmemory", 0)
            await own_tide.notify("42", title="t")
            await written(gateway, "42", 1)


async def test_it_goes_on_after_its_connections_were_cut(gateway, tide, redis_server) -> None:
    for number in range(1, 4):
        with redis_server.client() as redis:
            redis.client_kill_filter(_type="normal", skipme=True)
        await wait_until(lambda: gateway.application.unready() == [])
        await tide.notify("42", title="t")
        await written(gateway, "42", number)
