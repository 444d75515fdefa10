"""What a gateway tells systemd of its life."""

from __future__ import annotations

import signal

import pytest

from tests.support.certificates import Authority
from tests.support.gateway import ApiProcess, GatewayProcess
from tests.support.service_manager import Listener
from tests.support.waiting import wait_until


@pytest.fixture
def manager(monkeypatch):
    with Listener() as listener:
        monkeypatch.setenv("NOTIFY_SOCKET", listener.address)
        # Half of it is between two messages: the socket holds ten, and one that finds it full is lost.
        monkeypatch.setenv("WATCHDOG_USEC", "800000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield listener


@pytest.mark.parametrize(("kind", "workers"), [(GatewayProcess, 1), (GatewayProcess, 2), (ApiProcess, 1)])
async def test_it_says_once_that_it_is_ready_and_that_it_stops(redis_url, manager, kind, workers):
    async with kind(redis_url, workers=workers) as process:
        await wait_until(lambda: manager.told("READY=1"), 20)
        seen = manager.told("WATCHDOG=1")
        await wait_until(lambda: manager.told("WATCHDOG=1") > seen)
        assert await process.terminate() == 0
    assert manager.told("READY=1") == 1
    assert manager.told("STOPPING=1") == 1


async def test_it_does_not_say_so_when_it_cannot_start(manager):
    process = GatewayProcess("redis://127.0.0.1:1/0")
    try:
        process.launch()
        assert await process.wait() == 1
    finally:
        await process.remove()
    assert not manager.told("READY=1")


async def test_it_says_when_it_reads_its_certificate_again(redis_url, manager, tmp_path):
    certificate, key = Authority(tmp_path).issue("one")
    process = ApiProcess(redis_url, http__tls_certificate=certificate, http__tls_key=key)
    try:
        await process.start()
        await wait_until(lambda: manager.told("READY=1"))
        process.signal(signal.SIGHUP)
        await wait_until(lambda: manager.told("RELOADING=1") and manager.told("READY=1") == 2)
    finally:
        await process.remove()
