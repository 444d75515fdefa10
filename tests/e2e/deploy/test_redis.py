"""deploy/redis: the recommended configuration, on each server that there is."""

from __future__ import annotations

import pytest

from publisher import Publisher
from tests.docs.markdown import ROOT
from tests.support.clients import connected, settled
from tests.support.gateway import running_gateway
from tests.support.redis_server import BINARIES, RedisServer
from tests.support.waiting import wait_until

CONFIGURATION = ROOT / "deploy" / "redis" / "redis.conf"
OF_THE_MACHINE = ("bind", "port")  # a test has its own


def directives():
    lines = CONFIGURATION.read_text().splitlines()
    return tuple(line for line in lines if line and not line.startswith("#") and line.split()[0] not in OF_THE_MACHINE)


@pytest.fixture(params=BINARIES)
def server(request):
    binary = BINARIES[request.param]()
    if binary is None:
        pytest.skip(f"needs {request.param}")
    with RedisServer(binary, lines=directives()) as running:
        yield running


async def test_a_gateway_takes_it_and_what_was_published_survives_a_kill(server):
    async with running_gateway(server.url) as gateway, connected(gateway, "42") as client:
        async with Publisher(server.url, timeout_s=60) as tide:
            await tide.publish("order.shipped", {"order": 7}, to="user:42")
            await settled(tide, client)
        assert client.events == [("order.shipped", {"order": 7})]
        cursor = client.cursor
    with server.client() as redis:
        assert redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        before = redis.xlen("tg:{events:0}")
        # While the disk is slow, Redis keeps what it appends to itself for up to two seconds.
        await wait_until(lambda: redis.info("persistence")["aof_buffer_length"] == 0)
    server.kill()
    server.start()
    with server.client() as redis:
        assert redis.xlen("tg:{events:0}") == before > 0
    async with running_gateway(server.url) as gateway, connected(gateway, "42", cursor=cursor) as client:
        assert client.welcome["resumed"] is True
        assert client.of_type("resync") == []


def test_every_directive_is_kept_as_it_stands(server):
    named = {line.split()[0] for line in directives()}
    with server.client() as redis:
        known = {name for name in named if redis.config_get(name)}
        assert known == named
        assert redis.config_get("appendonly") == {"appendonly": "yes"}
        assert redis.config_get("appendfsync") == {"appendfsync": "everysec"}
        limits = redis.config_get("client-output-buffer-limit")["client-output-buffer-limit"]
    assert "normal 0 0 0" not in limits
