"""Fixtures for the JavaScript client: Node and Chromium, alike, against gateways: processes, where they are killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from publisher import Publisher
from tests.e2e.js.scene import Scene
from tests.support.chromium import Chromium
from tests.support.gateway import GatewayProcess, RunningGateway, running_gateway
from tests.support.javascript import NodeEngine, npm_packages
from tests.support.pages import Pages
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer

OPEN: dict[str, Any] = {"listen__origins": ["*"], "http__origins": ["*"]}
"""Settings of a gateway that pages of other origins may use."""


@pytest.fixture(scope="session")
def packages() -> Path:
    """The npm packages."""
    return npm_packages()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """One browser for all tests."""
    with Chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def pages() -> Iterator[Pages]:
    """The web server of an application."""
    with Pages() as server:
        server.put("/", "<!doctype html><title>An application</title>")
        yield server


@pytest.fixture(scope="session")
def standing_redis() -> Iterator[RedisServer]:
    """The server of `gateway`, apart from that of other tests, which empty theirs."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def gateway(standing_redis: RedisServer) -> Iterator[GatewayProcess]:
    """A gateway for all the tests that do it no harm: a process takes seconds to start."""
    running = GatewayProcess(standing_redis.url, logging__level="debug", **OPEN)
    asyncio.run(running.start())
    try:
        yield running
    finally:
        asyncio.run(running.remove())


@pytest.fixture
async def tide(standing_redis: RedisServer) -> AsyncIterator[Publisher]:
    """A publisher to `gateway`."""
    async with Publisher(standing_redis.url) as publisher:
        yield publisher


@pytest.fixture
async def proxy(gateway: GatewayProcess) -> AsyncIterator[Proxy]:
    """What stands before `gateway`, or wherever else a test lets it lead."""
    async with Proxy(gateway.port) as running:
        yield running


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server for the gateways of one test."""
    with RedisServer() as server:
        yield server


@pytest.fixture
async def own_tide(own_redis: RedisServer) -> AsyncIterator[Publisher]:
    """A publisher to the gateways of one test."""
    async with Publisher(own_redis.url) as publisher:
        yield publisher


@pytest.fixture
async def mortal(own_redis: RedisServer) -> AsyncIterator[GatewayProcess]:
    """A gateway to be killed."""
    async with GatewayProcess(own_redis.url, logging__level="debug", **OPEN) as running:
        yield running


@pytest.fixture
async def survivor(own_redis: RedisServer) -> AsyncIterator[RunningGateway]:
    """Another instance beside `mortal`."""
    async with running_gateway(own_redis.url, **OPEN) as running:
        yield running


@pytest.fixture(params=["node", "chromium"])
async def scene(request: pytest.FixtureRequest, gateway: GatewayProcess) -> AsyncIterator[Scene]:
    """Somewhere to run the client, with the harness in place."""
    if request.param == "node":
        async with NodeEngine(request.getfixturevalue("packages")) as node:
            yield await Scene.in_node(node)
    else:
        browser, pages = request.getfixturevalue("chromium"), request.getfixturevalue("pages")
        async with browser.visit() as visit:
            page = await visit.open(pages.url + "/")
            yield await Scene.on_page(page, gateway)
