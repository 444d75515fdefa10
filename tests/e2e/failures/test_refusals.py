"""Redis is there, but refuses: writes only, or everything."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest
import redis
from structlog.testing import capture_logs

from publisher import Publisher
from publisher.keys import stream
from tests.e2e.failures.scene import EVENT, PATIENCE_S, Ticker, compared, hurry, ready, resyncs, ticks, unready_with
from tests.support.clients import Client, connected, settled
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

STREAM = stream(0)
NO_ONE = ("127.0.0.1", 1)


@dataclass(frozen=True)
class Refusal:
    """
    How a server is made to refuse writes, and to take them again.

    Attributes:
        reason: What /ready calls it; empty where the log can be read as usual.
    """

    begin: Callable[[redis.Redis], object]
    end: Callable[[redis.Redis], object]
    reason: str


def _fail_to_save(client: redis.Redis) -> None:
    client.config_set("dir", "/proc")  # nothing can be written there
    client.config_set("save", "3600 1")
    with contextlib.suppress(redis.ResponseError):
        client.bgsave()
    while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
        time.sleep(0.01)


WRITES_REFUSED = {
    "READONLY": Refusal(
        lambda client: client.replicaof(*NO_ONE), lambda client: client.replicaof("NO", "ONE"), "ReadOnlyError"
    ),
    "NOREPLICAS": Refusal(
        lambda client: client.config_set("min-replicas-to-write", 1),
        lambda client: client.config_set("min-replicas-to-write", 0),
        "NOREPLICAS",
    ),
    "MISCONF": Refusal(
        lambda client: (client.config_set("stop-writes-on-bgsave-error", "yes"), _fail_to_save(client)),
        lambda client: client.config_set("stop-writes-on-bgsave-error", "no"),
        "MISCONF",
    ),
    "OOM": Refusal(
        lambda client: client.config_set("maxmemory", 1),
        lambda client: client.config_set("maxmemory", 0),
        "",
    ),
}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    # A replica without a master answers reads, and its `dir` may be changed.
    with RedisServer(enable_protected_configs="yes") as server:
        yield server


@contextlib.asynccontextmanager
async def _members(gateway: RunningGateway) -> AsyncIterator[Client]:
    async with connected(gateway) as alice:
        await alice.send("join_group", {"group_id": "ops"})
        yield alice


async def _is_refused(client: Client) -> None:
    reply = await client.send("send_message", {"group_id": "ops", "content": "anybody?"})
    assert (reply.type, reply.data["code"]) == ("error", 503)
    assert reply.data["retry_after_ms"] > 0


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("kind", WRITES_REFUSED)
async def test_the_log_is_read_on_while_writes_are_refused(server: RedisServer, tide: Publisher, kind: str) -> None:
    refusal = WRITES_REFUSED[kind]
    ticker = Ticker(tide)
    with capture_logs() as lines:
        async with running_gateway(server.url) as gateway, _members(gateway) as alice:
            hurry(gateway, 1)
            await ticker.tick(5)
            await settled(tide, alice)
            cursor = alice.pushes[1].id
            with server.client() as client:
                refusal.begin(client)
                await _is_refused(alice)
                if refusal.reason:
                    await unready_with(gateway, refusal.reason)
                async with connected(gateway, cursor=cursor) as bob:
                    await wait_until(lambda: ticks(bob) == [3, 4, 5])
                await compared(gateway)
                refusal.end(client)
            await ticker.reaches(alice)
            await ready(gateway)
            await compared(gateway)
            ticker.check(alice)
            assert resyncs(alice) == []
    told = [line for line in lines if line["event"] in {"log_unreachable", "log_reached"}]
    problems = [line.get("error") for line in told]  # none in the line that it works again
    # A role's change may cut the connection first, and a busy machine may keep an answer waiting for a second.
    assert set(problems) - {refusal.reason, None} <= {"ConnectionError", "TimeoutError"}
    assert (refusal.reason in problems) or not refusal.reason
    assert all(problem != other for problem, other in pairwise(problems)), "a line for each change, and for no try"
    assert problems[-1:] in ([], [None])


@pytest.mark.usefixtures("quick_looks")
async def test_events_arrive_by_a_replica() -> None:
    """Where the gateway's server has become a replica of the one that is written to."""
    with RedisServer(repl_diskless_sync_delay=0) as master, RedisServer() as server:
        async with (
            Publisher(server.url, timeout_s=PATIENCE_S) as early,
            Publisher(master.url, timeout_s=PATIENCE_S) as tide,
            running_gateway(server.url) as gateway,
            connected(gateway) as alice,
        ):
            with server.client() as client, master.client() as primary:
                await Ticker(early).tick(5)
                await settled(early, alice)
                primary.replicaof("127.0.0.1", server.port)
                await wait_until(
                    lambda: primary.exists(STREAM) and primary.info("replication")["master_link_status"] == "up"
                )
                primary.replicaof("NO", "ONE")
                with capture_logs() as lines:
                    client.replicaof("127.0.0.1", master.port)
                    await unready_with(gateway, "ReadOnlyError")
                    for number in range(6, 31):
                        await tide.publish(EVENT, number, to="all")
                    await wait_until(lambda: ticks(alice) == list(range(1, 31)))
                    await compared(gateway, gateway)
                    assert resyncs(alice) == []
                    client.replicaof("NO", "ONE")
                    await ready(gateway)
                events = [line["event"] for line in lines if line["event"].startswith("log_")]
                assert events[-1] == "log_reached", events
                assert len(events) <= 4, events
                await early.publish(EVENT, 31, to="all")
                await wait_until(lambda: ticks(alice) == list(range(1, 32)))
                await compared(gateway)
                assert resyncs(alice) == []


@pytest.mark.usefixtures("quick_looks")
async def test_a_group_that_was_lost_is_made_again_as_soon_as_there_is_memory(
    server: RedisServer, tide: Publisher
) -> None:
    """XGROUP CREATE is refused for want of memory, where XREADGROUP is not."""
    ticker = Ticker(tide)
    async with running_gateway(server.url) as gateway, connected(gateway) as alice:
        await ticker.tick(5)
        await settled(tide, alice)
        with server.client() as client:
            client.config_set("maxmemory", 1)
            client.xgroup_destroy(STREAM, f"gw:{gateway.instance_id}")
            await unready_with(gateway, "OutOfMemoryError")
            client.config_set("maxmemory", 0)
            await ticker.reaches(alice)
            await ready(gateway)
            assert [group["name"] for group in client.xinfo_groups(STREAM)] == [f"gw:{gateway.instance_id}"]
        ticker.check(alice)
        assert resyncs(alice) == []


async def test_a_long_script_delays_and_loses_nothing() -> None:
    with RedisServer(busy_reply_threshold=50) as server:
        async with (
            Publisher(server.url, timeout_s=PATIENCE_S) as tide,
            running_gateway(server.url) as gateway,
            _members(gateway) as alice,
        ):
            hurry(gateway, 1)
            ticker = Ticker(tide)
            await ticker.tick(5)
            await settled(tide, alice)
            with _endless_script(server):
                await unready_with(gateway, "BUSY")
                await _is_refused(alice)
            await ticker.reaches(alice)
            await ready(gateway)
            ticker.check(alice)
            assert resyncs(alice) == []


@contextlib.contextmanager
def _endless_script(server: RedisServer) -> Iterator[None]:
    def run() -> None:
        with server.client() as client, contextlib.suppress(redis.RedisError):
            client.eval("while true do end", 0)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        with server.client() as client:
            while thread.is_alive():
                with contextlib.suppress(redis.ResponseError):
                    client.script_kill()
                thread.join(0.02)


async def test_a_server_that_loads_its_data_is_waited_for() -> None:
    with RedisServer(loading_process_events_interval_bytes=1024) as server:
        async with (
            Publisher(server.url, timeout_s=PATIENCE_S) as tide,
            running_gateway(server.url) as gateway,
            _members(gateway) as alice,
        ):
            hurry(gateway, 1)
            ticker = Ticker(tide)
            await ticker.tick(5)
            await settled(tide, alice)
            with server.client() as client:
                client.eval("for i = 1, 1000 do redis.call('SET', 'filling:' .. i, string.rep('x', 100)) end", 0)
                client.config_set("key-load-delay", 20_000)  # µs
                client.config_rewrite()
                client.save()
                server.kill()
                server.start(loaded=False)
                await unready_with(gateway, "BusyLoadingError")
                await _is_refused(alice)
                client.config_set("key-load-delay", 0)
            async with ticker.going_on(0.02):
                await ready(gateway)
                await wait_until(lambda: len(ticks(alice)) > 5)
            await settled(tide, alice)
            ticker.check(alice)
            assert resyncs(alice) == []


async def test_a_server_without_room_for_another_client_is_tried_again(server: RedisServer) -> None:
    async with (
        Publisher(server.url, timeout_s=PATIENCE_S) as tide,
        running_gateway(server.url) as gateway,
        _members(gateway) as alice,
    ):
        ticker = Ticker(tide)
        await ticker.tick(5)
        await settled(tide, alice)
        with server.client() as client:
            client.config_set("maxclients", 1)
            client.client_kill_filter(_type="normal", skipme=True)
            await unready_with(gateway, "ConnectionError")
            await _is_refused(alice)
            client.config_set("maxclients", 1000)
        await ticker.reaches(alice)
        await ready(gateway)
        ticker.check(alice)
        assert resyncs(alice) == []


async def test_a_password_that_no_longer_holds_is_tried_again() -> None:
    with RedisServer() as server:
        with server.client() as client:
            client.acl_setuser(
                "gateway", enabled=True, passwords=["+first"], keys=["*"], channels=["*"], commands=["+@all"]
            )
        url = server.url.replace("//", "//gateway:first@")
        async with (
            Publisher(server.url, timeout_s=PATIENCE_S) as tide,
            running_gateway(url) as gateway,
            _members(gateway) as alice,
        ):
            ticker = Ticker(tide)
            await ticker.tick(5)
            await settled(tide, alice)
            with server.client() as client, capture_logs() as lines:
                client.acl_setuser("gateway", enabled=True, reset_passwords=True, passwords=["+second"])
                client.client_kill_filter(user="gateway", _type="normal")
                await unready_with(gateway, "AuthenticationError")
                await ticker.tick(5)
                await _is_refused(alice)
                client.acl_setuser("gateway", enabled=True, passwords=["+first"])
                await ready(gateway)
                assert "first" not in str(lines)
            await settled(tide, alice)
            ticker.check(alice)
            assert resyncs(alice) == []
