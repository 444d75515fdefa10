"""Both publishers, in front of every server there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from publisher import Publisher
from publisher.sync import Publisher as BlockingPublisher
from tests.support.redis_server import BINARIES, RedisServer


class InThreads:
    """The blocking publisher with the asyncio one's face, so that one test is for both."""

    def __init__(self, publisher: BlockingPublisher) -> None:
        self._publisher = publisher

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._publisher, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            return await asyncio.to_thread(method, *arguments, **options)

        return call

    async def aclose(self) -> None:
        self._publisher.close()


@pytest.fixture(scope="session", params=BINARIES)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """One server of each kind for the session."""
    binary = BINARIES[request.param]()
    if binary is None:
        pytest.skip(f"needs {request.param}")
    with RedisServer(binary) as running:
        yield running


@pytest.fixture
def url(server: RedisServer) -> str:
    """The URL of the server at hand, which is empty, knows no script and has counted nothing."""
    with server.client() as client:
        client.flushall()
        client.script_flush()
        client.config_resetstat()
    return server.url


@pytest.fixture(params=["asyncio", "blocking"])
def flavour(request: pytest.FixtureRequest) -> str:
    """Which of the two publishers."""
    return request.param


@pytest.fixture
async def open_publisher(flavour: str) -> AsyncIterator[Callable[..., Any]]:
    """Makes publishers of either kind, with one face, and closes them."""
    async with AsyncExitStack() as stack:

        def open_one(redis: Any, **options: Any) -> Any:
            if flavour == "blocking":
                made: Any = InThreads(BlockingPublisher(redis, **options))
            else:
                made = Publisher(redis, **options)
            stack.push_async_callback(made.aclose)
            return made

        yield open_one


@pytest.fixture
def entries(server: RedisServer) -> Callable[[], list[tuple[str, dict[str, str]]]]:
    """Reads the log of partition 0."""

    def read() -> list[tuple[str, dict[str, str]]]:
        with server.client() as client:
            return client.xrange("tg:{events:0}")

    return read
