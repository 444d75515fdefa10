"""Fixtures for everybody's tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.redis_server import RedisServer
from tests.support.required import pytest_runtest_makereport  # noqa: F401 - a hook: see there

# No deadline: the machine may be busy. The suite's examples are the same every time, so that a change is judged by what
# it changes, and alike on every machine; `make properties` looks further, by chance.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("suite", unhurried, max_examples=60, derandomize=True)
settings.register_profile("thorough", unhurried, max_examples=2_000)
settings.load_profile("suite")

# What a shell starts in the background ignores SIGINT (POSIX, sh, 2.11), and under `nohup` SIGHUP; and so does all that
# it starts in its turn. Not so here: the tests send both.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


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
