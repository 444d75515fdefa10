"""Refusals: what Redis says no to, and going on once it says yes again."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from publisher import PublishError, PublishUnavailable
from tests.support.redis_server import BINARIES, RedisServer
from tests.support.waiting import wait_until

MANY = [{"event": "e", "data": 1, "to": "all"}] * 5


# Both kinds of publisher, all kinds of server; not all pairs: each starts a server and uses up its retries.
PAIRS = [("asyncio", "valkey9"), ("blocking", "redis7"), ("asyncio", "redis8")]


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request):
    return request.param


@pytest.fixture
def own(pair):
    """A server that the test may spoil."""
    binary = BINARIES[pair[1]]()
    if binary is None:
        pytest.skip(f"needs {pair[1]}")
    with RedisServer(binary) as running:
        yield running


@pytest.fixture
def flavour(pair):
    return pair[0]


async def test_a_replica_is_unavailable_until_it_is_promoted(own, open_publisher, nowhere):
    tide = open_publisher(own.url)
    with own.client() as client:
        client.replicaof("127.0.0.1", urlsplit(nowhere).port)
        with pytest.raises(PublishUnavailable, match="ReadOnly"):
            await tide.publish("e", 1, to="all")
        patient = open_publisher(own.url, timeout_s=20, retries=60)
        publishing = asyncio.ensure_future(patient.publish_many(MANY))
        await wait_until(lambda: client.info("commandstats")["cmdstat_evalsha"]["calls"] > 8)
        client.replicaof("no", "one")
        assert len(await publishing) == 5
        assert client.xlen("tg:{events:0}") == 5


async def test_a_full_memory_is_unavailable_until_there_is_room(own, open_publisher):
    tide = open_publisher(own.url)
    with own.client() as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(PublishUnavailable, match="OutOfMemory"):
            await tide.publish("e", 1, to="all", key="k")
        assert client.dbsize() == 0
        client.config_set("maxmemory", 0)
        assert await tide.publish_many(MANY)


async def test_too_few_replicas_are_unavailable(own, open_publisher):
    tide = open_publisher(own.url)
    with own.client() as client:
        client.config_set("min-replicas-to-write", 1)
        with pytest.raises(PublishUnavailable, match="NOREPLICAS"):
            await tide.publish_many(MANY)
        client.config_set("min-replicas-to-write", 0)
        assert await tide.publish_many(MANY)


async def test_a_server_that_cannot_save_is_unavailable(own, open_publisher):
    tide = open_publisher(own.url)
    with own.client() as client:
        client.config_set("save", "3600 1")
        blocker = Path(client.config_get("dir")["dir"]) / "dump.rdb"
        blocker.mkdir()  # the snapshot cannot take its place
        client.bgsave()
        await wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
        with pytest.raises(PublishUnavailable, match="MISCONF"):
            await tide.publish("e", 1, to="all")
        client.config_set("save", "")
        assert await tide.publish("e", 1, to="all")


async def test_a_loading_server_is_unavailable_with_nothing_unknown(own, open_publisher):
    with own.client() as client:
        # Which does not compress away, and takes longer to load than any pause of the machine.
        client.mset({f"k{number}": secrets.token_hex(2048) for number in range(2_000)})
        client.save()
        client.config_set("key-load-delay", 20_000)
        client.config_set("loading-process-events-interval-bytes", 2048)
        client.config_rewrite()
        own.stop()
        own.start(loaded=False)
        with pytest.raises(PublishUnavailable, match="BusyLoading"):
            await open_publisher(own.url).publish_many(MANY)
        patient = open_publisher(own.url, timeout_s=30, retries=100)
        publishing = asyncio.ensure_future(patient.publish_many(MANY))
        client.config_set("key-load-delay", 0)
        assert len(set(await publishing)) == 5
        assert client.xlen("tg:{events:0}") == 5


async def test_a_user_without_rights_is_refused_for_good(own, open_publisher):
    with own.client() as client:
        client.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@read", "+@connection")
    tide = open_publisher(f"redis://reader:secret@127.0.0.1:{own.port}")
    with pytest.raises(PublishError) as caught:
        await tide.publish("e", 1, to="all")
    assert type(caught.value) is PublishError
    assert "secret" not in str(caught.value)


async def test_a_running_script_of_somebody_else_is_waited_out(own, open_publisher):
    with own.client() as client:
        client.config_set("busy-reply-threshold", 1)
        endless = asyncio.create_task(asyncio.to_thread(_run_endless_script, own))
        with own.client() as other:
            await wait_until(lambda: _is_busy(other))
            with pytest.raises(PublishUnavailable, match="BUSY"):
                await open_publisher(own.url).publish("e", 1, to="all")
            other.script_kill()
        await endless
        assert await open_publisher(own.url).publish("e", 1, to="all")


def _run_endless_script(own):
    with own.client() as client, pytest.raises(Exception, match="killed"):
        client.eval("while true do end", 0)


def _is_busy(client):
    try:
        client.ping()
    except Exception as error:
        return "BUSY" in str(error)
    return False
