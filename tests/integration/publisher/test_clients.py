"""Clients of the caller: a plain one, a Sentinel's, a cluster's."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import redis
import redis.asyncio
from redis.asyncio.sentinel import Sentinel as AsyncioSentinel
from redis.crc import key_slot
from redis.sentinel import Sentinel

from publisher import Cursor, Publisher, PublishError, PublishUnavailable, PublishUnknown, keys
from publisher.sync import Publisher as BlockingPublisher
from tests.support.redis_server import BINARIES, RedisServer
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until, wait_until_sync


def find(name):
    """Return the server program of that name."""
    found = BINARIES[name]()
    if found is None:
        pytest.skip(f"needs {name}")
    return found


async def aclose(client):
    await client.aclose() if hasattr(client, "aclose") else client.close()


@pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"protocol": 3}, {"max_connections": 1}], ids=str)
async def test_a_client_passed_in_is_used_and_left_open(server, url, flavour, open_publisher, options):
    kind = redis.asyncio.Redis if flavour == "asyncio" else redis.Redis
    client = kind.from_url(url, **options)
    tide = open_publisher(client)
    event_id = await tide.publish("e", 1, to="all")
    assert Cursor.parse(event_id)
    await tide.aclose()
    pong = client.ping()
    assert await pong if flavour == "asyncio" else pong
    await aclose(client)


async def test_the_retries_of_a_client_passed_in_do_not_store_twice(server, url, flavour, open_publisher, entries):
    kind = redis.asyncio.Redis if flavour == "asyncio" else redis.Redis
    with TcpProxy(server.port) as proxy:
        client = kind.from_url(proxy.url)  # redis-py 8 retries by default
        proxy.lose_replies(1)
        with pytest.raises(Exception, match="may be stored or not"):
            await open_publisher(client, retries=0).publish("e", 1, to="all")
        await aclose(client)
    assert len(entries()) == 1


async def test_a_hanging_server_does_not_hold_up_a_client_with_other_timeouts(flavour, open_publisher):
    kind = redis.asyncio.Redis if flavour == "asyncio" else redis.Redis
    with RedisServer() as own:
        # The handshake of a blocking client is bounded by nothing but its own timeout.
        client = kind.from_url(own.url, socket_timeout=None if flavour == "asyncio" else 1.5)
        tide = open_publisher(client, timeout_s=6)
        await tide.publish("e", 1, to="all")
        own.pause()
        async with asyncio.timeout(60):
            with pytest.raises(Exception, match="may be stored or not"):
                await tide.publish("e", 1, to="all")
        own.resume()
        assert await tide.publish("e", 1, to="all")
        await aclose(client)


def test_a_client_of_the_other_kind_is_refused():
    with pytest.raises(TypeError, match=r"publisher\.sync"):
        Publisher(redis.Redis())
    with pytest.raises(TypeError, match=r"publisher\.Publisher"):
        BlockingPublisher(redis.asyncio.Redis())
    for kind in (Publisher, BlockingPublisher):
        with pytest.raises(TypeError):
            kind(None)
        with pytest.raises(ValueError):
            kind("http://localhost")


def make_cluster(binary, count):
    """Return nodes that share the slots evenly."""
    nodes = [RedisServer(binary, cluster_enabled="yes", cluster_node_timeout=10_000).start() for _ in range(count)]
    share = 16384 // count
    for number, node in enumerate(nodes):
        with node.client() as client:
            last = 16383 if number == count - 1 else (number + 1) * share - 1
            client.execute_command("CLUSTER ADDSLOTSRANGE", number * share, last)
            client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port, nodes[0].bus_port)
    for node in nodes:
        with node.client() as client:
            wait_until_formed(client, count)
    return nodes


def wait_until_formed(client, count):
    def formed():
        info = client.execute_command("CLUSTER INFO")
        text = info if isinstance(info, str) else "\n".join(f"{k}:{v}" for k, v in info.items())
        return "cluster_state:ok" in text and f"cluster_known_nodes:{count}" in text

    wait_until_sync(formed, 20)


@pytest.fixture(scope="module", params=BINARIES)
def nodes(request):
    """A cluster of two."""
    made = make_cluster(find(request.param), 2)
    yield made
    for node in made:
        node.remove()


@pytest.fixture
async def connect(flavour):
    """Makes cluster clients of the kind at hand, and closes them."""
    kind = redis.asyncio.RedisCluster if flavour == "asyncio" else redis.RedisCluster
    async with contextlib.AsyncExitStack() as stack:

        def connect_to(nodes):
            for node in nodes:
                with node.client() as client:
                    client.flushall()
            made = kind(host="127.0.0.1", port=nodes[0].port)
            stack.push_async_callback(aclose, made)
            return made

        yield connect_to


def stored_on(nodes, partitions):
    """Count the events on all nodes."""
    total = 0
    for node in nodes:
        with node.client() as client:
            for partition in range(partitions):
                with contextlib.suppress(redis.exceptions.MovedError):
                    total += client.xlen(keys.stream(partition))
    return total


async def test_a_cluster_takes_all_partitions(nodes, connect, open_publisher):
    tide = open_publisher(connect(nodes), partitions=8)
    ids = await tide.publish_many([{"event": "e", "data": n, "to": f"user:{n}"} for n in range(100)])
    assert {Cursor.parse(event_id).partition for event_id in ids} == set(range(8))
    assert await tide.publish("e", 1, to="all", key="k") == await tide.publish("e", 1, to="all", key="k")
    await tide.revoke(user="42")
    assert stored_on(nodes, 8) == 102
    for number in range(20):
        await tide.publish("e", number, to=f"group:{number}", history=True)
    assert stored_on(nodes, 8) == 122


async def test_a_slot_that_moved_is_followed(nodes, connect, open_publisher):
    tide = open_publisher(connect(nodes), retries=0)
    await tide.publish("e", 1, to="all")
    with nodes[0].client() as client:
        client.flushall()
        try:
            client.xlen(keys.stream(0))
            source, target = nodes
        except redis.exceptions.MovedError:
            target, source = nodes
    slot = key_slot(keys.stream(0).encode())
    with target.client() as there, source.client() as here:
        target_id = there.execute_command("CLUSTER MYID")
        here.flushall()
        # As an operator does it: taken from an importing state, the slot gets a higher epoch, and what the nodes have
        # told each other until now cannot give it back.
        there.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", here.execute_command("CLUSTER MYID"))
        here.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target_id)
        there.execute_command("CLUSTER SETSLOT", slot, "NODE", target_id)
        here.execute_command("CLUSTER SETSLOT", slot, "NODE", target_id)
        await tide.publish_many([{"event": "e", "data": n, "to": "all"} for n in range(5)])
        assert there.xlen(keys.stream(0)) == 5


async def test_a_cluster_node_that_is_gone_is_unavailable_and_comes_back(flavour, connect, open_publisher):
    if flavour == "asyncio" and int(redis.__version__.split(".")[0]) < 8:
        pytest.skip("before redis-py 8 an asyncio cluster client never recovers once all its nodes were down")
    nodes = make_cluster(find("valkey9" if flavour == "asyncio" else "redis7"), 1)
    try:
        tide = open_publisher(connect(nodes), timeout_s=4.0, partitions=4)
        await tide.publish_many([{"event": "e", "data": n, "to": f"user:{n}"} for n in range(20)])
        nodes[0].kill()
        async with asyncio.timeout(60):
            with pytest.raises(PublishError, match="Redis"):
                await tide.publish("e", 2, to="all")
        nodes[0].start()

        async def comes_back():
            with contextlib.suppress(PublishUnavailable, PublishUnknown):
                return await tide.publish("e", 3, to="all")

        assert await wait_until(comes_back, 30)
    finally:
        nodes[0].remove()


def open_guide(flavour, watcher):
    kind = AsyncioSentinel if flavour == "asyncio" else Sentinel
    return kind([("127.0.0.1", watcher.port)])


# Both kinds of client, all kinds of server; not all pairs, because a failover takes its seconds.
@pytest.mark.parametrize(("flavour", "name"), [("asyncio", "valkey9"), ("blocking", "redis7"), ("asyncio", "redis8")])
async def test_a_sentinel_leads_to_the_master_and_to_its_successor(flavour, name, open_publisher):
    with contextlib.ExitStack() as stack:
        watcher, master, replica = start_watched(find(name), stack)
        control = stack.enter_context(watcher.client())
        successor = stack.enter_context(replica.client())
        guide = open_guide(flavour, watcher)
        client = guide.master_for("tide", socket_timeout=1)
        tide = open_publisher(client, timeout_s=60.0, retries=200)
        await tide.publish("e", 1, to="all", key="before")
        await wait_until(lambda: successor.xlen(keys.stream(0)) == 1)
        await wait_until(lambda: _fails_over(control))
        master.pause()  # it has nothing to say any more, and is not there to say it
        await wait_until(lambda: _is_master(successor))
        ids = await tide.publish_many([{"event": "e", "data": n, "to": "all"} for n in range(5)])
        assert len(set(ids)) == 5
        assert successor.xlen(keys.stream(0)) == 6
        for each in (*guide.sentinels, client):
            await aclose(each)


def start_watched(binary, stack):
    """
    Start a master, its replica, and the Sentinel that watches them.

    Only the test says when it fails over: no pause of the machine is a failure of the master, or ends a failover.
    """
    master = stack.enter_context(RedisServer(binary, repl_diskless_sync_delay=0))
    replica = stack.enter_context(RedisServer(binary, replicaof=f"127.0.0.1 {master.port}"))
    lines = (
        f"sentinel monitor tide 127.0.0.1 {master.port} 1",
        "sentinel down-after-milliseconds tide 60000",
        "sentinel failover-timeout tide 60000",
    )
    watcher = stack.enter_context(RedisServer(binary, sentinel=True, lines=lines))
    with watcher.client() as control:
        # After a pause of its own it does nothing for half a minute, and it looks for replicas every ten seconds.
        control.execute_command("SENTINEL", "DEBUG", "tilt-period", 1000, "info-period", 2000)
    return watcher, master, replica


def _fails_over(control):
    """Tell whether the Sentinel begins; it does not before it knows a replica, and what that says of itself."""
    try:
        return control.execute_command("SENTINEL", "FAILOVER", "tide")
    except redis.ResponseError as error:
        if "NOGOODSLAVE" not in str(error):
            raise
        return False


def _is_master(client):
    try:
        return client.role()[0] == "master"
    except redis.ConnectionError:  # its clients are disconnected when its role changes
        return False
