"""celery_reports.py: with a real worker and a real broker."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.docs.examples.conftest import FOLDER
from tests.support.clients import connected
from tests.support.gateway import running_gateway
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.terminal import Piped, run
from tests.support.waiting import wait_until

ADD = """
import sys, celery_reports
for task_id in sys.argv[1:]:
    celery_reports.make_report.apply_async(["ada", "2026-11"], task_id=task_id)
"""


@pytest.fixture
def broker():
    with RedisServer() as server:
        yield server


@pytest.fixture
def environ(environ, broker):
    return {**environ, "CELERY_BROKER_URL": broker.url}


@contextlib.asynccontextmanager
async def worker(environ, *, fails=False):
    """A worker with one process in its pool."""
    alone = ("--without-mingle", "--without-gossip")  # it need not look for others
    command = [sys.executable, "-m", "celery", "-A", "celery_reports", "worker", "-c", "1", "-l", "info", *alone]
    async with Piped(command, cwd=FOLDER, environ={**environ, "C_FORCE_ROOT": "1"}, fails=fails) as process:
        await process.shows("ready.", err=True, timeout_s=60)
        yield process
        process.signal(signal.SIGTERM)  # a kill would leave the pool's process behind
        await process.ended(60)


async def add(environ, *task_ids):
    """Add tasks to the queue, from a process of its own."""
    done = await run([sys.executable, "-c", ADD, *task_ids], cwd=FOLDER, environ=environ)
    assert done.status == 0, done.err


async def test_a_report_reaches_its_user_under_the_tasks_id(gateway, environ):
    async with connected(gateway, "ada") as ada, worker(environ):
        await add(environ, "task-1")
        (push,) = await ada.received(1)
    assert (push.type, push.message_id) == ("report.ready", "task-1")
    assert push.data == {"month": "2026-11", "url": "/reports/ada/2026-11.pdf"}


async def test_a_task_that_is_done_again_tells_its_user_once(gateway, environ, logged):
    async with connected(gateway, "ada") as ada, worker(environ) as process:
        await add(environ, "task-1", "task-1", "task-2")
        await ada.received(2)
        await wait_until(lambda: process.err.count(" succeeded in ") == 3, 60)
    assert logged() == ["task-1", "task-2"]


async def test_a_task_is_tried_again_until_redis_is_back(environ):
    with RedisServer() as log:
        async with running_gateway(log.url) as gateway, connected(gateway, "ada") as ada:
            log.kill()
            async with worker({**environ, "TIDEGATE_REDIS_URL": log.url}) as process:
                await add(environ, "task-1")
                await process.shows("Retry in", err=True, timeout_s=60)
                log.start()
                # The log was lost with its server: the gateway says so, and goes on.
                await ada.next("resync")
                await wait_until(lambda: " succeeded in " in process.err, 60)
                assert (await ada.next("report.ready")).message_id == "task-1"


async def test_a_task_whose_process_is_killed_is_done_again(environ):
    """The pool's process dies while it waits for a Redis that hangs; the worker starts another."""
    with RedisServer() as log:
        async with (
            Proxy(log.port) as proxy,
            worker({**environ, "TIDEGATE_REDIS_URL": proxy.url}, fails=True) as process,
        ):
            log.pause()
            await add(environ, "task-1")
            await wait_until(lambda: proxy.connections, 60)  # the process of the pool is in the midst of the task
            (child,) = children(process.pid)
            os.kill(child, signal.SIGKILL)
            log.resume()
            await wait_until(lambda: " succeeded in " in process.err, 60)
        with log.client() as client:
            assert client.xlen("tg:{events:0}") == 1


def children(pid):
    """Return the processes that a process has started."""
    return [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
