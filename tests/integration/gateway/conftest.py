"""Real gateways on a real Redis, in the test's own loop: uvloop, as in production; some on asyncio's as well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from publisher import Publisher
from tests.support.gateway import RunningGateway, running_gateway

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

# What depends on how a transport buffers and pauses.
_ON_BOTH_LOOPS = {"test_slow_sockets", "test_tls"}

# Nothing is sent twice because this process or Redis stood still for a moment: some events have no key.
_PATIENCE_S = 30


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    """Choose the loops that a test runs on."""
    factories: dict[str, LoopFactory] = {"uvloop": uvloop.new_event_loop}
    if item.path.stem in _ON_BOTH_LOOPS:
        factories["asyncio"] = asyncio.new_event_loop
    return factories


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let connections wait for their profiles: who enters without, as while Redis stands still, has things late."""
    monkeypatch.setattr("gateway.profile_loader._PATIENCE_S", 20.0)


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[RunningGateway]:
    """A gateway that allows everything."""
    async with running_gateway(redis_url, redis__timeout_s=_PATIENCE_S) as running:
        yield running


@pytest.fixture
async def other(redis_url: str, gateway: RunningGateway) -> AsyncIterator[RunningGateway]:
    """A second instance beside `gateway`."""
    async with running_gateway(redis_url, redis__timeout_s=_PATIENCE_S) as running:
        yield running


@pytest.fixture
async def tide(redis_url: str) -> AsyncIterator[Publisher]:
    """A publisher."""
    async with Publisher(redis_url, timeout_s=_PATIENCE_S) as publisher:
        yield publisher
