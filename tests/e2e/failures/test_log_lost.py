"""Parts of the log disappear, or only seem to."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis

from publisher import Publisher
from publisher.cursor import Cursor
from publisher.keys import epoch, partition_of, stream
from tests.e2e.failures.scene import EVENT, Ticker, compared, resyncs, ticks, told, unready_with
from tests.support.clients import Client, connected, settled
from tests.support.gateway import GatewayProcess, RunningGateway, running_gateway
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

STREAM = stream(0)
EPOCH = epoch(0)

Deed = Callable[[redis.Redis, RunningGateway], Any]


@pytest.fixture
async def behind(server: RedisServer) -> AsyncIterator[Proxy]:
    """A proxy in front of the server, for a gateway that shall fall behind."""
    async with Proxy(server.port) as proxy:
        yield proxy


def group_of(gateway: RunningGateway) -> str:
    return f"gw:{gateway.instance_id}"


def story(client: Client) -> list[Any]:
    """The numbers of the ticks that came, and `resync` where one did."""
    return [
        frame.data if frame.type == EVENT else "resync" for frame in client.frames if frame.type in {EVENT, "resync"}
    ]


async def held_while_it_waits(proxy: Proxy, client: redis.Redis) -> None:
    """Hold a gateway's connections as its two readers, the projector and the consumer, wait at the server."""

    def held() -> bool:
        waiting = sum(one["cmd"] == "xreadgroup" and "b" in one["flags"] for one in client.client_list())
        if waiting == 2:
            proxy.hold()
        return waiting == 2

    await wait_until(held)


async def held_while_it_waits_late(proxy: Proxy, client: redis.Redis) -> None:
    """The same, of readers who saw late that nothing had come: the next reply is looked at before it is delivered."""
    await held_while_it_waits(proxy, client)
    began = time.monotonic()
    await wait_until(lambda: time.monotonic() - began > 1)
    proxy.restore()
    await held_while_it_waits(proxy, client)


LOSSES: dict[str, Deed] = {
    "flushall": lambda client, _: client.flushall(),
    "stream deleted": lambda client, _: client.delete(STREAM),
    "stream and epoch deleted": lambda client, _: client.delete(STREAM, EPOCH),
    "epoch deleted": lambda client, _: client.delete(EPOCH),
    "stream replaced by an empty one": lambda client, _: client.pipeline().delete(STREAM).xgroup_create(
        STREAM, "other", mkstream=True).execute(),
    "stream replaced by a foreign one": lambda client, _: client.pipeline().delete(STREAM).xadd(
        STREAM, {"not": "an event"}).execute(),
    "last id set back": lambda client, _: client.pipeline().xtrim(STREAM, maxlen=0).execute_command(
        "XSETID", STREAM, "1-1").execute(),
}  # fmt: skip


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("loss", LOSSES)
async def test_clients_are_told_that_the_log_is_another_one(server: RedisServer, tide: Publisher, loss: str) -> None:
    async with (
        running_gateway(server.url) as one,
        running_gateway(server.url) as other,
        connected(one) as alice,
        connected(other) as bob,
    ):
        ticker = Ticker(tide)
        await ticker.tick(10)
        await settled(tide, alice, bob)
        old = alice.cursor
        with server.client() as client:
            LOSSES[loss](client, one)
        await told(alice, bob, reason="epoch")
        number = await ticker.tick()
        await wait_until(lambda: ticks(alice)[-1] == ticks(bob)[-1] == number)
        new = alice.cursor
        last = await ticker.tick()
        async with connected(other, cursor=old) as stale, connected(other, cursor=new) as fresh:
            await told(stale, reason="epoch")
            await wait_until(lambda: ticks(fresh) == [last])
            assert resyncs(fresh) == []
        await compared(one, other)
        ticker.check(alice)
        ticker.check(bob)
        assert len(resyncs(alice)) == len(resyncs(bob)) == 1
        assert {gateway.services.log.partitions[0].epoch for gateway in (one, other)} == {Cursor.parse(new).epoch}


@pytest.mark.usefixtures("quick_looks")
async def test_one_partition_that_is_lost_leaves_the_others_as_they_are(server: RedisServer) -> None:
    users = ["user:1", "user:2", "user:3", "user:4"]
    assert {partition_of(user, 2) for user in users} == {0, 1}
    async with (
        Publisher(server.url, partitions=2) as tide,
        running_gateway(server.url, log__partitions=2) as gateway,
        contextlib.AsyncExitStack() as stack,
    ):
        clients = [await stack.enter_async_context(connected(gateway, user[5:])) for user in users]
        tickers = [Ticker(tide, user) for user in users]
        for ticker in tickers:
            await ticker.tick(5)
        await wait_until(lambda: all(len(ticks(client)) == 5 for client in clients))
        epochs = [partition.epoch for partition in gateway.services.log.partitions]
        with server.client() as client:
            client.delete(stream(1))
        await told(*clients, reason="epoch")
        now = [partition.epoch for partition in gateway.services.log.partitions]
        assert (now[0] == epochs[0], now[1] == epochs[1]) == (True, False)
        for ticker in tickers:
            await ticker.tick(5)
        await wait_until(lambda: all(len(ticks(client)) == 10 for client in clients))
        await compared(gateway)
        for ticker, client in zip(tickers, clients, strict=True):
            ticker.check(client)
            assert len(resyncs(client)) == 1


async def test_another_epoch_is_noticed_within_about_a_second_where_nothing_is_published(
    server: RedisServer, gateway: RunningGateway, tide: Publisher, ticker: Ticker
) -> None:
    times = []
    for _ in range(3):
        async with connected(gateway) as alice:
            await ticker.tick()
            await settled(tide, alice)
            began = time.monotonic()
            with server.client() as client:
                client.delete(EPOCH)
            await told(alice, reason="epoch")
            times.append(time.monotonic() - began)
    assert min(times) < 2, times  # of three: a busy machine may stand still in one


async def test_a_flushed_log_that_was_written_at_once_loses_nothing_new(
    server: RedisServer, gateway: RunningGateway, ticker: Ticker
) -> None:
    async with connected(gateway) as alice:
        await ticker.tick(10)
        await wait_until(lambda: len(ticks(alice)) == 10)
        with server.client() as client:
            client.flushall()
        await ticker.tick(20)
        await told(alice, reason="epoch")
        await wait_until(lambda: ticks(alice) == list(range(1, 31)))


HARMLESS: dict[str, Deed] = {
    "group destroyed": lambda client, gateway: client.xgroup_destroy(STREAM, group_of(gateway)),
    "group rewound": lambda client, gateway: client.xgroup_setid(STREAM, group_of(gateway), "0"),
    "consumer deleted": lambda client, gateway: client.xgroup_delconsumer(
        STREAM, group_of(gateway), gateway.instance_id),
    "read entries deleted": lambda client, _: [
        client.xdel(STREAM, entry_id) for entry_id, _ in client.xrange(STREAM)[::2]],
    "newest entry deleted": lambda client, _: client.xdel(STREAM, client.xrevrange(STREAM, count=1)[0][0]),
    "read entries trimmed": lambda client, _: client.xtrim(STREAM, maxlen=3, approximate=False),
    "all trimmed": lambda client, _: client.xtrim(STREAM, maxlen=0, approximate=False),
    "last id moved on": lambda client, _: client.execute_command(
        "XSETID", STREAM, f"{int(client.xrevrange(STREAM, count=1)[0][0].split('-')[0]) + 1}-0"),
    "scripts forgotten": lambda client, _: client.script_flush(),
    "every connection killed": lambda client, _: client.execute_command("CLIENT", "KILL", "TYPE", "normal"),
    "poison": lambda client, _: [client.xadd(STREAM, {"not": "an event"}) for _ in range(3)],
}  # fmt: skip


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("deed", HARMLESS)
async def test_clients_are_not_told_of_a_gap_where_nothing_is_missing(
    server: RedisServer, gateway: RunningGateway, tide: Publisher, ticker: Ticker, deed: str
) -> None:
    async with connected(gateway) as alice:
        await ticker.tick(10)
        await settled(tide, alice)
        with server.client() as client:
            HARMLESS[deed](client, gateway)
            await ticker.tick(5)
            await compared(gateway)
            await ticker.tick(5)
            await settled(tide, alice)
            await compared(gateway)
            assert ticks(alice) == list(range(1, 21))
            assert resyncs(alice) == []
            assert [group["lag"] for group in client.xinfo_groups(STREAM)] in ([0], [None])


@pytest.mark.usefixtures("quick_looks")
async def test_a_rewritten_append_only_file_is_the_same_log(
    server: RedisServer, tide: Publisher, ticker: Ticker
) -> None:
    async with running_gateway(server.url) as gateway, connected(gateway) as alice:
        await ticker.tick(10)
        await settled(tide, alice)
        with server.client() as client:
            client.xdel(STREAM, client.xrange(STREAM)[4][0])
            client.xtrim(STREAM, maxlen=5, approximate=False)
            client.bgrewriteaof()
            await wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        server.kill()
        server.start()
        await ticker.reaches(alice)
        await compared(gateway)
        ticker.check(alice)
        assert resyncs(alice) == []


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("trim", ["some", "all", "deleted"])
@pytest.mark.parametrize("way", ["held", "cut"])
async def test_clients_are_told_of_entries_that_were_trimmed_unread(
    server: RedisServer, behind: Proxy, tide: Publisher, ticker: Ticker, trim: str, way: str
) -> None:
    async with running_gateway(behind.url) as gateway, connected(gateway) as alice:
        await ticker.tick(10)
        await settled(tide, alice)
        behind.hold() if way == "held" else behind.refuse()
        await ticker.tick(1_500)  # the first of them may be on their way already
        with server.client() as client:
            unread = [entry_id for entry_id, _ in client.xrange(STREAM)[-100:]]
            if trim == "deleted":
                client.xdel(STREAM, *unread[:50])
            else:
                client.xtrim(STREAM, maxlen=50 if trim == "some" else 0, approximate=False)
        behind.restore()
        await told(alice, reason="trimmed")
        number = await ticker.tick()
        await settled(tide, alice)
        await compared(gateway)
        got = ticks(alice)
        assert got == sorted(set(got))
        assert got[-1] == number
        assert len(resyncs(alice)) == 1
        if trim == "some":
            assert set(range(1462, number + 1)) <= set(got)


@pytest.mark.usefixtures("quick_looks")
async def test_a_gap_is_noticed_while_the_log_never_rests(server: RedisServer, ticker: Ticker) -> None:
    """There is always something left to read, and the trimmed entries lie behind it."""
    async with running_gateway(server.url) as gateway, connected(gateway) as alice:
        await ticker.tick(10)
        with server.client() as client:
            async with ticker.going_on(0):
                await wait_until(lambda: len(ticks(alice)) > 100)
                while not resyncs(alice):  # one entry at a time, the moment it is there
                    number = len(ticker.promised)
                    await wait_until(lambda number=number: len(ticker.promised) > number)
                    client.execute_command(
                        "EVAL", "local id = redis.call('XADD', KEYS[1], '*', 'a', 'b') redis.call('XDEL', KEYS[1], id)",
                        1, STREAM)  # fmt: skip
            await wait_until(lambda: resyncs(alice)[-1]["reason"] == "trimmed")
        await compared(gateway)
        ticker.check(alice)


async def test_a_gateway_that_was_stopped_while_the_log_was_trimmed_tells_its_clients(
    server: RedisServer, tide: Publisher, ticker: Ticker
) -> None:
    async with (
        GatewayProcess(server.url) as stopped,
        running_gateway(server.url) as other,
        connected(stopped) as alice,
        connected(other) as bob,
    ):
        await ticker.tick(10)
        await settled(tide, alice, bob)
        stopped.pause()
        await ticker.tick(1_000)
        await settled(tide, bob)
        with server.client() as client:
            client.xtrim(STREAM, maxlen=10, approximate=False)
        stopped.resume()
        await told(alice, reason="trimmed")
        await ticker.tick()
        await settled(tide, alice, bob)
        await compared(other)
        ticker.check(bob)
        assert resyncs(bob) == []


@pytest.mark.parametrize("damage", ["trimmed", "deleted", "taken"])
async def test_nothing_from_behind_a_hole_comes_before_the_news_of_it(
    server: RedisServer, tide: Publisher, ticker: Ticker, damage: str
) -> None:
    """Who had it, and left at once, would go on behind the hole, and on another instance nobody would know of it."""
    async with GatewayProcess(server.url) as gateway, connected(gateway) as alice:
        await ticker.tick(10)
        await settled(tide, alice)
        gateway.pause()
        await ticker.tick(41)
        with server.client() as client:
            unread = [entry_id for entry_id, _ in client.xrange(STREAM)[-40:]]
            added_ms = int(unread[-1].partition("-")[0])
            await wait_until(lambda: client.time()[0] * 1000 + client.time()[1] // 1000 > added_ms + 200)
            if damage == "trimmed":
                client.xtrim(STREAM, minid=unread[20], approximate=False)
            elif damage == "deleted":
                client.xdel(STREAM, *unread[5:15])
            else:
                client.xreadgroup(f"gw:{gateway.instance_id}", "thief", {STREAM: ">"}, count=20)
        gateway.resume()
        await told(alice, reason="trimmed")
        await settled(tide, alice)
        (at,) = [number for number, frame in enumerate(alice.frames) if frame.type == "resync"]
        before = [frame.data for frame in alice.frames[:at] if frame.type == EVENT]
        assert before == list(range(1, len(before) + 1))


@pytest.mark.parametrize("trimmed", [False, True])
async def test_nothing_is_delivered_where_redis_refuses_the_look_before_it(
    server: RedisServer, behind: Proxy, tide: Publisher, ticker: Ticker, monkeypatch: pytest.MonkeyPatch, trimmed: bool
) -> None:
    """What was read is read again, and comes once; or not before the news that some is gone."""
    with server.client() as client:
        client.acl_setuser("gateway", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all"])
        url = behind.url.replace("//", "//gateway:any@")
        async with running_gateway(url) as gateway, connected(gateway) as alice:
            await ticker.tick(10)
            await settled(tide, alice)
            await compared(gateway)
            monkeypatch.setattr("gateway.consumer._LOOK_EVERY_S", 3_600)
            await held_while_it_waits(behind, client)
            await ticker.tick(41)  # the reader waits for the first of them; its next read comes late
            unread = [entry_id for entry_id, _ in client.xrange(STREAM)[-40:]]
            added_ms = int(unread[-1].partition("-")[0])
            await wait_until(lambda: client.time()[0] * 1000 + client.time()[1] // 1000 > added_ms + 200)
            if trimmed:
                client.xtrim(STREAM, minid=unread[20], approximate=False)
            client.acl_setuser("gateway", enabled=True, commands=["-evalsha"])
            behind.restore()
            await unready_with(gateway, "NoPermissionError")
            assert set(ticks(alice)) <= set(range(1, 12))
            client.acl_setuser("gateway", enabled=True, commands=["+evalsha"])
            if trimmed:
                await told(alice, reason="trimmed")
            await settled(tide, alice)
        came = story(alice)
        if trimmed:
            assert came in ([*range(1, till), "resync", *range(32, 52)] for till in (11, 12))
        else:
            assert came == [*range(1, 52)]


async def test_a_resync_names_what_was_trimmed_behind_a_reply_that_came_late(
    server: RedisServer, behind: Proxy, tide: Publisher, ticker: Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply is trimmed as well by then: whether something is missing before it or behind it, nobody can tell."""
    async with running_gateway(behind.url) as gateway, connected(gateway) as alice:
        with server.client() as client:
            await ticker.tick(10)
            await settled(tide, alice)
            await compared(gateway)
            monkeypatch.setattr("gateway.consumer._LOOK_EVERY_S", 3_600)
            await held_while_it_waits_late(behind, client)
            await ticker.tick(41)  # the first of them is the reply, and is held
            client.xtrim(STREAM, maxlen=10, approximate=False)
            behind.restore()
            await told(alice, reason="trimmed")
            await settled(tide, alice)
        came = story(alice)
        assert came in ([*range(1, till), "resync", *range(42, 52)] for till in (11, 12))
        cursor, first = Cursor.parse(resyncs(alice)[0]["cursor"]), Cursor.parse(alice.pushes[-10].id or "")
        assert (cursor.ms, cursor.n + 1) in ((first.ms, first.n), (first.ms - 1, 2**64))


async def test_a_reply_of_a_log_that_is_lost_by_then_is_not_taken_for_the_next_ones(
    server: RedisServer, behind: Proxy, tide: Publisher, ticker: Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_gateway(behind.url) as gateway, connected(gateway) as alice:
        with server.client() as client:
            await ticker.tick(10)
            await settled(tide, alice)
            await compared(gateway)
            monkeypatch.setattr("gateway.consumer._LOOK_EVERY_S", 3_600)
            await held_while_it_waits_late(behind, client)
            await ticker.tick()  # this is the reply, and is held
            client.delete(STREAM)
            await ticker.tick(10)
            behind.restore()
            await told(alice, reason="epoch")
            await settled(tide, alice)
        assert story(alice) in ([*range(1, till), "resync", *range(12, 22)] for till in (11, 12))


@pytest.mark.usefixtures("quick_looks")
async def test_what_a_lost_reply_took_from_the_group_is_read_again(
    behind: Proxy, tide: Publisher, ticker: Ticker
) -> None:
    """With NOACK the group has moved on by the time its reply is lost."""
    async with running_gateway(behind.url) as gateway, connected(gateway) as alice:
        await ticker.tick(10)
        await settled(tide, alice)
        behind.hold()
        await ticker.tick(50)
        behind.refuse()
        behind.restore()
        await wait_until(lambda: len(ticks(alice)) == 60)
        await compared(gateway)
        ticker.check(alice)
        assert resyncs(alice) == []
