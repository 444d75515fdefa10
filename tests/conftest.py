"""Fixtures for everybody's tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.redis_server import RedisServer
from tests.support.required import pytest_runtest_makereport  # noqa: F401 - a hook: see there

# No deadline: the machine may be busy. `pytest --hypothesis-profile=thorough` looks further.
settings.register_profile("suite", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("suite"), max_examples=2_000)
settings.load_profile("suite")

# A shell's background job is started with SIGINT ignored (POSIX, sh, 2.11), and so is all that it starts: not so what
# the tests start, and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
