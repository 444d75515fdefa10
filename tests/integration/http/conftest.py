"""Two gateways with their HTTP APIs on a real Redis, and a service that calls one of them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from publisher import Publisher
from tests.support.gateway import RunningGateway, make_token, running_gateway

API_KEY = "tg_the-key-of-the-tests-which-nobody-else-has"
ACME_KEY = "tg_another-key-for-another-tenant-altogether"
API_KEYS = [
    {"name": "billing", "hash": hashlib.sha256(API_KEY.encode()).hexdigest()},
    {"name": "acme", "hash": hashlib.sha256(ACME_KEY.encode()).hexdigest(), "tenant": "acme"},
]


def bearer(**claims: Any) -> dict[str, str]:
    """Return the header of a service's token."""
    token = make_token(claims.pop("sub", "svc"), **{"scope": "push", **claims})
    return {"Authorization": f"Bearer {token}"}


@contextlib.asynccontextmanager
async def calling(url: str, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """Open an HTTP client with these headers and no others of its own."""
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[RunningGateway]:
    """A gateway with an HTTP API and two API keys."""
    async with running_gateway(redis_url, http__api_keys=API_KEYS) as running:
        yield running


@pytest.fixture
async def documented(redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A service that calls a gateway with its documentation, to write which takes longer than to start."""
    async with running_gateway(redis_url, http__docs=True) as running, calling(running.http_url, **bearer()) as client:
        yield client


@pytest.fixture
async def other(redis_url: str, gateway: RunningGateway) -> AsyncIterator[RunningGateway]:
    """A second instance beside `gateway`."""
    async with running_gateway(redis_url, http__enabled=False) as running:
        yield running


@pytest.fixture
async def service(gateway: RunningGateway) -> AsyncIterator[httpx.AsyncClient]:
    """A service that may push, and calls the first instance."""
    async with calling(gateway.http_url, **bearer()) as client:
        yield client


@pytest.fixture
async def anybody(gateway: RunningGateway) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody without a credential."""
    async with calling(gateway.http_url) as client:
        yield client


@pytest.fixture
async def tide(redis_url: str) -> AsyncIterator[Publisher]:
    """A publisher."""
    async with Publisher(redis_url) as publisher:
        yield publisher
