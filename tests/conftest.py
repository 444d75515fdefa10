"""Fixtures for everybody's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One embedded Valkey for the session. A test that kills or reconfigures a server starts its own."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of the session's server, empty."""
    with redis_server.client() as client:
        client.flushall()
    return redis_server.url
