"""The service manager, with a real datagram socket."""

from __future__ import annotations

import asyncio
import os

import pytest

from gateway.service_manager import ServiceManager
from tests.support.service_manager import Listener
from tests.support.waiting import wait_until


@pytest.fixture(params=[False, True], ids=["path", "abstract"])
def listener(request):
    with Listener(abstract=request.param) as one:
        yield one


@pytest.fixture
def manager(listener):
    return ServiceManager.of({"NOTIFY_SOCKET": listener.address})


def test_the_end_of_the_start_is_told_with_a_status(listener, manager):
    manager.ready("Serving on port 1")
    assert listener.told("READY=1")
    assert listener.messages == [["READY=1", "STATUS=Serving on port 1"]]


def test_the_end_is_told(listener, manager):
    manager.stopping()
    assert listener.told("STOPPING=1") == 1


def test_a_reload_has_a_beginning_with_its_time_and_an_end(listener, manager):
    with manager.reloading():
        assert listener.told("RELOADING=1") == 1
        assert not listener.told("READY=1")
    assert listener.told("READY=1") == 1
    name, _, value = listener.messages[0][1].partition("=")
    assert name == "MONOTONIC_USEC"
    assert int(value) > 0


def test_a_reload_that_fails_ends_as_well(listener, manager):
    with pytest.raises(RuntimeError), manager.reloading():
        raise RuntimeError
    assert listener.told("READY=1") == 1


async def test_the_watchdog_is_told_again_and_again(listener):
    manager = ServiceManager.of({"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "20000"})
    watch = asyncio.create_task(manager.keep_watch())
    await wait_until(lambda: listener.told("WATCHDOG=1") >= 3)
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"WATCHDOG_USEC": ""},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "١٢"},
        {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid() + 1)},
    ],
)
async def test_without_a_watchdog_of_ours_nothing_is_told(listener, variables):
    await ServiceManager.of({"NOTIFY_SOCKET": listener.address, **variables}).keep_watch()
    assert not listener.told("WATCHDOG=1")


async def test_a_watchdog_that_names_this_process_is_ours(listener):
    variables = {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}
    watch = asyncio.create_task(ServiceManager.of(variables).keep_watch())
    await wait_until(lambda: listener.told("WATCHDOG=1"))
    watch.cancel()


@pytest.mark.parametrize("address", [None, "", "relative", "vsock:2:1", "/nowhere/notify", "@nobody-listens-here"])
async def test_without_a_manager_nothing_happens(address):
    manager = ServiceManager.of({} if address is None else {"NOTIFY_SOCKET": address})
    manager.ready("x")
    with manager.reloading():
        manager.stopping()
    await manager.keep_watch()
