"""Fixtures for the console: a gateway in dev mode, and a browser with two people in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from publisher import Publisher
from tests.e2e.console.desk import Desk
from tests.support.chromium import Chromium
from tests.support.gateway import RunningGateway, running_gateway


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """One browser for all tests."""
    with Chromium() as browser:
        yield browser


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[RunningGateway]:
    """A gateway in dev mode."""
    async with running_gateway(redis_url, mode="dev", instance__id="gw-a") as running:
        yield running


@pytest.fixture
async def other(redis_url: str, gateway: RunningGateway) -> AsyncIterator[RunningGateway]:
    """Another instance beside it."""
    async with running_gateway(redis_url, mode="dev", instance__id="gw-b") as running:
        yield running


@pytest.fixture
async def tide(redis_url: str) -> AsyncIterator[Publisher]:
    """A publisher."""
    async with Publisher(redis_url) as publisher:
        yield publisher


@pytest.fixture
async def ada(chromium: Chromium, gateway: RunningGateway) -> AsyncIterator[Desk]:
    """A browser at the console."""
    async with chromium.visit() as visit:
        yield await Desk.at(visit, gateway.http_url)


@pytest.fixture
async def bob(chromium: Chromium, gateway: RunningGateway, other: RunningGateway) -> AsyncIterator[Desk]:
    """Somebody else's browser, at the console of the other instance."""
    async with chromium.visit() as visit:
        yield await Desk.at(visit, other.http_url)
