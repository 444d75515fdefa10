"""Connections that the server closes at the worst of times: whichever the loop, it is redis-py's error that says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.store.connection import REDIS_ERRORS, connect
from gateway.store.stream import StreamReader
from publisher import Publisher
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
NewLoop = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def run(loop: NewLoop, scene: Any) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scene)


async def cut(connection: Any) -> None:
    """Close a connection as a peer does, and wait until the loop has let go of it."""
    connection._writer.transport.abort()
    await wait_until(connection._reader.at_eof)


@LOOPS
@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_what_is_sent_on_a_closed_connection_is_lost(server: RedisServer, loop: NewLoop, scheme: str) -> None:
    async def ask(connection: Any) -> None:
        await connection.send_command("PING")
        await connection.read_response()

    async def scene() -> None:
        redis = connect(server.url if scheme == "tcp" else server.unix_url, 30)
        connection: Any = redis.connection_pool.make_connection()
        await connection.connect()
        await cut(connection)
        with pytest.raises(RedisConnectionError):
            await ask(connection)
        await connection.disconnect(nowait=True)
        await redis.aclose()

    run(loop, scene())


@LOOPS
def test_a_server_that_hangs_up_on_everybody_is_an_error_of_redis(server: RedisServer, loop: NewLoop) -> None:
    async def look(reader: StreamReader) -> None:
        await reader.connect()
        await reader.look()

    async def scene() -> None:
        async with Proxy(server.port) as proxy:
            proxy.refuse()
            redis = connect(proxy.url, 30)
            reader = StreamReader(redis, 0, "a", timeout_s=30)
            for _ in range(200):
                with pytest.raises(REDIS_ERRORS):
                    await look(reader)
                await reader.disconnect()
            await redis.aclose()

    run(loop, scene())


@LOOPS
def test_an_event_is_stored_once_though_its_connection_was_closed_beneath_it(
    server: RedisServer, loop: NewLoop
) -> None:
    async def scene() -> None:
        async with Publisher(server.url, timeout_s=60) as tide:
            pool: Any = tide._client.connection_pool
            take = pool.get_connection
            cuts = iter([True, True])

            async def get_connection(*args: Any) -> Any:
                connection = await take(*args)
                if next(cuts, False):
                    await cut(connection)
                return connection

            pool.get_connection = get_connection
            event_id = await tide.publish("e", 1, to="all")
        with server.client() as client:
            entries: Any = client.xrange("tg:{events:0}")
            assert [entry_id for entry_id, _ in entries] == [event_id.split(".")[0]]
            client.flushall()

    run(loop, scene())
