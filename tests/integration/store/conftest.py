"""The store on each of the servers that it has to work on, those that this machine has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from gateway.store.connection import connect
from gateway.store.stream import StreamReader
from tests.support.redis_server import BINARIES, RedisServer

TIMEOUT_S = 30.0


@pytest.fixture(scope="session", params=[name for name, find in BINARIES.items() if find()])
def each_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(BINARIES[request.param]()) as server:
        yield server


@pytest.fixture
def server(each_server: RedisServer) -> RedisServer:
    """A server, empty, as it was when it started."""
    with each_server.client() as client:
        client.flushall()
    return each_server


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    client = connect(server.url, TIMEOUT_S)
    yield client
    await client.aclose()


@pytest.fixture
async def reader(redis: Redis) -> AsyncIterator[StreamReader]:
    """A connected reader of partition 0, for the instance `a`."""
    reader = StreamReader(redis, 0, "a", timeout_s=TIMEOUT_S)
    await reader.connect()
    yield reader
    await reader.disconnect()
