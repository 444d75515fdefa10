"""Both publishers, in front of every server there is."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from publisher import Publisher, PublishError
from publisher.sync import Publisher as BlockingPublisher
from tests.support.redis_server import BINARIES, RedisServer
from tests.support.waiting import wait_until

PATIENCE_S = 60.0
"""Of a publisher where something else is tested than what it gives up: no pause of the machine outlasts one try."""


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


async def warm(tide: Any) -> None:
    """Let a publisher that gives up soon have a connection, however long that takes."""

    async def stored() -> Any:
        with contextlib.suppress(PublishError):
            return await tide.publish("warm", 1, to="all", key="warm")

    await wait_until(stored)


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
    """Makes patient publishers of either kind, with one face, and closes them."""
    async with AsyncExitStack() as stack:

        def open_one(redis: Any, **options: Any) -> Any:
            options = {"timeout_s": PATIENCE_S, **options}
            if flavour == "blocking":
                made: Any = InThreads(BlockingPublisher(redis, **options))
            else:
                made = Publisher(redis, **options)
            stack.push_async_callback(made.aclose)
            return made

        yield open_one


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The URL of a port where nobody listens, nor can: it is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def entries(server: RedisServer) -> Callable[[], list[tuple[str, dict[str, str]]]]:
    """Reads the log of partition 0."""

    def read() -> list[tuple[str, dict[str, str]]]:
        with server.client() as client:
            return client.xrange("tg:{events:0}")

    return read
