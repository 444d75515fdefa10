"""A server of its own for each test that breaks one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from gateway import consumer
from publisher import Publisher
from tests.e2e.failures.scene import PATIENCE_S, Ticker
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.redis_server import RedisServer


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server that keeps what it has acknowledged."""
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture
async def tide(server: RedisServer) -> AsyncIterator[Publisher]:
    """A publisher that outlasts a machine which stands still for a while."""
    async with Publisher(server.url, timeout_s=PATIENCE_S) as tide:
        yield tide


@pytest.fixture
def ticker(tide: Publisher) -> Ticker:
    """Numbered events for everybody."""
    return Ticker(tide)


@pytest.fixture
async def gateway(server: RedisServer) -> AsyncIterator[RunningGateway]:
    """A gateway in this process."""
    async with running_gateway(server.url) as gateway:
        yield gateway


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let gateways of this process compare more often than once a second, for tests in which that finds nothing."""
    monkeypatch.setattr(consumer, "_LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(consumer, "_BLOCK_MS", 100)
    monkeypatch.setattr(consumer, "_WITHOUT_GROUP_S", 0.3)
